"""Items that run in the caller's thread never keep the others waiting."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import procession
from procession import WorkerDied
from procession.engine.map.map_run import MapRun
from procession.engine.policy.placement import Pace
from tests.engine.local.jobs import (
    FEW,
    deadly,
    fail_behind,
    first_waits,
    place,
    wait_for,
    wait_for_last,
)

VERBS: dict[str, Callable[..., Iterator[Any]]] = {
    "map": lambda f, *args: iter(f.map(*args)),
    "imap": lambda f, *args: f.imap(*args),
    "imap_unordered": lambda f, *args: iter(sorted(f.imap_unordered(*args))),
    "outcomes": lambda f, *args: (outcome.value for outcome in f.outcomes(*args)),
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("verb", VERBS)
def test_an_item_that_takes_long_does_not_keep_its_slice(
    verb: str, warm: bool, tmp_path: Path
) -> None:
    """What stands behind an item that hangs here goes to the pool, even if it was taken with it."""
    if warm:
        wait_for_last.submit(-1, -2, tmp_path).result()
    else:
        procession.shutdown()
    last = FEW + 30

    assert list(VERBS[verb](wait_for_last, list(range(last + 1)), last, tmp_path)) == list(
        range(last + 1)
    )


def test_the_first_error_in_input_order_is_raised_wherever_it_came_from(tmp_path: Path) -> None:
    """An error in the pool does not lose the items before it that were taken away from a slice."""
    procession.shutdown()
    last = FEW + 40

    with pytest.raises(ValueError) as caught:
        fail_behind.map(list(range(last + 1)), last, tmp_path)

    assert caught.value.args == (last - 19,)


@pytest.mark.parametrize("make", [list, tuple, range, iter], ids=lambda make: make.__name__)
@pytest.mark.parametrize("count", [1, 65, 70_000])
def test_every_index_once_in_long_slices(make: Any, count: int) -> None:
    """`current_task` tells each item's place, however many run in one go."""
    items = range(count) if make is range else make(range(count))
    assert place.map(items) == list(range(count))


@pytest.mark.parametrize("verb", VERBS)
def test_progress_counts_each_item_once(verb: str, tmp_path: Path) -> None:
    """A function that is told of progress hears of every item, and at last of all."""
    told: list[tuple[int, int | None]] = []
    shown = wait_for_last.with_options(progress=lambda *now: told.append(now))

    assert len(list(VERBS[verb](shown, list(range(FEW)), -1, tmp_path))) == FEW
    assert told[-1] == (FEW, FEW)
    assert told == sorted(told)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("hangs", [0, 1])
def test_tiny_the_last_time_is_no_promise(verb: str, hangs: int, tmp_path: Path) -> None:
    """Where items were tiny in one map, the next begins here; what then hangs here keeps nobody."""
    procession.shutdown()
    items = list(range(FEW + 1))
    list(VERBS[verb](wait_for, items, -1, tmp_path))
    (tmp_path / "mark").unlink()
    wait_for.submit(-1, -2, tmp_path).result()
    assert list(VERBS[verb](wait_for, items, hangs, tmp_path)) == items


def test_the_caller_sleeps_when_nothing_is_left_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has run the last tiny items, the caller's thread waits for the others asleep.

    It asked without end, and kept the thread that reads from the workers from the GIL.
    """
    first_waits.submit(-1, tmp_path).result()
    waits: list[float | None] = []
    wait = MapRun.wait

    def counted(run: MapRun, timeout: float | None = None) -> None:
        waits.append(timeout)
        wait(run, timeout)

    monkeypatch.setattr(MapRun, "wait", counted)
    assert first_waits.map(range(FEW + 1), tmp_path) == list(range(FEW + 1))
    assert len(waits) < 3 * FEW


def _outcomes() -> None:
    outcomes = deadly.with_options(inline=False).outcomes([0, 1, 2], 1)
    assert [each.ok for each in outcomes] == [True, False, True]


def _submit() -> None:
    with pytest.raises(WorkerDied):
        deadly.submit(1, 1).result()


def _retried() -> None:
    with pytest.raises(WorkerDied):
        deadly.with_options(retries=1).map([1], kills=1)


@pytest.mark.parametrize("backend", ["process", "loky"])
@pytest.mark.parametrize("kill", [_outcomes, _submit, _retried])
def test_what_has_killed_a_worker_never_runs_here_again(
    kill: Callable[[], None], backend: Literal["process", "loky"]
) -> None:
    """After an item killed a worker, the function's items are given no process but a worker's."""
    deadly._self_history.pace = Pace()  # type: ignore[attr-defined]
    procession.shutdown()
    assert set(deadly.map([0, 1])) == {os.getpid()}
    with procession.options(backend=backend):
        kill()
    assert os.getpid() not in deadly.map([0, 1])
    procession.shutdown()
    assert os.getpid() not in deadly.map([0, 1])
