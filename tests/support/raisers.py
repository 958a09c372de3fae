"""Objects that raise any error where they are pickled, rebuilt, or have their class looked at."""

from __future__ import annotations

import asyncio
import os
from typing import Any


class Own(BaseException):
    """An error that is no `Exception`."""


class Mute(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise SystemExit(1)


ERRORS: dict[str, type[BaseException]] = {
    each.__name__: each
    for each in (
        ValueError,
        Own,
        Mute,
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
        StopIteration,
        StopAsyncIteration,
        MemoryError,
        asyncio.CancelledError,
    )
}


def fail(name: str, unless: int = 0) -> str:
    """Raise the error of this name, unless in this process."""
    if os.getpid() == unless:
        return "rebuilt"
    raise ERRORS[name]("on the way")


class Sent:
    """Raises when it is pickled."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> Any:
        fail(self.name)


class Rebuilt(Sent):
    """Raises when it is rebuilt."""

    def __reduce__(self) -> Any:
        return fail, (self.name,)


class RebuiltElsewhere(Sent):
    """Raises when it is rebuilt in another process than it was pickled in."""

    def __reduce__(self) -> Any:
        return fail, (self.name, os.getpid())


def _hostile(method: str, name: str) -> type:
    """A class whose metaclass raises in this method."""

    def failing(*_: object) -> Any:
        fail(name)

    return type.__new__(type(f"Raises{name}", (type,), {method: failing}), "Hostile", (), {})


_UNHASHABLE = {name: _hostile("__hash__", name) for name in ERRORS}
_MUTE = {name: _hostile("__getattribute__", name) for name in ERRORS}


def unhashable(name: str) -> object:
    """An object whose class raises when it is hashed, as all that asks for its type does."""
    return object.__new__(_UNHASHABLE[name])


def mute(name: str) -> object:
    """An object whose class raises when it is asked for anything, as for its name."""
    return object.__new__(_MUTE[name])


KINDS = (Sent, Rebuilt, RebuiltElsewhere, unhashable, mute)
