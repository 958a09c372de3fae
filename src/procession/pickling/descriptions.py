"""Descriptions of classes that go by value, as they arrive: each is opened once for many values.

A description is a pickle of a list of classes, after a key. Values name a class by its place there.
"""

from __future__ import annotations

from collections.abc import Sequence

from procession.system.cpython import pickle

KEY_BYTES = 16
"""A description begins with so many random bytes: its key."""

_MOST = 64
_by_key: dict[bytes, Sequence[type]] = {}

_NONE: tuple[bytes, Sequence[type]] = b"", ()
_opened = _NONE
"""The last description: so its classes are as it says, unless an item has changed them."""


def open_description(description: bytes) -> Sequence[type]:
    """Classes that came by value in a pickle of their own, after a key.

    They are filled by the first value that brings this description, and not again by the others.
    """
    global _opened
    opened, classes = _opened
    if opened != description:
        classes = pickle.loads(memoryview(description)[KEY_BYTES:])
        _opened = description, classes
        if len(_by_key) >= _MOST:
            del _by_key[next(iter(_by_key))]
        _by_key[description[:KEY_BYTES]] = classes
    return classes


def forget_opened() -> None:
    """A class was filled by another pickle: the next value opens its description again."""
    global _opened
    _opened = _NONE


def described(place: int, description: bytes) -> type:
    """One of the classes of a description that the value itself brings."""
    return open_description(description)[place]


def described_by(key: bytes, place: int) -> type:
    """One of the classes of a description that was opened just before."""
    return _by_key[key][place]
