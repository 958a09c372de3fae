"""Every verb, at every place: what it gives, in which order, and how far it reads its input."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procession import Future, ParallelWarning
from tests.conformance import functions as f
from tests.conformance.places import Place, at

SQUARES = [number * number for number in range(20)]


class Counted:
    """An endless input that knows how much of it was taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.taken += 1
        return self.taken - 1


async def collect(results: AsyncIterator[Any], count: int | None = None) -> list[Any]:
    """The first results of an async iterator, or all."""
    taken = []
    async for result in results:
        taken.append(result)
        if len(taken) == count:
            break
    return taken


def lazily(verb: str) -> Callable[[Any, Any], Iterator[Any]]:
    """The verb as a function that gives an iterator of plain values."""

    def call(function: Any, items: Any) -> Iterator[Any]:
        results = getattr(function, verb)(items)
        if verb == "outcomes":
            return (outcome.value for outcome in results)
        return iter(results)

    return call


# ----------------------------------------------------------------------------------- one call


def test_local_runs_here(place: Place) -> None:
    """`local` is the undecorated call, wherever the function would run."""
    assert at(place, f.process_id).local() == os.getpid()


def test_submit(place: Place) -> None:
    """`submit` gives a future of one call, with positional and keyword arguments."""
    function = at(place, f.power)
    future = function.submit(2, 5, offset=1)
    assert isinstance(future, Future)
    assert future.result() == 33
    assert function.submit(base=3).result() == 9
    assert at(place, f.joined).submit("a", "b", separator="+").result() == "a+b"


def test_submit_runs_elsewhere(processes: Place) -> None:
    """A submitted call never runs in this process."""
    assert at(processes, f.process_id).submit().result() != os.getpid()


def test_submit_sees_the_argument_as_it_was(processes: Place) -> None:
    """What happens to an argument after `submit` is not seen."""
    argument = [1, 2, 3]
    future = at(processes, f.echo).submit(argument)
    argument.clear()
    assert future.result() == [1, 2, 3]


def test_many_submits(place: Place) -> None:
    """Many futures at once, each with its own result."""
    futures = [at(place, f.square).submit(number) for number in range(100)]
    assert [future.result() for future in futures] == [number**2 for number in range(100)]


def test_a_wrong_call_is_an_ordinary_type_error(place: Place) -> None:
    """Too many arguments are the function's own TypeError, in the future."""
    function: Any = at(place, f.square)
    with pytest.raises(TypeError, match="square"):
        function.submit(1, 2, 3).result()


# --------------------------------------------------------------------------------------- maps


def test_map(place: Place) -> None:
    """`map` gives a list, in order."""
    assert at(place, f.square).map(range(20)) == SQUARES


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_map_with_any_chunk(place: Place, chunk: int) -> None:
    """The chunk size changes nothing but the speed."""
    assert at(place, f.square, chunk=chunk).map(range(20)) == SQUARES


@pytest.mark.parametrize("window", [1, 2, 50])
def test_map_with_any_window(place: Place, window: int) -> None:
    """The window changes nothing but the speed."""
    assert at(place, f.square, window=window).map(range(20)) == SQUARES


def test_map_with_further_arguments(place: Place) -> None:
    """Further arguments go to every item."""
    function = at(place, f.power)
    assert function.map([1, 2, 3], 3) == [1, 8, 27]
    assert function.map([1, 2, 3], exponent=3, offset=1) == [2, 9, 28]


def test_an_argument_as_long_as_the_input_is_not_zipped(place: Place) -> None:
    """`map` is not `Executor.map`: an argument of the input's length draws a warning."""
    with pytest.warns(ParallelWarning, match="starmap"):
        results = at(place, f.pair).map([1, 2], [3, 4])
    assert results == [(1, [3, 4]), (2, [3, 4])]


def test_starmap(place: Place) -> None:
    """`starmap` takes tuples of arguments; keywords go to every call."""
    function = at(place, f.power)
    assert function.starmap([(2, 3), (3, 2)]) == [8, 9]
    assert function.starmap([(2, 3), (3, 2)], offset=1) == [9, 10]
    assert function.starmap(zip(range(5), range(5), strict=True)) == [0**0, 1, 4, 27, 256]


def test_imap(place: Place) -> None:
    """`imap` gives an iterator, in order."""
    results = at(place, f.square).imap(range(20))
    assert iter(results) is results
    assert next(results) == 0
    assert list(results) == SQUARES[1:]
    assert next(results, None) is None


def test_imap_unordered(place: Place) -> None:
    """`imap_unordered` gives every result once."""
    assert sorted(at(place, f.square).imap_unordered(range(20))) == SQUARES


def test_outcomes(place: Place) -> None:
    """`outcomes` gives one outcome per item, in order, with the item itself."""
    items = [object() for _ in range(3)] if not place.has_processes else [[0], [1], [2]]
    outcomes = list(at(place, f.echo).outcomes(items))
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]
    for outcome, item in zip(outcomes, items, strict=True):
        assert outcome.item is item
        assert outcome.ok
        assert outcome.error is None
        assert outcome.attempts == 1
        assert outcome.seconds >= 0
        assert outcome.value == item


def test_map_async(place: Place) -> None:
    """`map_async` gives a future of the whole list."""
    future = at(place, f.square).map_async(range(20))
    assert isinstance(future, Future)
    assert future.result() == SQUARES


def test_aimap(place: Place) -> None:
    """`aimap` gives the same, asynchronously."""
    results = asyncio.run(collect(at(place, f.square).aimap(range(20))))
    assert results == SQUARES


def test_plain_calls(place: Place) -> None:
    """A plain call does what its decorator says, at every place."""
    assert at(place, f.square)(7) == 49
    assert at(place, f.cube)([1, 2, 3]) == [1, 8, 27]
    assert at(place, f.doubled)([1, 2, 3]) == [2, 4, 6]
    assert at(place, f.negated)(7).result() == -7


@pytest.mark.parametrize("verb", ["map", "imap", "imap_unordered", "outcomes", "starmap"])
def test_nothing_to_do(place: Place, verb: str) -> None:
    """An empty input gives an empty output, of every verb."""
    assert list(getattr(at(place, f.square), verb)([])) == []
    assert list(getattr(at(place, f.square), verb)(iter(()))) == []


def test_nothing_to_do_later(place: Place) -> None:
    """An empty input gives an empty output, of the verbs that do not block, too."""
    assert at(place, f.square).map_async([]).result() == []
    assert asyncio.run(collect(at(place, f.square).aimap([]))) == []
    assert at(place, f.cube)([]) == []


@pytest.mark.parametrize(
    "items",
    [(1, 2, 3), {1: "a", 2: "b", 3: "c"}, range(1, 4), iter([1, 2, 3]), map(int, "123")],
    ids=["tuple", "dict", "range", "iterator", "map"],
)
def test_any_iterable_is_an_input(items: Any) -> None:
    """What can be iterated over can be mapped over."""
    assert f.square.map(items) == [1, 4, 9]


def test_none_is_a_result_like_any_other(place: Place) -> None:
    """`None`, falsy values and exceptions as *values* come through."""
    values: list[Any] = [None, 0, "", [], False, ...]
    assert at(place, f.echo).map(values) == values
    (error,) = at(place, f.echo).map([ValueError("a value")])
    assert isinstance(error, ValueError)


def test_large_items(place: Place) -> None:
    """Items and results far larger than a pipe's buffer."""
    items = [bytes([number]) * 3_000_000 for number in range(6)]
    assert at(place, f.echo, chunk=1).map(items) == items


# -------------------------------------------------------------------------- order and laziness


def test_order_is_the_input_s_though_the_first_item_is_last(place: Place, tmp_path: Path) -> None:
    """The first item ends after the second, and still comes first."""
    if not place.is_concurrent:
        pytest.skip("one item at a time")
    mark = tmp_path / "second is done"
    function = at(place, f.wait_for_second, chunk=1)
    assert function.map(range(4), mark) == [0, 1, 2, 3]


def test_unordered_results_come_as_they_finish(place: Place, tmp_path: Path) -> None:
    """The first item ends only after the others were seen by the caller."""
    if not place.is_concurrent:
        pytest.skip("one item at a time")
    mark = tmp_path / "the others were seen"
    function = at(place, f.wait_if_first, chunk=1)
    seen = []
    for value in function.imap_unordered(range(4), path=mark):
        seen.append(value)
        if len(seen) == 3:
            mark.touch()
    assert sorted(seen[:3]) == [1, 2, 3]
    assert seen[3] == 0


@pytest.mark.parametrize("verb", ["imap", "imap_unordered", "outcomes"])
def test_an_endless_input_is_read_only_as_far_as_needed(place: Place, verb: str) -> None:
    """Five results of an infinite input, and no more taken than a window ahead."""
    source = Counted()
    function = at(place, f.echo, window=10)
    results = list(itertools.islice(lazily(verb)(function, source), 5))
    assert len(results) == 5
    assert set(results) <= set(range(15))
    assert source.taken <= 15


@pytest.mark.parametrize("verb", ["imap", "imap_unordered", "outcomes"])
def test_an_endless_input_without_a_window(place: Place, verb: str) -> None:
    """The default window is bounded, too."""
    results = list(itertools.islice(lazily(verb)(at(place, f.echo), itertools.count()), 5))
    assert len(results) == 5


def test_an_endless_input_asynchronously(place: Place) -> None:
    """`aimap` is as lazy as `imap`."""
    results = asyncio.run(collect(at(place, f.echo).aimap(itertools.count()), 5))
    assert results == [0, 1, 2, 3, 4]


def test_a_consumer_that_stops_early_leaves_a_usable_pool(place: Place) -> None:
    """After an iterator was dropped half way the next call works."""
    function = at(place, f.square)
    results: Any = function.imap(itertools.count())
    assert next(results) == 0
    results.close()
    del results
    assert function.map(range(20)) == SQUARES


def test_the_input_is_not_read_before_the_first_result_is_asked_for(place: Place) -> None:
    """Making an iterator reads no more than a window of the input."""
    source = Counted()
    results = at(place, f.echo, window=4).imap(source)
    assert source.taken <= 4
    assert next(results) == 0


def test_an_input_that_fails(place: Place) -> None:
    """An error of the input itself is raised as it is, after the results before it."""

    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("the input broke")

    with pytest.raises(LookupError, match="the input broke"):
        at(place, f.square).map(broken())
    results = at(place, f.square).imap(broken())
    taken: list[int] = []
    with pytest.raises(LookupError, match="the input broke"):
        taken.extend(results)
    assert taken == [1, 4]
    assert at(place, f.square).map([3]) == [9]


def test_the_input_is_iterated_in_one_thread_at_a_time(place: Place) -> None:
    """A generator is never entered while it runs."""

    def numbers() -> Iterator[int]:
        yield from range(200)

    assert at(place, f.square, chunk=1, window=4).map(numbers()) == [n * n for n in range(200)]


def test_two_maps_at_once(place: Place) -> None:
    """Two iterators over one pool, taken in turns."""
    one = at(place, f.square).imap(range(50))
    two = at(place, f.echo).imap(range(50))
    assert list(zip(one, two, strict=True)) == [(n * n, n) for n in range(50)]


def test_a_map_over_a_map(place: Place) -> None:
    """One map's results are the other's input."""
    function = at(place, f.square)
    assert list(function.imap(function.imap(range(10)))) == [n**4 for n in range(10)]


def test_maps_from_many_threads(place: Place) -> None:
    """Several threads use one pool at once, and each gets its own results."""
    from concurrent.futures import ThreadPoolExecutor

    function = at(place, f.power)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda n: function.map(range(30), n), range(1, 9)))
    assert results == [[base**n for base in range(30)] for n in range(1, 9)]


def test_workers_are_kept_between_calls(processes: Place) -> None:
    """Calls of functions with equal worker options run in the same few processes."""
    pids = {at(processes, f.process_id).submit().result() for _ in range(5)}
    pids.update(at(processes, f.process_id).map(range(20)))
    assert len(pids) <= 2


def test_results_of_a_dropped_map_are_not_seen_by_the_next(place: Place) -> None:
    """A map that was given up leaves nothing behind for the one that follows."""
    function = at(place, f.echo, chunk=1)
    for start in (0, 1000, 2000):
        results = function.imap(range(start, start + 50))
        assert next(results) == start
        del results
    assert function.map(range(10)) == list(range(10))


def test_items_are_run_once_each(place: Place, tmp_path: Path) -> None:
    """Every item of an ordinary map is run, and none twice."""
    names = [str(number) for number in range(30)]
    assert at(place, f.leave_mark).map(names, tmp_path) == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
