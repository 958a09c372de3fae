"""Items that cross together: each is still as alone as if it were the only one."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import procession
from procession import ParallelWarning, TimedOut, WorkerDied, current_task, parallel
from procession.process.pool import dispatch
from tests.support.far import run_script
from tests.support.waiting import wait_for_file, wait_until

CHUNK = 50
BACKENDS = ["process", "loky", "stdlib"]
ODD: list[Any] = [
    *(1, -1.5, None, True, 3 + 4j, 1 << 300, "text", "\ud800", "x" * 200_000),
    *(b"bytes", bytearray(b"both"), memoryview(b"view").tobytes(), {"a": [1, {2}]}, (1, "two")),
    *(numpy.float64(2.5), numpy.arange(6).reshape(2, 3), numpy.ones((2, 2), order="F")),
    *(numpy.array(5), numpy.array(["a", "bc"]), numpy.zeros(40_000), Path("here"), os.path.join),
]


def same(x: Any) -> Any:
    """Gives its argument back."""
    return x


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("verb", ["map", "imap", "imap_unordered", "outcomes"])
def test_each_kind_of_value_crosses(backend: Any, verb: str) -> None:
    """Whatever its neighbours are, a value arrives, and comes home, as what it is."""
    f = parallel(workers=2, backend=backend, inline=False, chunk=len(ODD))(same)
    found = list(getattr(f, verb)(ODD * 3))
    if verb == "outcomes":
        found = [each.value for each in found]
    if verb == "imap_unordered":
        found.sort(key=lambda value: [repr(each) for each in ODD].index(repr(value)))
        wanted = [each for each in ODD for _ in range(3)]
    else:
        wanted = ODD * 3
    assert [type(each) for each in found] == [type(each) for each in wanted]
    assert list(map(repr, found)) == list(map(repr, wanted))


def test_an_array_is_the_items_own_to_write_to() -> None:
    """A small array arrives, and comes home, writable and in one piece."""

    f = parallel(workers=2, inline=False, chunk=CHUNK)(doubled)
    found = f.map([numpy.arange(4.0) for _ in range(100)])
    assert all(each.flags.writeable and each.flags.owndata is False for each in found)
    assert all(each.tolist() == [0.0, 2.0, 4.0, 6.0] for each in found)


def doubled(a: Any) -> Any:
    """Changes its argument in place."""
    a *= 2
    return a


def appended(x: list[int]) -> list[int]:
    """Changes its argument."""
    x.append(len(x))
    return x


@pytest.mark.parametrize("backend", BACKENDS)
def test_items_share_no_identity(backend: Any) -> None:
    """One object given for many items is each item's own, as are their results."""
    shared: list[int] = []
    f = parallel(workers=2, backend=backend, inline=False, chunk=CHUNK)(appended)
    found = f.map([shared] * 200)
    assert found == [[0]] * 200
    assert len(set(map(id, found))) == 200
    assert shared == []


class Kept:
    """What later items change."""

    seen: list[int] = []


def snapshot(x: int) -> list[int]:
    """Gives a list that later items change."""
    Kept.seen.append(x)
    del Kept.seen[:-3]
    return Kept.seen


@pytest.mark.filterwarnings("ignore:.*changes the global")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_result_is_pickled_when_it_is_returned(backend: Any) -> None:
    """What later items do to an object does not change what an earlier one returned."""
    f = parallel(workers=1, backend=backend, inline=False, chunk=CHUNK)(snapshot)
    assert all(each[-1] == index for index, each in enumerate(f.map(range(120))))


def with_odd(x: Any) -> Any:
    """Fails for some items, in each way that spares the worker."""
    if x == 7:
        raise LookupError("seven")
    if x == 13:
        return threading.Lock()
    if x == 21:
        raise SystemExit(3)
    return x


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_fails_fails_alone(backend: Any) -> None:
    """A bad argument, a bad result, an error and an exit among good neighbours."""
    items: list[Any] = list(range(40))
    items[30] = threading.Lock()
    f = parallel(workers=2, backend=backend, inline=False, chunk=40)(with_odd)
    outcomes = list(f.outcomes(items))
    wrong = {each.index: type(each.error).__name__ for each in outcomes if not each.ok}
    assert wrong == {7: "LookupError", 13: "NotPicklable", 21: "TaskExited", 30: "NotPicklable"}
    assert [each.value for each in outcomes if each.ok] == [
        x for x in range(40) if x not in (7, 13, 21, 30)
    ]
    assert "item 7" in "".join(outcomes[7].error.__notes__)  # type: ignore[union-attr]


class Unloadable:
    """Cannot be rebuilt in the caller's process."""

    def __reduce__(self) -> Any:
        return _only_in(os.getpid()), ()


def _only_in(pid: int) -> Callable[[], int]:
    return _Loader(pid)


class _Loader:
    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __call__(self) -> int:
        if os.getpid() != self.pid:
            raise LookupError("only there")
        return 1


def unloadable(x: int) -> Any:
    """A result of which one cannot be rebuilt."""
    return Unloadable() if x == 11 else {"x": x}


@pytest.mark.parametrize("verb", ["imap", "outcomes", "map"])
def test_a_result_that_cannot_be_rebuilt_costs_no_other(verb: str) -> None:
    """The others of its message arrive, in their places."""
    f = parallel(workers=2, inline=False, chunk=30)(unloadable)
    if verb == "outcomes":
        outcomes = list(f.outcomes(range(30)))
        assert [each.index for each in outcomes if not each.ok] == [11]
        return
    if verb == "map":
        with pytest.raises(procession.NotPicklable):
            f.map(range(30))
        return
    values: list[Any] = []
    results = f.imap(range(30))
    for _ in range(30):
        try:
            values.append(next(results))
        except procession.NotPicklable:
            values.append("broken")
    assert values == [{"x": x} if x != 11 else "broken" for x in range(30)]
    with pytest.raises(StopIteration):
        next(results)


def killed_once(x: tuple[int, str]) -> int:
    """Kills its worker at one item, after it has noted that it ran."""
    index, folder = x
    with open(os.path.join(folder, str(index)), "a") as file:
        file.write("x")
    if index == 25:
        time.sleep(0.05)  # what ran before has been sent then: at the latest after 10 ms
        os.kill(os.getpid(), signal.SIGKILL)
    return index


def test_a_death_is_blamed_on_its_item(tmp_path: Path) -> None:
    """The item that ran is lost; those before it do not run again, and those after it run."""
    f = parallel(workers=1, inline=False, chunk=50)(killed_once)
    outcomes = list(f.outcomes([(index, str(tmp_path)) for index in range(50)]))
    wrong = [each for each in outcomes if not each.ok]
    assert [each.index for each in wrong] == [25]
    assert isinstance(wrong[0].error, WorkerDied)
    assert wrong[0].error.index == 25
    runs = {int(path.name): len(path.read_text()) for path in tmp_path.iterdir()}
    assert runs == dict.fromkeys(range(50), 1)


def slow_at(x: int) -> int:
    """Takes too long at one item."""
    if x == 17:
        time.sleep(60)
    return x


def test_a_timeout_is_an_items_own() -> None:
    """One item of many in a message passes its limit: it is ended alone."""
    f = parallel(workers=1, chunk=40, timeout=3)(slow_at)
    outcomes = list(f.outcomes(range(40)))
    assert [each.index for each in outcomes if not each.ok] == [17]
    assert isinstance(outcomes[17].error, TimedOut)
    assert outcomes[17].error.index == 17


def told(x: int) -> tuple[Any, ...]:
    """What an item knows of itself."""
    task, again = current_task(), current_task()
    assert task is again
    assert task is not None
    return task.index, task.attempt, task.function, task.worker == str(os.getpid())


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_item_knows_which_it_is(backend: Any) -> None:
    """`current_task` tells index, attempt and worker, in whatever message the item came."""
    f = parallel(workers=2, backend=backend, inline=False, chunk=CHUNK)(told)
    assert f.map(range(100, 200)) == [(index, 1, "told", True) for index in range(100)]


def tried(x: int) -> int:
    """Fails at its first attempt."""
    task = current_task()
    assert task is not None
    if x % 9 == 0 and task.attempt == 1:
        raise ConnectionError(x)
    return x


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_what_failed_is_tried_again(backend: Any) -> None:
    """An item of many that failed has another attempt; the others had one."""
    f = parallel(workers=2, backend=backend, chunk=CHUNK, retries=1, retry_on=ConnectionError)(
        tried
    )
    outcomes = list(f.outcomes(range(100)))
    assert [each.value for each in outcomes] == list(range(100))
    assert {each.index for each in outcomes if each.attempts == 2} == set(range(0, 100, 9))


def warned(x: int) -> int:
    """Warns at some items."""
    if x % 10 == 0:
        warnings.warn(f"item {x}", ParallelWarning, stacklevel=1)
    return x


@pytest.mark.parametrize("backend", BACKENDS)
def test_warnings_come_home(backend: Any) -> None:
    """What an item of many warns of is told in the caller's process."""
    f = parallel(workers=1, backend=backend, inline=False, chunk=CHUNK)(warned)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        f.map(range(60))
    assert [str(each.message) for each in seen] == [f"item {x}" for x in range(0, 60, 10)]


class Result:
    """Something that can be referred to weakly."""

    gone = False


class Last:
    """What this worker's last item returned, weakly."""

    result: Any = staticmethod(lambda: None)


def fresh(x: int) -> Any:
    """Whether the last item's result is gone, as an attribute of a new one."""
    gone = Last.result() is None
    result = Result()
    result.gone = gone
    Last.result = weakref.ref(result)
    return result


@pytest.mark.filterwarnings("ignore:.*changes the global")
def test_a_result_does_not_outlive_its_item() -> None:
    """While the next item runs, a worker does not hold what the last one returned."""
    f = parallel(workers=1, inline=False, chunk=CHUNK)(fresh)
    assert all(each.gone for each in f.map(range(100)))


def pid_or_error(x: int) -> int:
    """Raises at the first item, and says otherwise where it ran."""
    if x == 0:
        raise ValueError("first")
    time.sleep(0.02)
    return os.getpid()


def where(x: int) -> int:
    """Where it runs."""
    time.sleep(0.02)
    return os.getpid()


@pytest.mark.parametrize("how", ["an error", "closed", "forgotten"])
@pytest.mark.parametrize("chunk", [1, 200])
def test_an_ended_map_does_not_cost_its_workers(
    monkeypatch: pytest.MonkeyPatch, how: str, chunk: int
) -> None:
    """Workers that run items of a map which is over finish the item, and are used again."""
    monkeypatch.setattr(dispatch, "_GRACE", 60.0)  # a busy machine may stop them for a while
    monkeypatch.setattr(dispatch, "_SHORT_GRACE", 60.0)
    f = parallel(workers=2, inline=False, chunk=chunk)(pid_or_error)
    g = parallel(workers=2, inline=False, chunk=1)(where)
    before = set(g.map(range(20)))
    assert len(before) == 2
    if how == "an error":
        with pytest.raises(ValueError, match="first"):
            f.map(range(400))
    else:
        results: Iterator[int] | None = f.imap(range(1, 401))
        assert next(results) in before  # type: ignore[arg-type]
        if how == "closed":
            results.close()  # type: ignore[union-attr]
        results = None
        gc.collect()
    wait_until(lambda: not any(pool["busy"] for pool in procession.stats().values()))
    assert set(g.map(range(20))) == before


def hangs(x: int) -> int:
    """An item that does not end."""
    if x == 1:
        time.sleep(60)
    return x


def test_an_ended_map_kills_an_item_that_goes_on() -> None:
    """An item that is not wanted any more is ended when it takes longer than a moment."""
    f = parallel(workers=2, inline=False, chunk=1)(hangs)
    results: Any = f.imap([0, 1, 1])
    assert next(results) == 0
    results.close()
    assert f.map([2, 3, 4]) == [2, 3, 4]  # one of both workers, or their successors, runs them


def test_nothing_that_counts_items_is_collected() -> None:
    """A map of many numbers makes no objects for which the collector must look through all."""
    f = parallel(workers=2, inline=False)(same)
    f.map(range(1000))
    items = list(range(300_000))
    gc.collect()
    before = gc.get_stats()[2]["collections"]
    assert f.map(items) == items
    assert gc.get_stats()[2]["collections"] == before


def test_seconds_are_an_items_own() -> None:
    """An outcome tells how long its item took, and not its neighbours."""
    f = parallel(workers=1, inline=False, chunk=20)(where_slow)
    outcomes = list(f.outcomes(range(20)))
    assert max(outcomes, key=lambda each: each.seconds).index == 10
    assert outcomes[10].seconds >= 0.05
    assert sum(each.seconds for each in outcomes) < 2 * outcomes[10].seconds


def where_slow(x: int) -> int:
    """Takes its time at one item."""
    if x == 10:
        time.sleep(0.05)
    return x


def slower(x: int) -> int:
    """Items that take long, behind many that took nothing."""
    if x >= 200:
        time.sleep(0.02)
    return os.getpid()


def test_a_worker_with_nothing_to_do_is_given_some() -> None:
    """Items that turn out to be long are taken back from the worker that was sent all of them."""
    f = parallel(workers=2, inline=False, chunk=200)(slower)
    f.with_options(chunk=1).map(range(400, 420))  # both are up
    before = procession.stats()
    ran = f.map(range(400))[200:]
    name = next(name for name, pool in before.items() if pool["workers"])
    after = procession.stats()[name]
    assert (after["retried"], after["died"]) == (before[name]["retried"], before[name]["died"])
    assert min(ran.count(pid) for pid in set(ran)) >= 20
    assert len(set(ran)) == 2


def long_first(x: int) -> int:
    """Takes a second at the item before the last ones."""
    if x == 197:
        time.sleep(1)
    return x


def test_what_runs_is_not_ended_for_others() -> None:
    """The item of a worker that is to give items back runs to its end, however long that takes."""
    f = parallel(workers=2, inline=False, chunk=200)(long_first)
    assert f.map(range(200)) == list(range(200))


def slow_errors(x: tuple[int, str]) -> None:
    """Raises after a while; the second one waits until the first one's error was seen."""
    index, mark = x
    if index == 0:
        raise LookupError(index)
    if index == 1:
        wait_for_file(mark)


def test_an_error_does_not_wait_for_the_next_item(tmp_path: Path) -> None:
    """What an item has raised is told while the next one of its message still runs."""
    mark = str(tmp_path / "seen")
    f = parallel(workers=1, inline=False, chunk=3)(slow_errors)
    outcomes = f.outcomes([(index, mark) for index in range(3)])
    assert isinstance(next(outcomes).error, LookupError)
    Path(mark).touch()
    assert [each.ok for each in outcomes] == [True, True]


def waits_after(x: tuple[int, str]) -> int:
    """Several short items, then one that waits until all of these were seen."""
    index, mark = x
    if index == 5:
        wait_for_file(mark)
    return index


def test_a_result_does_not_wait_for_the_next_item(tmp_path: Path) -> None:
    """Whenever the one that runs long begins, those before it are on their way."""
    mark = str(tmp_path / "seen")
    f = parallel(workers=1, inline=False, chunk=8)(waits_after)
    results = f.imap([(index, mark) for index in range(8)])
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    Path(mark).touch()
    assert list(results) == [5, 6, 7]


@pytest.mark.parametrize("verb", ["imap", "imap_unordered", "outcomes"])
@pytest.mark.parametrize("window", [1, 7, 100])
def test_a_window_counts_what_was_yielded(verb: str, window: int) -> None:
    """No more items are taken than the window allows beyond those that the consumer has got."""
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(1, 1001):
            taken += 1
            yield number

    f = parallel(workers=2, inline=False, window=window)(same)
    most = given = 0
    for _ in getattr(f, verb)(numbers()):
        given += 1
        most = max(most, taken - given)
    assert (taken, given) == (1000, 1000)
    assert most <= window


FRAMES = """
import sys
from procession import parallel

@parallel(workers=1, inline=False, chunk=4)
def callers(x):
    caller = sys._getframe(1)
    return caller.f_code.co_name, caller.f_back.f_code.co_name

print(set(callers.map(range(4))))
"""


def test_nothing_is_done_for_an_item_but_to_run_it(tmp_path: Path) -> None:
    """Where the caller has set nothing up, the loop calls the function itself."""
    assert run_script(tmp_path, FRAMES) == "{('_run_group', '_run_groups')}\n"
