"""Short maps begin before there is a map, and nobody can tell but by the clock."""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import threading
from datetime import time, tzinfo
from decimal import Decimal
from pathlib import Path

import pytest

import procession
from procession import NotPicklable, ParallelWarning, TaskExited, parallel
from procession.backends import registry
from procession.engine.map import short_map
from procession.engine.map.short_map import ShortMap
from procession.engine.policy.placement import Pace
from tests.support.waiting import wait_for_file, wait_until

SIX = range(6)
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(autouse=True)
def cold() -> None:
    """No pool is up, so that a map of few items begins here."""
    procession.shutdown()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[ShortMap]:
    """Every short map since the test began."""
    made: list[ShortMap] = []
    results = ShortMap.results

    def noticed(one: ShortMap) -> list[object]:
        made.append(one)
        return results(one)

    monkeypatch.setattr(ShortMap, "results", noticed)
    return made


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No item counts as slow, however long the machine lets this process wait."""
    monkeypatch.setattr(short_map, "HELP_AFTER", 3600.0)


@parallel(workers=2)
def where(x: object) -> tuple[object, int, int]:
    """The item, its place as it sees it, and its process."""
    task = procession.current_task()
    assert task is not None
    return x, task.index, os.getpid()


@parallel(workers=2)
def waits(item: tuple[int, int, Path]) -> tuple[int, str]:
    """Item `slow` waits for the last one, which leaves a mark; tells what the context holds."""
    index, slow, folder = item
    if index == SIX[-1]:
        (folder / "last").touch()
    if index == slow:
        wait_for_file(folder / "last")
    return index, variable.get()


@parallel(workers=2)
def fails(item: tuple[int, int, Path]) -> int:
    """Item `slow` waits for the last one, which fails; the first to fail is the third."""
    index, slow, folder = item
    if index == SIX[-1]:
        (folder / "last").touch()
        raise ValueError(index)
    if index == slow:
        wait_for_file(folder / "last")
    if index == 3:
        raise KeyError(index)
    return index


@parallel(workers=2)
def leaves(x: int) -> int:
    """Ends the program, or so item 1 would like it."""
    if x == 1:
        raise SystemExit(7)
    return x


@parallel(workers=2)
def interrupted(folder: Path) -> None:
    """Ctrl-C comes once the map has been made of it."""
    with (folder / "begun").open("a") as begun:
        begun.write(f"{os.getpid()}\n")
    for _ in range(10_000):
        if registry.none_open():
            threading.Event().wait(0.001)
    signal.raise_signal(signal.SIGINT)


@parallel(workers=2)
def forks(x: int) -> int:
    """Item 1 forks, and the child goes on with the map; tells the exit code that it ends with."""
    if x == 1:
        return os.fork()
    return x


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("make", [list, tuple, range])
def test_a_short_map_runs_here(make: type, begun: list[ShortMap]) -> None:
    """Each item once, in order, in this process, with its own place; no pool is started."""
    items = SIX if make is range else make(SIX)
    assert where.map(items) == [(x, x, os.getpid()) for x in SIX]
    assert len(begun) == 1
    assert registry.none_open()


@parallel(workers=2)
def same(x: object) -> object:
    """The item."""
    return x


@parallel(workers=2)
def spoils(row: dict[object, object]) -> object:
    """The item, but for one that becomes a lock."""
    return threading.Lock() if row["x"] == 7 else row


MANY: list[list[object]] = [
    [{"name": str(x), "size": x} for x in range(500)],
    [(x, str(x)) for x in range(500)],
    [str(x) for x in range(500)],
    [Decimal(x) for x in range(500)],
]


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("items", MANY, ids=["dicts", "tuples", "texts", "decimals"])
def test_many_rows_and_texts_begin_as_a_short_map(
    items: list[object], begun: list[ShortMap]
) -> None:
    """They can cross, which is seen without what pools need. Their results likewise."""
    assert same.map(items) == items
    assert len(begun) == 1
    assert registry.none_open()


def test_a_map_whose_items_all_run_here_needs_no_pool(begun: list[ShortMap]) -> None:
    """With `inline=True`, however many they are, how long they take, and whether a pool is up."""
    here = where.with_options(inline=True)
    where.submit(0).result()
    assert here.map(range(1000)) == [(x, x, os.getpid()) for x in range(1000)]
    assert len(begun) == 1
    with pytest.raises(KeyError, match="3"):
        fails.with_options(inline=True).map([(3, 0, Path())])


def test_with_an_initializer_it_is_no_short_map(begun: list[ShortMap]) -> None:
    """That runs before the items, also in this process."""
    ran: list[str] = []
    here = same.with_options(inline=True, initializer=ran.append, initargs=("ran",))
    assert here.map([1, 2]) == [1, 2]
    assert ran == ["ran"]
    assert not begun


class Zone(tzinfo):
    """A time zone that holds a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[type[tzinfo], tuple[object, ...]]:
        """As it is pickled."""
        return Zone, (self.lock,)

    def utcoffset(self, when: object) -> None:
        """Unknown."""

    tzname = dst = utcoffset


@pytest.mark.usefixtures("unhurried")
def test_a_lock_among_many_rows_is_refused() -> None:
    """As an item and as a result, by its place."""
    rows: list[dict[object, object]] = [{"x": x} for x in range(500)]
    with pytest.raises(NotPicklable, match="item 7"):
        spoils.map(rows)
    rows[7] = {"x": threading.Lock()}
    with pytest.raises(NotPicklable, match=r"\['x'\]"):
        same.map(rows)
    rows[0] = {threading.Lock(): 0}
    with pytest.raises(NotPicklable, match="lock"):
        same.map(rows)
    times: list[object] = [time(0, 0, x % 60, tzinfo=Zone()) for x in range(500)]
    with pytest.raises(NotPicklable, match="lock"):
        same.map(times)


@pytest.mark.parametrize("slow", [0, 2])
def test_what_stands_behind_an_item_that_waits_is_run_elsewhere(
    slow: int, tmp_path: Path, begun: list[ShortMap]
) -> None:
    """An item that waits for a later one gets it, from a worker that sees the caller's context."""
    token = variable.set("the caller's")
    try:
        assert waits.map([(x, slow, tmp_path) for x in SIX]) == [(x, "the caller's") for x in SIX]
    finally:
        variable.reset(token)
    assert len(begun) == 1


@pytest.mark.parametrize("slow", [0, 2])
def test_tiny_the_last_time_is_no_promise(slow: int, tmp_path: Path, begun: list[ShortMap]) -> None:
    """With a pool up, a map of what was tiny begins here, and what then hangs keeps nobody."""
    where.submit(0).result()
    pace = waits._self_history.pace = Pace()  # type: ignore[attr-defined]
    pace.item = 1e-9
    assert [x for x, _ in waits.map([(x, slow, tmp_path) for x in SIX])] == list(SIX)
    assert len(begun) == 1


@pytest.mark.parametrize("slow", [-1, 0])
def test_the_first_error_in_input_order_is_raised(
    slow: int, tmp_path: Path, begun: list[ShortMap]
) -> None:
    """Whether the map was made or not, the error is the first, as itself, and names its item."""
    with pytest.raises(KeyError, match="3") as caught:
        fails.map([(x, slow, tmp_path) for x in SIX])
    assert len(begun) == 1
    assert "fails() was running item 3" in "".join(caught.value.__notes__)


def test_an_item_ends_no_program(begun: list[ShortMap]) -> None:
    """SystemExit in an item is an error of that item."""
    with pytest.raises(TaskExited) as caught:
        leaves.map([0, 1, 2])
    assert caught.value.code == 7
    assert len(begun) == 1


def test_what_cannot_cross_is_refused_as_ever(begun: list[ShortMap]) -> None:
    """The first item is checked, though it runs here; so is the function."""
    with pytest.raises(NotPicklable, match=r"x\['lock'\]"):
        where.map([{"lock": threading.Lock()}, 1])
    with pytest.warns(ParallelWarning):
        nameless = parallel(lambda x: x)
    with pytest.raises(NotPicklable):
        nameless.map([1, 2])
    assert not begun


def test_interrupted_maps_end(tmp_path: Path) -> None:
    """Ctrl-C while the items take their time reaches the caller, and nothing goes on."""
    before = sys.getswitchinterval()
    with pytest.raises(KeyboardInterrupt):
        interrupted.map([tmp_path, tmp_path])
    procession.shutdown()
    wait_until(lambda: sys.getswitchinterval() == before)
    assert (tmp_path / "begun").read_text().split()[0] == str(os.getpid())


def test_a_forked_child_goes_on(begun: list[ShortMap]) -> None:
    """An item forks: in both processes the map gives all its results."""
    first, child, last = forks.map([0, 1, 2])
    if child == 0:
        os._exit(5 if (first, last) == (0, 2) else 6)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert len(begun) == 1


@pytest.mark.parametrize(
    "options", [{"inline": False}, {"seed": 1}, {"retries": 1}, {"timeout": 60}, {"window": 2}]
)
def test_options_that_say_more_are_heard(options: dict[str, object], begun: list[ShortMap]) -> None:
    """Whatever asks for more than to run the function on items makes a map at once."""
    changed = where.with_options(**options)  # type: ignore[arg-type]
    assert [x for x, _, _ in changed.map([0, 1, 2])] == [0, 1, 2]
    assert not begun


def test_with_a_pool_up_the_first_item_is_sent(begun: list[ShortMap]) -> None:
    """A function of which nothing is known begins in the pool, if there is one."""
    where._self_history.pace = Pace()  # type: ignore[attr-defined]
    where.submit(0).result()
    assert where.map([0])[0][2] != os.getpid()
    assert not begun
