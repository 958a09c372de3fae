"""Every pattern of the multiprocessing guide that Procession replaces, called as API.md says.

Each test names the block that it stands for. All work goes through the default backend unless the
block is about another.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import procession
from procession import (
    Future,
    Outcome,
    Pool,
    as_completed,
    background,
    gather,
    isolated,
    parallel,
    parallel_chunks,
    parallel_map,
)
from tests.support.waiting import wait_until


@parallel(workers=2)
def square(x: int) -> int:
    """The guide's first worker."""
    return x * x


@parallel(workers=2)
def add(x: int, y: int) -> int:
    """A worker of two arguments."""
    return x + y


@parallel(workers=2)
def power(base: int, exponent: int = 2) -> int:
    """A worker with a default."""
    return int(base**exponent)


@parallel(workers=2)
def reciprocal(x: int) -> float:
    """A worker that fails for one item."""
    return 1 / x


def where(_: int = 0) -> int:
    """Tell the process it runs in."""
    return os.getpid()


@isolated
def report(path: Path, text: str) -> int:
    """Works by side effect, and tells where it ran."""
    with path.open("a") as file:
        file.write(text + "\n")
    return os.getpid()


@isolated
def sleep_isolated(seconds: float) -> None:
    """Take long."""
    time.sleep(seconds)


@background(workers=2)
def slow_square(x: int, seconds: float = 0.0) -> int:
    """A worker that takes its time."""
    time.sleep(seconds)
    return x * x


@parallel_map(workers=2)
def cube(x: int) -> int:
    """A worker that is only ever mapped."""
    return x**3


@parallel_chunks(workers=2)
def squares(numbers: list[int]) -> list[int]:
    """A function of a whole list."""
    return [number * number for number in numbers]


@parallel(workers=2)
def sum_of_squares(numbers: range) -> int:
    """A function of one piece of the input."""
    return sum(number * number for number in numbers)


def add_plain(x: int, y: int) -> int:
    """A function that stays undecorated under its own name."""
    return x + y


# ------------------------------------------------------------------------- Process(target=...)


def test_process_start_and_join(tmp_path: Path) -> None:
    """`p = Process(target=f, args=...); p.start(); p.join()` is a call of an isolated function."""
    pid = report(tmp_path / "report", "hello")
    assert pid != os.getpid()
    assert (tmp_path / "report").read_text() == "hello\n"


def test_several_processes_started_then_joined(tmp_path: Path) -> None:
    """Start all, then join all: `submit` each, then take each result."""
    started = [report.submit(tmp_path / "report", str(number)) for number in range(3)]
    pids = [future.result() for future in started]
    assert len({*pids, os.getpid()}) == 4
    assert sorted((tmp_path / "report").read_text().split()) == ["0", "1", "2"]


def test_process_join_with_a_timeout() -> None:
    """`p.join(timeout)`, `p.is_alive()`, `p.terminate()`: `result(timeout=)`, `done`, `cancel`."""
    endless = sleep_isolated.submit(600.0)
    with pytest.raises(TimeoutError):
        endless.result(timeout=0.05)
    assert not endless.done()
    assert endless.cancel()
    assert endless.cancelled()


def test_exit_code_of_a_process_that_died() -> None:
    """`p.exitcode` of a process that died is in the error."""

    with pytest.raises(procession.WorkerDied) as caught:
        exit_at_once(7)
    assert caught.value.exitcode == 7


@isolated
def exit_at_once(code: int) -> None:
    """End the process with no clean-up."""
    os._exit(code)


# -------------------------------------------------------------- ProcessPoolExecutor: submit, map


def test_submit_one() -> None:
    """`executor.submit(f, x).result()`."""
    future: Future[int] = square.submit(7)
    assert future.result() == 49


def test_submit_and_as_completed() -> None:
    """A dict of futures, taken as they complete."""
    futures = {square.submit(number): number for number in range(10)}
    results = {futures[future]: future.result() for future in as_completed(futures)}
    assert results == {number: number * number for number in range(10)}


def test_executor_with_statement() -> None:
    """`with ProcessPoolExecutor(max_workers=2) as executor:` with an undecorated function."""
    with Pool(max_workers=2) as executor:
        futures = [executor.submit(add_plain, number, 1) for number in range(5)]
        assert [future.result() for future in futures] == [1, 2, 3, 4, 5]
        assert list(executor.map(add_plain, range(5), range(5))) == [0, 2, 4, 6, 8]
        assert list(executor.map(add_plain, range(5), range(5), chunksize=3)) == [0, 2, 4, 6, 8]


def test_an_undecorated_function_is_wrapped_on_the_spot() -> None:
    """`executor.submit(f, ...)` for a function that stays undecorated."""
    assert parallel(workers=2)(add_plain).submit(2, 3).result() == 5
    assert add_plain(2, 3) == 5


def test_background_call() -> None:
    """`apply_async` of a function that always runs in the background."""
    future = slow_square(12)
    assert future.result() == 144


# ---------------------------------------------------------------------------------- Pool: verbs


def test_map() -> None:
    """`pool.map(f, items)`."""
    assert square.map(range(10)) == [number * number for number in range(10)]
    assert cube(range(5)) == [0, 1, 8, 27, 64]


def test_map_with_a_fixed_argument() -> None:
    """`pool.map(partial(f, exponent=3), items)`."""
    assert power.map([1, 2, 3], exponent=3) == [1, 8, 27]
    assert power.map([1, 2, 3], 3) == [1, 8, 27]


def test_map_async() -> None:
    """`pool.map_async(f, items).get()`."""
    future = square.map_async(range(10))
    assert future.result(timeout=60) == [number * number for number in range(10)]


def test_map_async_with_a_callback() -> None:
    """`pool.map_async(f, items, callback=g)`."""
    seen: list[list[int]] = []
    future = square.map_async([1, 2, 3])
    future.add_done_callback(lambda done: seen.append(done.result()))
    assert future.result(timeout=60) == [1, 4, 9]
    wait_until(lambda: seen == [[1, 4, 9]])


def test_apply() -> None:
    """`pool.apply(f, args)`."""
    assert add.submit(2, 3).result() == 5
    assert add.submit(x=2, y=3).result() == 5


def test_apply_async() -> None:
    """`pool.apply_async(f, args)`, several at once, then `get` each."""
    futures = [add.submit(number, 10) for number in range(5)]
    assert [future.result(timeout=60) for future in futures] == [10, 11, 12, 13, 14]


def test_apply_async_with_callbacks() -> None:
    """`pool.apply_async(f, args, callback=g, error_callback=h)`."""
    results: list[float] = []
    errors: list[BaseException | None] = []

    def sort(future: concurrent.futures.Future[float]) -> None:
        if future.exception() is None:
            results.append(future.result())
        else:
            errors.append(future.exception())

    for number in (1, 0):
        reciprocal.submit(number).add_done_callback(sort)
    wait_until(lambda: len(results) + len(errors) == 2)
    assert results == [1.0]
    assert isinstance(errors[0], ZeroDivisionError)


def test_results_of_different_functions() -> None:
    """Several `apply_async` of different functions, collected together with their types."""
    number, fraction = gather(square.submit(3), reciprocal.submit(4))
    assert (number, fraction) == (9, 0.25)


def test_starmap() -> None:
    """`pool.starmap(f, argument_tuples)`."""
    assert add.starmap([(1, 2), (3, 4), (5, 6)]) == [3, 7, 11]


def test_starmap_of_two_lists() -> None:
    """`pool.starmap(f, zip(xs, ys))`, and `executor.map(f, xs, ys)`."""
    assert add.starmap(zip(range(5), range(5), strict=True)) == [0, 2, 4, 6, 8]


def test_starmap_async() -> None:
    """`pool.starmap_async`: the tuples as items of one function."""
    future = parallel(workers=2)(add_pair).map_async([(1, 2), (3, 4)])
    assert future.result(timeout=60) == [3, 7]


def add_pair(pair: tuple[int, int]) -> int:
    """A worker of one pair."""
    return pair[0] + pair[1]


def test_imap() -> None:
    """`pool.imap(f, items, chunksize)`: lazily, in order."""
    results = square.imap(range(20))
    assert next(results) == 0
    assert list(results) == [number * number for number in range(1, 20)]
    assert list(square.with_options(chunk=5).imap(range(20))) == [n * n for n in range(20)]


def test_imap_unordered() -> None:
    """`pool.imap_unordered(f, items)`: as they finish."""
    assert sorted(square.imap_unordered(range(20))) == [number * number for number in range(20)]


def test_imap_of_a_stream() -> None:
    """An endless generator is read only as far as results are taken."""

    def numbers() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    results = square.imap(numbers())
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]


def test_a_million_squares_in_chunks() -> None:
    """The guide's `chunksize` block: a million cheap items."""
    count = 1_000_000
    results = square.map(range(count))
    assert len(results) == count
    assert results[:3] == [0, 1, 4]
    assert results[-1] == (count - 1) ** 2
    assert sum(results) == (count - 1) * count * (2 * count - 1) // 6


def test_a_million_squares_cut_by_hand() -> None:
    """The same, with the input cut into ranges by hand."""
    count, pieces = 1_000_000, 8
    step = count // pieces
    ranges = [range(start, start + step) for start in range(0, count, step)]
    assert sum(sum_of_squares.map(ranges)) == (count - 1) * count * (2 * count - 1) // 6


def test_a_function_of_a_whole_list_is_cut_and_joined() -> None:
    """The guide's split, map, and join again is one call."""
    numbers = list(range(10_000))
    assert squares(numbers) == [number * number for number in numbers]


# -------------------------------------------------------------------- start methods and set-up


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_start_contexts_by_name(context: str) -> None:
    """`multiprocessing.get_context(method)`, by its name."""
    chosen = parallel(workers=1, context=context)(where)
    assert chosen.submit().result() != os.getpid()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_start_contexts_as_objects(method: str) -> None:
    """`ctx = multiprocessing.get_context(method)`, the object itself."""
    context = multiprocessing.get_context(method)
    chosen = parallel(workers=1, context=context)(where)
    assert chosen.submit().result() != os.getpid()


def remember(value: str) -> None:
    """The guide's initializer: a global of the worker."""
    global remembered
    remembered = value


remembered = "unset"


def recall(_: int) -> str:
    """What the initializer left."""
    return remembered


def test_initializer() -> None:
    """`Pool(initializer=f, initargs=(...))`."""
    function = parallel(workers=2, initializer=remember, initargs=("set",))(recall)
    assert function.map(range(4)) == ["set"] * 4
    assert remembered == "unset"


def test_maxtasksperchild() -> None:
    """`Pool(maxtasksperchild=1)`: every item in a fresh process."""
    function = parallel(workers=2, max_tasks_per_worker=1, chunk=1, backend="process")(where)
    pids = function.map(range(4))
    assert len(set(pids)) == 4


def test_number_of_workers() -> None:
    """`Pool(processes=n)`: no more than n processes take part."""
    assert len(set(parallel(workers=2, inline=False)(where).map(range(20)))) <= 2
    assert 1 <= procession.usable_cpus() <= (os.cpu_count() or 1)


# ------------------------------------------------------------------------------------- errors


def test_an_exception_comes_back_as_itself() -> None:
    """`future.result()` raises what the function raised."""
    future = reciprocal.submit(0)
    with pytest.raises(ZeroDivisionError):
        future.result()
    assert isinstance(future.exception(), ZeroDivisionError)


def test_exceptions_item_by_item() -> None:
    """`try: future.result() except Exception` for each item is `outcomes`."""
    outcomes: list[Outcome[float]] = list(reciprocal.outcomes([1, 0, 2]))
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]
    assert [outcome.value for outcome in outcomes if outcome.ok] == [1.0, 0.5]
    assert isinstance(outcomes[1].error, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        _ = outcomes[1].value


def test_exceptions_from_imap_stop_it() -> None:
    """`for result in pool.imap(...)`: the error is raised where the bad item stands."""
    results = reciprocal.imap([1, 2, 0, 4])
    assert next(results) == 1.0
    assert next(results) == 0.5
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_timeout_of_one_item() -> None:
    """What `result(timeout=)` cannot do: the item is ended, the others go on."""
    function = slow_square.with_options(timeout=1.0, chunk=1)
    outcomes = list(function.outcomes([1, 2, 3], seconds=0.0))
    assert [outcome.value for outcome in outcomes] == [1, 4, 9]
    with pytest.raises(procession.TimedOut):
        function.submit(1, seconds=600.0).result()
