# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: D103
"""Generic and overloaded functions, as far as both checkers carry them through a decorator.

mypy cannot keep a function's type variables in an instance. What it then gives is `Any` in the
map verbs, never a wrong type, and it never refuses right code; pyright gives the exact type.
"""

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from procession import parallel, parallel_map

T = TypeVar("T")
N = TypeVar("N", bound=Sequence[int])


@parallel
def wrap(item: T, times: int = 1) -> list[T]:
    return [item] * times


@parallel_map
def bounded(item: N) -> list[N]:
    return [item]


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


def overloaded() -> None:
    numbers: list[int] = parallel_map(double)([1])  # the first overload is taken
    assert numbers
