"""A worker's initializer and its arguments, on their way to a process that starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from procession.pickling.pickler import dumps, loads

__all__ = ["Packed", "open_initializer", "pack_initializer"]

Packed = bytes | tuple[bytes, tuple[Any, ...]]


def pack_initializer(
    initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> Packed:
    """Pickle an initializer with its arguments.

    Arguments that only a starting process can take (multiprocessing's locks and queues) are left
    as they are: the start itself then hands them over, as it does for the standard library.
    """
    if initializer is None:
        return b""
    try:
        return dumps((initializer, initargs), "by-value")
    except Exception:
        return dumps(initializer, "by-value"), initargs


def open_initializer(packed: Packed) -> tuple[Callable[..., object], tuple[Any, ...]]:
    """The initializer and its arguments, in the worker."""
    if isinstance(packed, bytes):
        initializer, initargs = loads(packed)
        return initializer, initargs
    return loads(packed[0]), packed[1]
