"""Pitfalls that are warned about when a function is decorated."""

from __future__ import annotations

import functools
import io
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from sys import stderr
from typing import Any

import pytest

from procession import parallel
from procession.errors import ParallelWarning
from procession.pitfalls.code_checks import pitfalls, warn_about

total = 0
names: list[str] = []
guard = threading.Lock()
settled = threading.Event()
log: Any = None
lock = 3  # not one, whatever its name


def adds(number: int) -> None:
    """Assigns a global."""
    global total
    total += number


def forgets() -> None:
    """Deletes a global."""
    global total
    del total


def adds_inside(numbers: list[int]) -> None:
    """Assigns a global in a function inside."""

    def add(number: int) -> None:
        global total
        total += number

    for number in numbers:
        add(number)


def counter() -> Callable[[], None]:
    """Makes a function that assigns a nonlocal."""
    count = 0

    def increment() -> None:
        nonlocal count
        count += 1

    return increment


def appends(number: int, seen: list[int] = []) -> list[int]:  # noqa: B006
    """Appends to its default."""
    seen.append(number)
    return seen


def remembers(number: int, *, cache: dict[int, int] = {}) -> int:  # noqa: B006
    """Sets an item of its default."""
    if number not in cache:
        cache[abs(number) + 1] = number * 2
    return cache.get(number, 0)


def extends(more: list[int], seen: list[int] = []) -> list[int]:  # noqa: B006
    """Extends its default in place."""
    seen += more
    return seen


def empties(seen: list[int] = [1]) -> None:  # noqa: B006
    """Deletes an item of its default."""
    del seen[0]


def splices(seen: list[int] = [1]) -> None:  # noqa: B006
    """Sets a slice of its default."""
    seen[0:1] = [2]


def guarded() -> None:
    """Uses a lock of the module."""
    with guard:
        print(names)


def writes() -> None:
    """Uses an open file of the module."""
    log.write("x")


@pytest.fixture(autouse=True)
def _open_log() -> Iterator[None]:
    """Gives the module an open file."""
    global log
    with open(os.devnull, "w") as log:
        yield
    log = None


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (adds, "adds() assigns the global 'total'"),
        (forgets, "forgets() assigns the global 'total'"),
        (adds_inside, "adds_inside() assigns the global 'total'"),
        (counter(), "increment() assigns the nonlocal 'count'"),
        (appends, "appends() changes 'seen', whose default is one list"),
        (remembers, "remembers() changes 'cache', whose default is one dict"),
        (extends, "extends() changes 'seen', whose default is one list"),
        (empties, "empties() changes 'seen', whose default is one list"),
        (splices, "splices() changes 'seen', whose default is one list"),
        (guarded, "guarded() uses the global 'guard', which is a lock"),
        (writes, "writes() uses the global 'log', which is an open file"),
        (lambda: 1, "A lambda was decorated"),
        (staticmethod(adds), "adds() assigns the global 'total'"),
        (functools.partial(adds, 1), "adds() assigns the global 'total'"),
    ],
)
def test_pitfall_is_found(function: Any, text: str) -> None:
    """Each kind of pitfall is found once, with its name, its line and what to write instead."""
    (found,) = pitfalls(function)
    assert found.startswith(text)
    assert "(line " in found or "lambda" in found


def test_a_lambda_that_goes_by_value() -> None:
    """It needs no name, so nothing is wrong with it; decorating it warns of nothing."""
    assert pitfalls(lambda: 1, by_value=True) == []
    twice: Callable[[int], int] = parallel(pickling="by-value")(lambda x: 2 * x)
    assert twice(2) == 4


def reads_globals() -> Any:
    """Only reads."""
    return total, names, lock, settled.is_set()


def prints() -> None:
    """Uses the standard streams."""
    print("x", file=stderr)
    sys.stdout.write("")


def attribute_of_the_same_name(thing: Any) -> None:
    """An attribute has the name of a global lock."""
    thing.guard.append(1)


def reads_its_default(number: int, known: dict[int, int] = {1: 2}, *others: int) -> Any:  # noqa: B006
    """Only reads its default."""
    found = known.get(number) or known[1]
    other = {}
    other[known[1]] = found
    return [*known, *others], other


def copies_its_default(number: int, seen: list[int] = []) -> list[int]:  # noqa: B006
    """Makes the name mean a copy."""
    seen = list(seen)
    seen.append(number)
    return seen


def own_closures() -> Any:
    """Assigns a variable of its own from inside."""
    count = 0

    def increment() -> int:
        nonlocal count
        count += 1
        return count

    return increment()


@pytest.mark.parametrize(
    "function",
    [
        reads_globals,
        prints,
        attribute_of_the_same_name,
        reads_its_default,
        copies_its_default,
        own_closures,
        len,
        int,
        functools.partial(print, 1),
        io.StringIO().write,
        os.path.join,
    ],
)
def test_ordinary_code_is_left_alone(function: Any) -> None:
    """No false alarm for code that only looks like a pitfall, nor for what has no code."""
    assert pitfalls(function) == []


def test_warning_points_at_the_caller() -> None:
    """The warning is a ParallelWarning on the line that asked."""
    with pytest.warns(ParallelWarning, match="assigns the global") as caught:
        warn_about(adds, by_value=False)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about(reads_globals, by_value=False)


def test_standard_library_is_mostly_clean() -> None:
    """Functions of ordinary modules give no warning but for true cases."""
    import argparse
    import csv
    import fractions
    import inspect
    import json.decoder
    import statistics
    import textwrap

    flagged = [
        text
        for module in (argparse, csv, fractions, inspect, json.decoder, statistics, textwrap)
        for thing in vars(module).values()
        for function in (vars(thing).values() if isinstance(thing, type) else [thing])
        if inspect.isfunction(function)
        for text in pitfalls(function)
    ]
    # These keep what they have found, for the next call.
    caches = ("'_filesbymodname'", "'modulesbyfile'")
    assert [text for text in flagged if not any(cache in text for cache in caches)] == []
