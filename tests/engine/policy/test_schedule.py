"""Chunk sizes: what the policy says, and what comes of it on a fake clock."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession.contract import Costs
from procession.engine.policy.placement import Pace
from procession.engine.policy.schedule import (
    BLIND_SECONDS,
    MAX_BYTES,
    MAX_ITEMS,
    TARGET_SECONDS,
    Schedule,
)
from tests.engine.policy.simulation import shapes, simulate

KINDS = ("constant", "uniform", "exponential", "bimodal", "one giant", "increasing")


@cache
def durations(workers: int, kind: str) -> tuple[float, ...]:
    """500 items of about 10 ms for each worker: five seconds of work."""
    return tuple(shapes(workers, 500, 10e-3)[kind])


def test_first_chunks_hold_one_item() -> None:
    """Before an item was measured, a chunk holds one."""
    schedule = Schedule()
    sizes = [schedule.next_chunk(remaining=1000 - n, workers=4, in_flight=n) for n in range(4)]
    assert sizes == [1, 1, 1, 1]


def test_waits_for_the_first_measurement_once_all_workers_are_busy() -> None:
    """When every worker has an item and none is measured, it is better to wait than to guess."""
    schedule = Schedule()
    assert schedule.next_chunk(remaining=1000, workers=4, in_flight=4) == 0
    assert schedule.next_chunk(remaining=1000, workers=4, in_flight=3) == 1
    schedule.observe(items=1, seconds=1e-6)
    assert schedule.next_chunk(remaining=1000, workers=4, in_flight=4) >= 1


def test_a_cluster_sees_what_waits_before_the_first_measurement() -> None:
    """One more item for each worker is sent there, or a cluster of long items would never grow."""
    schedule = Schedule(costs=Costs(1e-3, 0.2, 0.2, 0.05, waiting=1))
    assert schedule.next_chunk(remaining=1000, workers=4, in_flight=7) == 1
    assert schedule.next_chunk(remaining=1000, workers=4, in_flight=8) == 0


def test_sizes_grow_with_what_was_measured() -> None:
    """Short items make chunks grow geometrically, up to the most items."""
    schedule = Schedule()
    sizes = []
    for _ in range(12):
        sizes.append(schedule.next_chunk(remaining=10**9, workers=2))
        schedule.observe(items=sizes[-1], seconds=1e-7 * sizes[-1])
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert sizes[-1] == MAX_ITEMS


def test_chunks_aim_at_a_length() -> None:
    """With plenty left, a chunk lasts as long as the target."""
    schedule = Schedule()
    schedule.observe(items=1000, seconds=1.0)
    size = schedule.next_chunk(remaining=10**6, workers=2)
    assert size == TARGET_SECONDS / 1e-3


def test_long_items_go_alone() -> None:
    """An item that is longer than the target shares its chunk with none."""
    schedule = Schedule()
    schedule.observe(items=10, seconds=10.0)
    assert schedule.next_chunk(remaining=10**6, workers=2) == 1


def test_chunks_shrink_towards_the_end() -> None:
    """With a known length, no chunk is more than half a fair share of what remains."""
    schedule = Schedule()
    schedule.observe(items=1000, seconds=1.0)
    remaining, sizes = 100, []
    while remaining > 0:
        sizes.append(schedule.next_chunk(remaining=remaining, workers=4))
        remaining -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert sum(sizes) == 100


def test_tiny_items_do_not_shrink_to_nothing() -> None:
    """What is left at the end and takes no time goes in one message."""
    schedule = Schedule()
    schedule.observe(items=10_000, seconds=10_000e-6)
    assert schedule.next_chunk(remaining=2000, workers=2) == 500
    assert schedule.next_chunk(remaining=400, workers=2) == 400


def test_many_workers_get_longer_chunks() -> None:
    """One parent must be able to serve all workers within a chunk's length."""
    schedule = Schedule()
    schedule.observe(items=1000, seconds=1.0)
    assert schedule.next_chunk(remaining=10**7, workers=1000) > 100


def test_estimates_follow_a_trend() -> None:
    """Items that become longer make chunks smaller."""
    schedule = Schedule()
    schedule.observe(items=10_000, seconds=0.1)
    long = schedule.next_chunk(remaining=10**9, workers=2)
    for _ in range(200):
        size = schedule.next_chunk(remaining=10**9, workers=2)
        schedule.observe(items=size, seconds=5e-3 * size)
    assert schedule.measured is not None
    assert schedule.measured[0] == pytest.approx(5e-3, rel=0.05)
    assert schedule.next_chunk(remaining=10**9, workers=2) <= 4 < long


def test_heavy_items_bound_a_chunk_by_bytes() -> None:
    """A chunk's items together do not pass the most bytes."""
    schedule = Schedule()
    schedule.observe(items=100, seconds=1e-4, size=100 * 10_000)
    assert schedule.next_chunk(remaining=10**9, workers=2) == MAX_BYTES // 10_000


def test_items_larger_than_a_message_go_alone() -> None:
    """An item of more than the most bytes has its chunk to itself."""
    schedule = Schedule()
    schedule.observe(items=100, seconds=1e-4, size=100 * 10 * MAX_BYTES)
    assert schedule.next_chunk(remaining=10**9, workers=2) == 1


def test_window_is_shared_among_the_workers() -> None:
    """A small window does not all go to one worker."""
    schedule = Schedule(window=16)
    schedule.observe(items=1000, seconds=1e-3)
    assert schedule.next_chunk(remaining=10**6, workers=4) == 2


def test_fixed_chunk() -> None:
    """A number given by the user is taken, within window and room."""
    assert Schedule(chunk=50).next_chunk(remaining=10, workers=4) == 50
    assert Schedule(chunk=50, window=20).next_chunk(remaining=10, workers=4) == 20
    assert Schedule(chunk=50).next_chunk(remaining=10, workers=4, room=5) == 5
    assert Schedule(chunk=50).next_chunk(workers=4, in_flight=9) == 50


@pytest.mark.parametrize("remaining", [0, -5, None])
def test_length_that_is_wrong_counts_as_unknown(remaining: int | None) -> None:
    """When more items come than the input said, chunks keep their length in time."""
    schedule = Schedule()
    schedule.observe(items=1000, seconds=1.0)
    assert schedule.next_chunk(remaining=remaining, workers=2) == BLIND_SECONDS / 1e-3


def test_replies_that_took_no_time() -> None:
    """A clock that did not advance, or went back, is no reason to stop."""
    schedule = Schedule()
    schedule.observe(items=5, seconds=0.0)
    schedule.observe(items=5, seconds=-1.0)
    schedule.observe(items=0, seconds=5.0)
    assert schedule.next_chunk(remaining=10**6, workers=2) == 80


# -- on the fake clock -----------------------------------------------------------------------


@pytest.mark.parametrize("workers", [2, 64, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_within_five_percent_of_the_lower_bound(workers: int, kind: str) -> None:
    """max(total/workers, longest item) plus the messages' cost is kept to within 5 %."""
    outcome = simulate(Schedule(), durations(workers, kind), workers)
    assert sum(outcome.sizes) == len(durations(workers, kind))
    assert outcome.excess <= 0.05


@pytest.mark.parametrize("workers", [2, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_length_unknown_is_hardly_worse(workers: int, kind: str) -> None:
    """Without a length the last chunks are not smaller, which costs at most their length."""
    outcome = simulate(Schedule(), durations(workers, kind), workers, length=None)
    assert outcome.excess <= 0.05


@pytest.mark.parametrize("claimed", [1, 300, 10**6])
def test_length_that_lies_costs_little(claimed: int) -> None:
    """A length that is too small or too large by far does no harm."""
    outcome = simulate(Schedule(), durations(2, "uniform"), 2, length=claimed)
    assert outcome.excess <= 0.05


@settings(max_examples=150, deadline=None)
@given(
    items=st.lists(st.floats(0, 2), max_size=300),
    workers=st.integers(1, 40),
    length=st.one_of(st.none(), st.just(-1), st.integers(0, 1000)),
    chunk=st.one_of(st.just("auto"), st.integers(1, 50)),
    window=st.one_of(st.none(), st.integers(1, 100)),
)
def test_every_item_is_sent_once(
    items: list[float], workers: int, length: int | None, chunk: int, window: int | None
) -> None:
    """Whatever the durations and the claims, chunks cover the input and keep to the window."""
    outcome = simulate(Schedule(chunk, window), items, workers, length=length)
    assert sum(outcome.sizes) == len(items)
    assert all(size >= 1 for size in outcome.sizes)
    if window is not None:
        assert max(outcome.sizes, default=0) <= window
    assert max(outcome.sizes, default=0) <= MAX_ITEMS


@settings(max_examples=150, deadline=None)
@given(
    seen=st.lists(st.tuples(st.integers(0, 500), st.floats(0, 10), st.integers(0, 10**8))),
    remaining=st.one_of(st.none(), st.integers(-5, 10**6)),
    workers=st.integers(1, 2000),
    room=st.one_of(st.none(), st.integers(1, 100)),
)
def test_sizes_are_at_least_one(
    seen: list[tuple[int, float, int]], remaining: int | None, workers: int, room: int | None
) -> None:
    """With a worker free, no history makes a size of nothing, or one above the room."""
    schedule = Schedule()
    for items, seconds, size in seen:
        schedule.observe(items=items, seconds=seconds, size=size)
    size = schedule.next_chunk(remaining=remaining, workers=workers, in_flight=0, room=room)
    assert 1 <= size <= min(MAX_ITEMS, room or MAX_ITEMS)


def test_what_is_left_is_shared_out_where_chunks_are_divided() -> None:
    """Each worker has an equal share, once as many items were seen that one is believed."""
    schedule = Schedule(divided=True)
    assert schedule.next_chunk(remaining=1000, workers=2) == 1
    schedule.observe(items=1, seconds=1e-5)
    assert [schedule.next_chunk(remaining=left, workers=2) for left in (999, 967)] == [32, 32]
    schedule.observe(items=64, seconds=64e-5)
    assert [schedule.next_chunk(remaining=left, workers=2) for left in (935, 467)] == [468, 468]


def test_long_items_are_not_shared_out() -> None:
    """The last ones of a share would have to wait for one that runs."""
    schedule = Schedule(divided=True)
    schedule.observe(items=10, seconds=0.1)
    assert schedule.next_chunk(remaining=60, workers=2) == int(TARGET_SECONDS / 0.01)


def test_many_long_items_are_shared_out() -> None:
    """What the last of them waits for is little, beside all that its worker runs."""
    schedule = Schedule(divided=True)
    schedule.observe(items=100, seconds=1.0)
    assert [schedule.next_chunk(remaining=left, workers=2) for left in (1000, 500)] == [500, 500]


def test_little_is_not_shared_out() -> None:
    """What takes less than half a millisecond goes to one worker."""
    schedule = Schedule(divided=True)
    schedule.observe(items=100, seconds=1e-3)
    assert schedule.next_chunk(remaining=40, workers=2) >= 40


def _paced(seconds: float, size: float) -> Pace:
    """What a function's last map has left, whose items were like this."""
    pace = Pace()
    Schedule(pace=pace).observe(items=1000, seconds=1000 * seconds, size=int(1000 * size))
    return pace


def test_the_last_map_is_believed_where_chunks_are_divided() -> None:
    """Its items were short: shares go out before one was measured, and need not be worth 0.5 ms."""
    pace = _paced(1e-5, 10)
    schedule = Schedule(divided=True, pace=pace)
    assert schedule.trusting
    assert [schedule.next_chunk(remaining=left, workers=3) for left in (20, 13, 6)] == [7, 7, 7]
    assert not schedule.measured
    schedule.observe(items=7, seconds=7.0, size=700)
    assert schedule.measured == pace.there == (1.0, 100.0)


def test_the_last_map_bounds_shares_by_bytes() -> None:
    """No share that is sent before an item was measured is larger than a message."""
    schedule = Schedule(divided=True, pace=_paced(1e-5, 10_000))
    assert schedule.next_chunk(remaining=1000, workers=2) == MAX_BYTES // 10_000


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(pace=_paced(1e-5, 10)),
        Schedule(divided=True, pace=_paced(0.01, 10)),
        Schedule(divided=True),
        Schedule(divided=True, warm=False, pace=_paced(1e-5, 10)),
    ],
    ids=["not divided", "long", "not known", "no worker is up"],
)
def test_nothing_else_is_believed(schedule: Schedule) -> None:
    """A first chunk holds one item where nobody could be given half of a long one."""
    assert not schedule.trusting
    assert schedule.next_chunk(remaining=1000, workers=2) == 1


def test_a_chunk_that_was_set_is_kept() -> None:
    """What the last map showed does not matter then."""
    schedule = Schedule(50, divided=True, pace=_paced(1e-5, 10))
    assert schedule.next_chunk(remaining=1000, workers=2) == 50
