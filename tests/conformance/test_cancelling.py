"""Ending what runs: `cancel`, `asyncio`, timeouts of the waiting side, and shutting down."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from pathlib import Path

import pytest

import procession
from procession import PoolClosed, as_completed, gather, wait
from tests.conformance import functions as f
from tests.conformance.places import WORKERS, Place, at
from tests.support.waiting import wait_for_file

SQUARES = [number * number for number in range(20)]
OURS = [Place("process", context) for context in ("fork", "spawn", "forkserver", "loky")]


@pytest.fixture(scope="module", params=OURS, ids=str)
def ours(request: pytest.FixtureRequest) -> Place:
    """A place with workers of our own, whose running calls can be ended."""
    place: Place = request.param
    return place


def test_waiting_for_less_time_than_it_takes(place: Place, tmp_path: Path) -> None:
    """`result(timeout=)` raises the plain TimeoutError, and leaves the call running."""
    if not place.is_concurrent:
        pytest.skip("submit runs at once, in this thread")
    mark = tmp_path / "go"
    future = at(place, f.wait_if_first).submit(0, mark)
    with pytest.raises(TimeoutError) as caught:
        future.result(timeout=0.05)
    assert type(caught.value) is TimeoutError
    assert not future.done()
    mark.touch()
    assert future.result() == 0


def test_a_call_that_has_not_started_can_be_cancelled(place: Place, tmp_path: Path) -> None:
    """A queued call is cancelled, and never runs."""
    if not place.is_concurrent:
        pytest.skip("submit runs at once, in this thread")
    mark = tmp_path / "go"
    running = [at(place, f.wait_if_first).submit(0, mark) for _ in range(2 * WORKERS + 4)]
    queued = at(place, f.leave_mark).submit("ran", tmp_path)
    assert queued.cancel()
    assert queued.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        queued.result()
    mark.touch()
    assert [future.result() for future in running] == [0] * len(running)
    assert not (tmp_path / "ran").exists()


def test_a_running_call_can_be_ended(ours: Place, tmp_path: Path) -> None:
    """On our own workers `cancel` ends a call that runs, and the pool goes on."""
    future = at(ours, f.start_then_sleep).submit(tmp_path / "started")
    wait_for_file(tmp_path / "started")
    assert future.running()
    assert future.cancel()
    assert future.cancelled()
    assert at(ours, f.square).map(range(5)) == [0, 1, 4, 9, 16]


def test_a_foreign_executor_keeps_the_standard_meaning(tmp_path: Path) -> None:
    """A call that runs on someone else's executor cannot be cancelled, and delivers."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        function = f.start_then_wait.with_options(backend=executor)
        future = function.submit(tmp_path / "started", tmp_path / "go")
        wait_for_file(tmp_path / "started")
        assert not future.cancel()
        (tmp_path / "go").touch()
        assert future.result() == "done"


def test_cancel_is_true_only_if_nothing_is_delivered(ours: Place) -> None:
    """At whatever moment `cancel` comes: either it is true and there is no result, or neither."""
    function = at(ours, f.square)
    for delay in (0.0, 0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02):
        future = function.submit(3)
        time.sleep(delay)
        if future.cancel():
            assert future.cancelled()
        else:
            assert future.result() == 9


def test_a_finished_call_cannot_be_cancelled(place: Place) -> None:
    """A future that is done stays what it is."""
    future = at(place, f.square).submit(3)
    assert future.result() == 9
    assert not future.cancel()
    assert not future.cancelled()
    assert future.result() == 9


def test_a_map_async_can_be_cancelled(ours: Place, tmp_path: Path) -> None:
    """Cancelling the future of a whole map ends its items."""
    future = at(ours, f.start_then_sleep).map_async([tmp_path / "a", tmp_path / "b"])
    wait_for_file(tmp_path / "a")
    assert future.cancel()
    assert at(ours, f.square).map(range(3)) == [0, 1, 4]


def test_callbacks_are_called_once(place: Place) -> None:
    """`add_done_callback`, before and after the end."""
    seen: list[int] = []
    future = at(place, f.square).submit(3)
    future.add_done_callback(lambda done: seen.append(done.result()))
    concurrent.futures.wait([future])
    future.add_done_callback(lambda done: seen.append(done.result() + 1))
    assert future.result() == 9
    from tests.support.waiting import wait_until

    wait_until(lambda: len(seen) == 2)
    assert sorted(seen) == [9, 10]


def test_gather(place: Place) -> None:
    """`gather` gives a tuple in argument order, or the first error in argument order."""
    square, fails = at(place, f.square), at(place, f.fails_for)
    assert gather(square.submit(2), square.submit(3)) == (4, 9)
    with pytest.raises(ValueError, match="item 5 is bad"):
        gather(square.submit(2), fails.submit(5, 5), fails.submit(6, 6))
    assert gather() == ()


def test_as_completed_and_wait(place: Place) -> None:
    """Ours and the standard library's, on our futures."""
    futures = {at(place, f.square).submit(number): number for number in range(8)}
    assert {futures[done]: done.result() for done in as_completed(futures)} == {
        number: number**2 for number in range(8)
    }
    assert set(concurrent.futures.as_completed(futures)) == set(futures)
    for function in (wait, concurrent.futures.wait):
        done, pending = function(futures)
        assert (done, pending) == (set(futures), set())


def test_as_completed_gives_the_first_first(place: Place, tmp_path: Path) -> None:
    """A call that is done comes before one that still runs."""
    if not place.is_concurrent:
        pytest.skip("submit runs at once, in this thread")
    mark = tmp_path / "go"
    slow = at(place, f.wait_if_first).submit(0, mark)
    quick = at(place, f.wait_if_first).submit(1, mark)
    completed = as_completed([slow, quick])
    assert next(completed) is quick
    mark.touch()
    assert next(completed) is slow


# -------------------------------------------------------------------------------------- asyncio


def test_a_future_can_be_awaited(place: Place) -> None:
    """`await future`, `asyncio.wrap_future` and `asyncio.gather`."""

    async def main() -> tuple[int, int, list[int]]:
        function = at(place, f.square)
        several = await asyncio.gather(*(asyncio.wrap_future(function.submit(n)) for n in (1, 2)))
        return await function.submit(3), await asyncio.wrap_future(function.submit(4)), several

    assert asyncio.run(main()) == (9, 16, [1, 4])


def test_awaiting_does_not_block_the_loop(place: Place, tmp_path: Path) -> None:
    """While a future is awaited other tasks run: here the one that lets it end."""
    if not place.is_concurrent:
        pytest.skip("submit runs at once, in this thread")
    mark = tmp_path / "go"

    async def let_go() -> None:
        await asyncio.sleep(0)
        mark.touch()

    async def main() -> int:
        waiting = asyncio.wrap_future(at(place, f.wait_if_first).submit(0, mark))
        _, result = await asyncio.gather(let_go(), waiting)
        return result

    assert asyncio.run(main()) == 0


def test_wait_for_cancels_and_shield_protects(ours: Place, tmp_path: Path) -> None:
    """`asyncio.wait_for` ends the call at its timeout; with `shield` it goes on."""
    mark = tmp_path / "go"

    async def main() -> None:
        ended = at(ours, f.start_then_sleep).submit(tmp_path / "started")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(ended), 0.05)
        await asyncio.sleep(0)
        assert ended.cancelled()

        kept = at(ours, f.wait_if_first).submit(0, mark)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(kept)), 0.05)
        assert not kept.cancelled()
        mark.touch()
        assert await kept == 0

    asyncio.run(main())


def test_aimap_from_two_tasks(place: Place) -> None:
    """Two asynchronous maps in one loop, each in order."""

    async def run(function: object, count: int) -> list[int]:
        return [value async for value in function.aimap(range(count))]  # type: ignore[attr-defined]

    async def main() -> tuple[list[int], list[int]]:
        function = at(place, f.square)
        one, two = await asyncio.gather(run(function, 10), run(function, 20))
        return one, two

    assert asyncio.run(main()) == (SQUARES[:10], SQUARES)


# ------------------------------------------------------------------------------------- shutdown


def test_after_a_shutdown_the_next_call_starts_a_new_pool(place: Place) -> None:
    """`procession.shutdown()` ends the warm pools, not the functions."""
    assert at(place, f.square).map([1, 2]) == [1, 4]
    procession.shutdown()
    procession.shutdown()
    assert at(place, f.square).map([1, 2]) == [1, 4]


def test_a_shutdown_ends_what_runs_and_what_waits(place: Place, tmp_path: Path) -> None:
    """Whoever waits for a call that `procession.shutdown()` ended gets `PoolClosed`, soon."""
    if not place.has_processes:
        pytest.skip("a thread cannot be ended")
    function = at(place, f.start_then_sleep)
    futures = [function.submit(tmp_path / str(number)) for number in range(2 * WORKERS)]
    for number in range(WORKERS):
        wait_for_file(tmp_path / str(number))
    procession.shutdown()
    assert [type(future.exception(60)) for future in futures] == [PoolClosed] * len(futures)
    assert at(place, f.square).map([1, 2]) == [1, 4]


def test_a_pool_that_was_shut_down_takes_nothing() -> None:
    """A `Pool` of one's own is closed for good."""
    with procession.Pool(2) as pool:
        assert pool.submit(pow, 2, 3).result() == 8
    with pytest.raises(PoolClosed):
        pool.submit(pow, 2, 3)
