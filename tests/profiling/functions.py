"""Decorated functions that the tests of profiles call."""

from __future__ import annotations

import os
from collections.abc import Iterator

from procession import isolated, parallel


@parallel
def square(x: int) -> int:
    """So cheap that its items run in the caller's thread."""
    return x * x


@parallel(workers=2, inline=False)
def sent(x: int) -> int:
    """Runs in workers."""
    return x * x


@parallel
def outer(x: int) -> int:
    """Makes a decorated call of its own."""
    return sum(square.map(range(x)))


@parallel
def fails(x: int) -> int:
    """Fails for the third item."""
    if x == 2:
        raise ValueError(x)
    return x


@isolated
def alone(x: int, *, name: str = "") -> int:
    """Runs in a process of its own."""
    return os.getpid()


@isolated
def counted(upto: int) -> Iterator[int]:
    """A generator."""
    yield from range(upto)


@isolated
async def awaited(x: int) -> int:
    """A coroutine function."""
    return x + 1
