"""Functions that draw from the program's own generators are warned of when they are decorated."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from procession import ParallelWarning, parallel
from procession.pitfalls.code_checks import pitfalls

np: Any = pytest.importorskip("numpy")

RNG = np.random.default_rng(1)
OLD = np.random.RandomState(1)
PLAIN = random.Random(1)
SYSTEM = random.SystemRandom()
SHARED = np.random.mtrand._rand


def by_global(_: int) -> float:
    """Draws from a global."""
    return float(RNG.random())


def by_old(_: int) -> float:
    """Draws from a global."""
    return float(OLD.rand())


def by_plain(_: int) -> float:
    """Draws from a global."""
    return PLAIN.random()


def by_default(_: int, rng: Any = RNG) -> float:
    """Draws from a default value."""
    return float(rng.random())


def by_keyword(_: int, *, rng: random.Random = PLAIN) -> float:
    """Draws from a default value."""
    return rng.random()


def by_comprehension(_: int) -> list[float]:
    """Draws inside a comprehension, which is code of its own before Python 3.12."""
    return [PLAIN.random() for _ in range(3)]


def by_inner(_: int) -> float:
    """Draws in a function inside."""

    def inner() -> float:
        return PLAIN.random()

    return inner()


def by_helper(x: int) -> float:
    """Draws in another function of the module."""
    return by_inner(x) + by_helper(x - 1) if x else 0.0


def around() -> Callable[[int], float]:
    """Draws from what is around it."""
    rng = random.Random(3)

    def inner(_: int) -> float:
        return rng.random()

    return inner


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (by_global, "the global 'RNG', a numpy.random.Generator (line "),
        (by_old, "the global 'OLD', a numpy.random.RandomState"),
        (by_plain, "the global 'PLAIN', a random.Random"),
        (by_comprehension, "by_comprehension() draws from the global 'PLAIN'"),
        (by_inner, "by_inner() draws from the global 'PLAIN'"),
        (by_helper, "by_helper() draws from the global 'PLAIN'"),
        (by_default, "the default of 'rng', a numpy.random.Generator"),
        (by_keyword, "the default of 'rng', a random.Random"),
        (around(), "'rng' of the function around it, a random.Random"),
    ],
)
def test_it_is_warned_of(function: Callable[..., Any], says: str) -> None:
    """The text names the generator, where it is used, and both ways to mend it."""
    with pytest.warns(ParallelWarning) as caught:
        parallel(function)
    (text,) = [str(each.message) for each in caught]
    assert says in text
    assert "default_rng([seed, procession.current_task().index])" in text
    assert "rng.spawn(n)" in text


def by_module(_: int) -> float:
    """Draws from what workers have a stream of their own of."""
    return random.random() + float(np.random.random() + SHARED.rand()) + SYSTEM.random()


def by_item(_: int, rng: Any) -> float:
    """Draws from what it is given, or makes."""
    return float(rng.random() + np.random.default_rng([1, _]).random())


@pytest.mark.parametrize("function", [by_module, by_item])
def test_what_repeats_nothing_is_not(function: Callable[..., Any]) -> None:
    """The modules' own generators, the system's, and those of the item."""
    assert pitfalls(function) == []
