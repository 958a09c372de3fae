"""Questions about the type of an object that may be anything.

`isinstance` would turn an object that may be anything into a ``list[Unknown]``; these leave it as
it is for type checkers.
"""

from __future__ import annotations

from typing import Any

__all__ = ["class_of", "is_a"]


def class_of(obj: object) -> type[Any]:
    """The type itself, whatever a proxy's ``__class__`` says."""
    return type(obj)


def is_a(obj: object, *kinds: type[Any]) -> bool:
    """Whether `obj` is an instance of one of `kinds`."""
    return isinstance(obj, kinds)
