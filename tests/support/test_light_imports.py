"""A worker imports what a module of the tests imports only when it asks for it."""

from __future__ import annotations

import asyncio
import sys

import numpy
import pytest

from procession import parallel


@pytest.fixture
def number() -> int:
    """Something to give to a test."""
    return 1


@pytest.mark.parametrize("other", [1, pytest.param(2, id="two")])
@pytest.mark.usefixtures("number")
def test_here_it_is_the_real_one(other: int, number: int) -> None:
    """What runs the tests has imported pytest before, and keeps it."""
    assert (number, other) in [(1, 1), (1, 2)]
    assert type(pytest).__name__ == "module"


def _is_loaded() -> bool:
    return "_pytest.config" in sys.modules


@parallel(workers=1, inline=False, context="spawn")
def seen() -> tuple[bool, str, bool]:
    """Whether pytest is loaded here, names of a test and of the real one's, whether it is now."""
    before = _is_loaded()
    names = f"{test_here_it_is_the_real_one.__name__} {pytest.approx.__name__}"
    return before, names, _is_loaded()


def test_a_worker_loads_it_when_asked() -> None:
    """Decorators of tests leave what they are on, and all else is the real one's."""
    names = "test_here_it_is_the_real_one approx"
    assert seen.submit().result() == (False, names, True)


LIBRARIES = asyncio, numpy


def _loaded() -> list[str]:
    return [library.__name__ for library in LIBRARIES if library.__name__ in sys.modules]


@parallel(workers=1, inline=False, context="spawn")
def loaded() -> tuple[list[str], object, list[str]]:
    """What is loaded here, a number by numpy, and what is loaded now."""
    return _loaded(), numpy.add(1, 2).item(), _loaded()


def test_a_worker_loads_a_library_when_asked() -> None:
    """A large library is the real one, but not before it is used."""
    assert _loaded() == ["asyncio", "numpy"]
    assert loaded.submit().result() == ([], 3, ["numpy"])
