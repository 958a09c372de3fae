"""Decorated functions under decorators that do not say what they wrap."""

from __future__ import annotations

import functools
from typing import Any

from procession import background, isolated, parallel_map


def timed(function: Any) -> Any:
    """A decorator without `functools.wraps`."""

    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


def wrapped(function: Any) -> Any:
    """A decorator with it."""

    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


class Timed:
    """A decorator that is a class."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        return self.function(*args)


@timed
@parallel_map(inline=False, workers=1)
def mapped(number: int) -> int:
    """Under a function's wrapper."""
    return number


@Timed
@isolated
def alone(number: int) -> int:
    """Under an object."""
    return number


class Shelf:
    """A method under a wrapper."""

    @timed
    @background(workers=1)
    def method(self) -> int:
        """The method."""
        return 1


@wrapped
@parallel_map(inline=False, workers=1)
def fine(number: int) -> int:
    """Under a wrapper that says what it wraps."""
    return number + 1
