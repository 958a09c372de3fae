"""Calls that cannot mean what they say: each is told what to write instead."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest
import wrapt

from procession import (
    ParallelWarning,
    background,
    isolated,
    parallel,
    parallel_chunks,
    parallel_map,
)


def square(number: int) -> int:
    """A function without keywords of its own."""
    return number * number


def total(first: Any, *, timeout: int = 0, chunksize: int = 0, **more: Any) -> Any:
    """A function whose own keywords look like options."""
    return timeout, chunksize, sorted(more)


sq: Any = parallel(square, backend="serial")
mapped: Any = parallel_map(square, backend="serial")
chunks: Any = parallel_chunks(square, backend="serial")
started: Any = background(square, backend="serial")
alone: Any = isolated(square, backend="serial")

OPTIONS: list[tuple[Callable[[], Any], str]] = [
    (lambda: sq.map([1], chunksize=3), "square.with_options(chunk=3).map(items)"),
    (lambda: sq.map([1], timeout=3), "square.with_options(timeout=3).map(items)"),
    (lambda: sq.map([1], workers=3), "square.with_options(workers=3).map(items)"),
    (lambda: sq.map([1], n_jobs=-1), "with_options(workers=procession.usable_cpus()).map(items)"),
    (lambda: sq.map([1], processes="x"), "square.with_options(workers=…).map(items)"),
    (lambda: sq.starmap([(1,)], chunksize=2), "square.with_options(chunk=2).starmap(items)"),
    (lambda: sq.imap([1], buffersize=2), "square.with_options(window=2).imap(items)"),
    (lambda: sq.imap([1], ordered=False), "square.imap_unordered(items)"),
    (lambda: sq.imap_unordered([1], chunk=2), "square.with_options(chunk=2).imap_unordered(items)"),
    (lambda: sq.outcomes([1], return_exceptions=True), "square.outcomes(items)"),
    (lambda: sq.map_async([1], callback=print), "add_done_callback(function)"),
    (lambda: sq.aimap([1], timeout=2), "square.with_options(timeout=2).aimap(items)"),
    (lambda: sq.submit(1, callback=print).result(), "square.submit(...).add_done_callback(func"),
    (lambda: sq.submit(1, timeout=2).result(), "square.with_options(timeout=2).submit(...)"),
    (lambda: mapped([1], chunksize=3), "square.with_options(chunk=3)(items)"),
    (lambda: chunks([1], chunksize=3), "square.with_options(chunk=3)(...)"),
    (lambda: started(1, timeout=3).result(), "square.with_options(timeout=3).submit(...)"),
    (lambda: alone(1, timeout=3), "square.with_options(timeout=3)(...)"),
]


@pytest.mark.parametrize(("call", "mend"), OPTIONS, ids=[mend for _, mend in OPTIONS])
def test_an_option_given_as_an_argument_is_told_where_it_belongs(
    call: Callable[[], Any], mend: str
) -> None:
    """A keyword that the function does not take, and that is an option, ours or another's."""
    with pytest.raises(TypeError) as caught:
        call()

    assert mend in str(caught.value)


def test_submit_never_raises_for_a_keyword() -> None:
    """The error is in the future, as any other of its arguments."""
    assert isinstance(sq.submit(1, callback=print).exception(), TypeError)


def test_keywords_that_the_function_takes_are_its_own() -> None:
    """No keyword is taken away from a function that has it, by name or by ``**``."""
    taking: Any = parallel(total, backend="serial")

    assert taking.map([1], timeout=2, chunksize=3, callback=4) == [(2, 3, ["callback"])]
    assert taking.submit(1, workers=2).result() == (0, 0, ["workers"])
    builtin: Any = parallel(sorted, backend="serial")
    assert builtin.map([[1, 2]], reverse=True) == [[2, 1]]


def test_wrappers_may_take_more_than_they_say() -> None:
    """A wrapper that shows the inner function's signature is believed to take any keyword."""

    def limited(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args), kwargs.pop("timeout")

    decorator: Any = vars(wrapt)["decorator"](limited)
    work: Any = parallel(decorator(square), backend="serial")

    assert work.map([2], timeout=3) == [(4, 3)]


def test_a_keyword_that_is_no_option_is_pythons_to_refuse() -> None:
    """What Python says of an unknown keyword stays as it is."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        sq.map([1], colour=3)


@pytest.mark.parametrize(("call", "shown"), [(mapped, "square(xs, ys)"), (sq.map, "square.map(xs")])
def test_a_second_input_is_warned_of_in_the_words_of_the_call(
    call: Callable[..., Any], shown: str
) -> None:
    """The warning shows the call as it was written, a plain call too."""
    with warnings.catch_warnings(record=True) as caught, pytest.raises(TypeError):
        warnings.simplefilter("always")
        call([1, 2], [3, 4])

    assert caught[0].category is ParallelWarning
    assert str(caught[0].message).startswith(shown)
    assert "square.starmap(zip(xs, ys))" in str(caught[0].message)


def test_a_function_in_place_of_what_it_gives() -> None:
    """A generator function that was not called: the message says to call it."""

    def items() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"Call it: write square\.map\(items\(\.\.\.\)\) for"):
        sq.map(cast("Any", items))
    with pytest.raises(TypeError, match=r"Call it: write square\.imap\(list\(\.\.\.\)\) for"):
        sq.imap(cast("Any", list))


def test_an_asynchronous_iterable_is_collected_first() -> None:
    """It cannot be mapped over: the message says how to make a list of it."""

    async def items() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(
        TypeError, match=r"async_generator\. Write \[item async for item in items\]"
    ):
        sq.aimap(items())
