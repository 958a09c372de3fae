"""Input is taken in the calling thread, and pickled when it is taken."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import itertools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procession import parallel, parallel_chunks, parallel_map
from procession.engine.map.source import may_wait
from tests.support.waiting import wait_for_file, wait_until

COUNT = 60


@parallel(workers=2)
def first(row: Any) -> Any:
    """The first of a row."""
    return row[0]


@parallel(workers=2)
def slow(row: Any) -> Any:
    """The same, for long enough to be sent to the pool."""
    time.sleep(0.002)
    return row[0]


@parallel_map(workers=2)
def mapped(row: Any) -> Any:
    """The same, as a plain call."""
    return row[0]


@parallel_chunks(workers=2)
def chunked(rows: list[Any]) -> list[Any]:
    """The same, of pieces."""
    return [row[0] for row in rows]


PLACES: dict[str, dict[str, Any]] = {
    "auto": {},
    "process": {"inline": False},
    "window": {"inline": False, "window": 1},
    "loky": {"backend": "loky"},
    "stdlib": {"backend": "stdlib"},
    "thread": {"backend": "thread"},
    "serial": {"backend": "serial"},
    "inline": {"inline": True},
}
VERBS: dict[str, Callable[[Any, Any], list[Any]]] = {
    "map": lambda f, items: f.map(items),
    "starmap": lambda f, items: f.starmap((item,) for item in items),
    "imap": lambda f, items: list(f.imap(items)),
    "imap_unordered": lambda f, items: sorted(f.imap_unordered(items)),
    "outcomes": lambda f, items: [outcome.value for outcome in f.outcomes(items)],
}


@pytest.fixture
def cursor() -> Iterator[Callable[[], Any]]:
    """Gives cursors that only their own thread may read."""
    with contextlib.closing(sqlite3.connect(":memory:")) as table:
        table.execute("create table t(a)")
        table.executemany("insert into t values (?)", [(n,) for n in range(COUNT)])
        yield lambda: table.execute("select a from t order by a")


def where() -> Iterator[tuple[int]]:
    """Tells in which thread each item was taken."""
    for _ in range(COUNT):
        yield (threading.get_ident(),)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_cursor(verb: str, place: str, cursor: Callable[[], Any]) -> None:
    """A cursor bound to its thread is an input for every verb that waits."""
    for function in (first, slow):
        at = function.with_options(**PLACES[place])
        assert VERBS[verb](at, cursor()) == list(range(COUNT))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", VERBS)
def test_the_calling_thread(verb: str, place: str) -> None:
    """The thread that takes input is the one that called."""
    at = slow.with_options(**PLACES[place])
    assert set(VERBS[verb](at, where())) == {threading.get_ident()}


def test_plain_calls() -> None:
    """Plain calls of `parallel_map` and `parallel_chunks` functions take it there, too."""
    for inline in ("auto", False):
        here = threading.get_ident()
        assert set(mapped.with_options(inline=inline)(where())) == {here}
        assert set(chunked.with_options(inline=inline)(where())) == {here}  # type: ignore[arg-type]


def test_what_belongs_to_the_thread() -> None:
    """Thread-locals and the decimal context hold for the input, however long items take."""
    local = threading.local()
    local.base = 5

    def numbers() -> Iterator[tuple[str]]:
        for number in range(COUNT):
            yield (str(decimal.Decimal(1) / (local.base + number)),)

    with decimal.localcontext(prec=5):
        wanted = [text for (text,) in numbers()]
        assert slow.with_options(inline=False).map(numbers()) == wanted
        assert list(slow.with_options(inline=False).imap(numbers())) == wanted


def reused(make: Callable[[], Any]) -> Iterator[Any]:
    """Uses one buffer for all items."""
    buffer = make()
    for number in range(COUNT):
        buffer[0] = number
        yield buffer


@pytest.mark.parametrize("make", [lambda: [0], lambda: np.zeros(4, int), lambda: np.zeros(40_000)])
@pytest.mark.parametrize("place", [place for place in PLACES if place != "thread"])
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "starmap"])
def test_one_buffer_for_all_items(verb: str, place: str, make: Callable[[], Any]) -> None:
    """An item is sent, or run, as it was when it was taken."""
    for function in (first, slow):
        at = function.with_options(**PLACES[place])
        assert VERBS[verb](at, reused(make)) == list(range(COUNT))


def test_one_buffer_in_the_background() -> None:
    """So it is for the verbs that do not wait."""

    async def consume() -> list[Any]:
        return [each async for each in first.aimap(reused(lambda: [0]))]

    assert first.map_async(reused(lambda: [0])).result(60) == list(range(COUNT))
    assert asyncio.run(consume()) == list(range(COUNT))


@pytest.mark.parametrize("inline", ["auto", False])
@pytest.mark.parametrize("verb", ["imap", "imap_unordered", "outcomes"])
def test_input_that_follows_its_results(verb: str, inline: Any) -> None:
    """A generator may wait on a queue for what comes of the results: what it waits on is seen."""
    found: queue.SimpleQueue[int] = queue.SimpleQueue()

    def follow() -> Iterator[tuple[int]]:
        number = 0
        while number < 20:
            yield (number,)
            number = found.get(timeout=60)

    seen = []
    for each in getattr(first.with_options(inline=inline), verb)(follow()):
        number = each.value if verb == "outcomes" else each
        seen.append(number)
        found.put(number + 1)
    assert seen == list(range(20))


@parallel(workers=2, inline=False)
def when_told(files: tuple[Path, Path] | None) -> object:
    """Begin, and wait for a file; or nothing."""
    if files:
        files[0].touch()
        wait_for_file(files[1])
    return files


class _Late(tuple[()]):
    """An item that is pickled once its file is there, and the event is set."""

    def __new__(cls, go: Path, event: threading.Event) -> _Late:
        late = super().__new__(cls)
        late.go, late.event = go, event  # type: ignore[attr-defined]
        return late

    def __reduce__(self) -> Any:
        self.go.touch()  # type: ignore[attr-defined]
        assert self.event.wait(60)  # type: ignore[attr-defined]
        return tuple, ()


@pytest.mark.parametrize("late", [False, True])
def test_an_item_is_sent_though_the_input_waits_behind_it(late: bool, tmp_path: Path) -> None:
    """It was taken while all workers were busy, and they are done before the next one is there.

    Either they end when the input has been asked for the next item, or while this one is pickled.
    """
    go, over, done = tmp_path / "go", threading.Event(), threading.Event()

    def follow() -> Iterator[Any]:
        for _ in range(40):
            yield None
        for name in ("one", "two"):
            yield tmp_path / name, go
            wait_for_file(tmp_path / name)
        yield _Late(go, over) if late else None
        go.touch()
        assert done.wait(30)

    busy = none = 0
    for each in when_told.imap_unordered(follow()):
        busy += isinstance(each, tuple) and len(each) == 2
        none += not each
        if busy == 2:
            over.set()
        if none == 41:
            done.set()
    assert (busy, none) == (2, 41)


@pytest.mark.parametrize("inline", ["auto", False])
def test_input_that_follows_its_results_unseen(inline: Any) -> None:
    """With a window of one, a generator may look for its results as in a plain loop."""
    todo = [0]

    def follow() -> Iterator[tuple[int]]:
        while todo:
            yield (todo.pop(),)

    seen = []
    for each in first.with_options(inline=inline, window=1).imap(follow()):
        seen.append(each)
        if each < 20:
            todo.append(each + 1)
    assert seen == list(range(21))


def test_what_may_wait(cursor: Callable[[], Any]) -> None:
    """What threads wait for is found in variables, closures, attributes and iterators."""
    event, items = threading.Event(), queue.Queue[int]()

    class Holder:
        def __init__(self) -> None:
            self.items = items

        def __iter__(self) -> Iterator[int]:
            while True:
                yield self.items.get()

    def waits() -> Iterator[int]:
        event.wait()
        yield 1

    def plain() -> Iterator[int]:
        yield from range(3)

    for each in (waits(), iter(Holder()), iter(items.get, None), map(str, waits())):
        assert may_wait(each)
    for other in (plain(), map(str, plain()), itertools.count(), cursor(), iter([event])):
        assert not may_wait(other)


@parallel(workers=2, inline=False)
def touch(row: Any) -> Any:
    """Leave a file behind."""
    row[0].touch()
    return row[0]


@pytest.mark.parametrize("verb", ["map", "imap", "imap_unordered", "outcomes"])
def test_items_run_while_input_makes_us_wait(verb: str, tmp_path: Path) -> None:
    """An item is sent when it is taken, and runs while the next one is waited for."""

    def two() -> Iterator[tuple[Path]]:
        yield (tmp_path / "1",)
        wait_for_file(tmp_path / "1")
        yield (tmp_path / "2",)

    assert VERBS[verb](touch, two()) == [tmp_path / "1", tmp_path / "2"]


def test_input_is_taken_once_another_thread_has_opened_the_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The consumer, which takes the input, may wait already while a helper's thread opens it."""
    results: Any = first.imap(row for row in ([1], [2]))
    run = results._batches.run
    run.sender.run_there()
    opened, open_backend = threading.Event(), run.sender._open_backend

    def slowly() -> Any:
        assert opened.wait(60)
        return open_backend()

    monkeypatch.setattr(run.sender, "_open_backend", slowly)
    threads = [threading.Thread(target=each) for each in (run.sender.pump, run.wait)]
    for thread in threads:
        thread.start()
    wait_until(lambda: run.sender.started and run.delivery._wakeups)
    opened.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    results.close()
