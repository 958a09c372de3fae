# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: D103
"""Generic and overloaded functions, as far as both checkers carry them through a decorator.

mypy cannot keep a function's type variables in an instance. What it then gives is `Any` in the
map verbs, never a wrong type, and it never refuses right code; pyright gives the exact type.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, overload

from procession import isolated, parallel, parallel_map

T = TypeVar("T")
N = TypeVar("N", bound=Sequence[int])


@parallel
def wrap(item: T, times: int = 1) -> list[T]:
    return [item] * times


@parallel_map
def bounded(item: N) -> list[N]:
    return [item]


@parallel
def first(items: Sequence[T], at: int = 0) -> T:
    return items[at]


@parallel_map
def largest(items: list[T], at: int = 0) -> T:
    return items[at]


@parallel
def values(table: dict[str, T]) -> list[T]:
    return list(table.values())


@parallel
def tried(function: Callable[[T], T]) -> int:
    return 0


@parallel
def sized(items: Iterable[T], at: int = 0) -> int:
    return at


@isolated
def alone(items: Sequence[T], at: int = 0) -> T:
    return items[at]


@parallel_map
def anything(item: Any, times: int = 1) -> list[int]:
    return [times]


@parallel_map
def objects(item: object, times: int = 1) -> list[int]:
    return [times]


@overload
def double(item: int) -> int: ...
@overload
def double(item: str) -> str: ...
def double(item: int | str) -> int | str:
    return item * 2


def plain_calls() -> None:
    once: list[int] = wrap(1)
    later: list[str] = wrap.submit("a").result()
    here: list[bytes] = wrap.local(b"")
    assert once
    assert later
    assert here


def map_verbs() -> None:
    words: list[list[str]] = wrap.map(["a"])
    many: list[list[str]] = wrap.map(["a"], times=2)
    lazily: list[list[int]] = list(wrap.imap([1]))
    inner: list[list[list[int]]] = bounded([[1]])
    numbers: list[list[int]] = anything([1, "a"])
    others: list[list[int]] = objects([1, "a"], times=2)
    assert words
    assert many
    assert lazily
    assert inner
    assert numbers
    assert others

    wrap.map(["a"], times="b")  # type: ignore[call-overload]
    anything([1], times="b")  # type: ignore[call-overload]
    objects([1], "b")  # type: ignore[call-overload]


def plain(number: int) -> int:
    return number


def type_variables_inside() -> None:
    firsts: list[int] = first.map([[1], [2]])
    later: list[str] = first.map_async([["a"]], at=1).result()
    lazily: list[str] = list(first.imap(["a", "b"]))
    stars: list[int] = first.starmap([([1], 2)])
    largests: list[int] = largest([[1], [2]], at=1)
    tables: list[list[int]] = values.map([{"a": 1}])
    tries: list[int] = tried.map([plain])
    sizes: list[int] = sized.map([[1], [2]], 3)
    one: int = first([1])
    alones: list[int] = alone.map([[1], [2]], at=1)
    outcomes: list[int] = [outcome.value for outcome in alone.outcomes([[1]])]
    starred: list[int] = alone.starmap([([1], 2)])
    assert firsts
    assert later
    assert lazily
    assert stars
    assert largests
    assert tables
    assert tries
    assert sizes
    assert one
    assert alones
    assert outcomes
    assert starred

    first.map([[1]], at="a")  # type: ignore[call-overload]
    first.map(3)  # type: ignore[call-overload]
    largest([[1]], "a")  # type: ignore[call-overload]
    alone.map([[1]], at="a")  # type: ignore[call-overload]
    first(3)  # type: ignore[arg-type]


def overloaded() -> None:
    numbers: list[int] = parallel_map(double)([1])  # the first overload is taken
    assert numbers
