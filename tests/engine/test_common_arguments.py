"""Arguments that go to every item: each item sees them as they were sent, wherever it runs."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import procession
from procession import ParallelWarning, parallel, parallel_chunks, shared
from procession.engine.common_arguments import vary

LARGE = 200_000
"""Elements of a list whose pickle is far larger than what is loaded for each item."""


@parallel(workers=2)
def grow(x: int, seen: list[int]) -> int:
    """Change a common argument; tell what had come of it."""
    seen.append(x)
    return len(seen)


@parallel(workers=2)
def bump(x: int, array: Any) -> float:
    """Write to an array; tell its sum."""
    array[x] += 1
    return float(array.sum())


@parallel(workers=2)
def keep(x: int, *, memo: dict[str, int]) -> int:
    """Change a common argument that goes by name."""
    memo[str(x)] = x
    return len(memo)


@parallel(workers=2)
def total(x: int, numbers: list[int]) -> int:
    """Only read."""
    return numbers[x] + len(numbers)


class Counter:
    """Has a method that changes it."""

    def __init__(self) -> None:
        self.count = 0

    @parallel(workers=2)
    def step(self, x: int) -> int:
        """Count."""
        self.count += 1
        return self.count


@parallel_chunks(workers=2)
def chunked(numbers: list[int], seen: list[int]) -> list[int]:
    """Change a common argument once per piece."""
    seen.append(1)
    return [len(seen)] * len(numbers)


PLACES: dict[str, dict[str, Any]] = {
    "auto": {},
    "process": {"inline": False},
    "one chunk": {"inline": False, "chunk": 8},
    "loky": {"backend": "loky"},
    "stdlib": {"backend": "stdlib"},
    "thread": {"backend": "thread"},
    "serial": {"backend": "serial"},
    "inline": {"inline": True},
}
VERBS: dict[str, Callable[..., list[Any]]] = {
    "map": lambda f, items, *args: f.map(items, *args),
    "imap": lambda f, items, *args: list(f.imap(items, *args)),
    "imap_unordered": lambda f, items, *args: list(f.imap_unordered(items, *args)),
    "outcomes": lambda f, items, *args: [each.value for each in f.outcomes(items, *args)],
    "map_async": lambda f, items, *args: f.map_async(items, *args).result(60),
}


def at(function: Any, place: str) -> Any:
    """The function at a place."""
    return function.with_options(**PLACES[place])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_list(verb: str, place: str) -> None:
    """Each item sees the list as it was sent, and the caller's own stays as it is."""
    mine: list[int] = []
    assert VERBS[verb](at(grow, place), range(8), mine) == [1] * 8
    assert mine == []


@pytest.mark.parametrize("place", PLACES)
def test_by_name(place: str) -> None:
    """So do arguments that go by name, with `map` and `starmap`."""
    mine: dict[str, int] = {}
    assert at(keep, place).map(range(8), memo=mine) == [1] * 8
    assert at(keep, place).starmap(((x,) for x in range(8)), memo=mine) == [1] * 8
    assert mine == {}


@pytest.mark.parametrize("size", [10, 10_000, 200_000])
@pytest.mark.parametrize("place", PLACES)
def test_an_array(place: str, size: int) -> None:
    """An array, small or mapped, is each item's own, and can be written to."""
    mine = np.zeros(size)
    assert at(bump, place).map(range(8), mine) == [1.0] * 8
    assert mine.sum() == 0


@pytest.mark.parametrize("place", PLACES)
def test_an_instance(place: str) -> None:
    """The instance of a method is sent as any other argument."""
    counter = Counter()
    assert at(counter.step, place).map(range(8)) == [1] * 8
    assert counter.count == 0


@pytest.mark.parametrize("place", PLACES)
def test_what_is_bound(place: str) -> None:
    """What a partial or a bound method holds is sent as any other argument."""
    mine: list[int] = []
    bound = partial(grow.local, seen=mine)
    assert at(parallel(workers=2)(bound), place).map(range(8)) == [1] * 8
    assert list(at(parallel(workers=2)(bound), place).imap(range(8))) == [1] * 8
    ahead = partial(extend, mine)
    assert at(parallel(workers=2)(ahead), place).map(range(8)) == [1] * 8
    assert mine == []
    plain = Plain()
    assert at(parallel(workers=2)(plain.step), place).map(range(8)) == [1] * 8
    assert plain.count == 0


def extend(seen: list[int], x: int) -> int:
    """As `grow`, with the item last."""
    seen.append(x)
    return len(seen)


class Plain:
    """Has an undecorated method that changes it."""

    def __init__(self) -> None:
        self.count = 0

    def step(self, _: int) -> int:
        """Count."""
        self.count += 1
        return self.count


@pytest.mark.parametrize("place", ["auto", "process", "serial", "thread"])
def test_pieces(place: str) -> None:
    """The further arguments of `parallel_chunks` go to every piece as they were sent."""
    mine: list[int] = []
    assert at(chunked, place)(list(range(8)), mine) == [1] * 8
    assert mine == []


@pytest.mark.parametrize("place", ["process", "inline", "loky", "serial"])
def test_a_large_pickle_that_is_changed(place: str) -> None:
    """It is loaded once; once items are seen to change it, anew for each, with a warning."""
    mine = list(range(LARGE))
    function = at(grow, place).with_options(chunk=1, workers=1 if place != "serial" else None)
    with pytest.warns(ParallelWarning, match=r"grow\(\) changes its argument 'seen'.*shared.put"):
        lengths = function.map(range(8), mine)
    assert lengths == [LARGE + 1] * 8
    assert len(mine) == LARGE


@pytest.mark.parametrize("place", PLACES)
def test_a_large_pickle_that_is_read(place: str) -> None:
    """One that nobody changes is loaded once, and draws no warning."""
    numbers = list(range(LARGE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert at(total, place).map(range(8), numbers) == [x + LARGE for x in range(8)]


def test_threads_do_not_see_each_other() -> None:
    """Of a large one that items change, each thread has a copy, also before that is seen."""
    both = threading.Barrier(2)

    def grow_together(x: int, seen: list[int]) -> int:
        both.wait(20)
        seen.append(x)
        both.wait(20)
        return len(seen)

    function = parallel(workers=2, backend="thread", chunk=1)(grow_together)
    with pytest.warns(ParallelWarning, match="changes its argument 'seen'"):
        lengths = function.map(range(8), list(range(LARGE)))
    assert lengths == [LARGE + 1] * 8


class Costly:
    """Counts, in each process, how often it is rebuilt there."""

    rebuilt = 0

    def __init__(self, size: int) -> None:
        self.filling = "x" * size

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        Costly.rebuilt += 1


@parallel(workers=1, inline=False)
def rebuilds(_: int, costly: Costly) -> int:
    """How often this process has rebuilt one."""
    return costly.rebuilt


def test_how_often_it_is_loaded() -> None:
    """A small one for each item, a large one once."""
    procession.shutdown()
    assert rebuilds.map(range(8), Costly(100_000)) == [1] * 8
    counts = rebuilds.map(range(8), Costly(10))
    assert counts == list(range(counts[0], counts[0] + 8))


@pytest.mark.parametrize("place", ["thread", "serial"])
def test_what_cannot_be_pickled_is_shared_here(place: str) -> None:
    """Where nothing is ever sent, what cannot be copied is the caller's own, as a lock must be."""
    lock, seen = threading.Lock(), [threading.current_thread()]
    assert at(grow_under, place).map(range(4), lock, seen) == [2, 3, 4, 5]
    assert len(seen) == 5


@parallel(workers=1)
def grow_under(x: int, lock: Any, seen: list[Any]) -> int:
    """Append under a lock."""
    with lock:
        seen.append(x)
        return len(seen)


@pytest.mark.parametrize("place", ["process", "thread", "serial", "inline"])
def test_what_is_shared_stays_shared(place: str) -> None:
    """A `procession.shared` object is one for all, though others beside it are not."""
    array, seen = shared.zeros(8), [0]
    at(write, place).map(range(8), array, seen)
    assert array.tolist() == [2.0] * 8


@parallel(workers=2)
def write(x: int, array: Any, seen: list[int]) -> None:
    """Write to shared memory what had come of a list."""
    seen.append(x)
    array[x] = len(seen)


def test_what_may_change() -> None:
    """Numbers, strings, functions and tuples of them need no copies; containers do."""
    assert not vary([1, "a", b"b", None, (1, ("x",)), len, Counter, time.sleep, 2.5])
    assert not vary([shared.Value("i", 0), np.float64(2), np.dtype("i4")])
    assert vary([1, []])
    assert vary([shared.put([1])])  # items see the snapshot
    assert vary([(1, {})])
    assert vary([np.zeros(1)])
    assert vary([Counter()])
