"""Tells at a glance whether values hold nothing but builtin data, which can go to any process.

The C pickler goes through a list of numbers twice as fast as a scan of their types does, and sees
what is inside of containers. It is asked nothing but whether it meets anything else.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from operator import countOf
from types import SimpleNamespace
from typing import Any, NoReturn

__all__ = ["UNCHECKED", "builtin_bytes"]

UNCHECKED = frozenset({int, float, bool, complex, type(None), str, bytes})
"""Types of values that hold nothing, so that there is nothing to check."""

_PAYLOAD = 2 * 64 * 1024 + 4096
"""Larger pieces are one large payload, which the pickler passes on as it is."""

_MOST = 1 << 19
"""Bytes without payloads that are looked at. Values that refer to each other again and again are
gone through again each time, which may never end."""

_NUMBER = 16
"""Bytes per value beside that: no float takes more, and no integer of 64 bits."""

_SHORT = 64
"""So many values, and texts, have their types looked at: a pickler is sooner on its way then."""

_type: Callable[[object], type[Any]] = type  # for type checkers: of an object that may be anything


class _Other(Exception):
    """There is something else."""


class _Glance(pickle.Pickler):
    """A pickler that keeps nothing, and stops at whatever is no builtin data."""

    def __init__(self) -> None:
        sink: Any = SimpleNamespace(write=self._written)
        super().__init__(sink, 5)
        self.fast = True  # without a memo, which takes most of the time; deep cycles are an error
        self.bytes = 0
        self._small = 0
        self._most = _MOST

    def _written(self, piece: bytes) -> None:
        size = len(piece)
        self.bytes += size
        if size < _PAYLOAD:
            self._small += size
            if self._small > self._most:
                raise _Other

    def reducer_override(self, obj: object) -> NoReturn:
        """Called for all but builtin data."""
        raise _Other

    def begin(self, count: int) -> None:
        """Count from 0 again, for so many values."""
        self.bytes = self._small = 0
        self._most = _MOST + _NUMBER * count


_idle: list[_Glance] = []


def builtin_bytes(values: Sequence[Any]) -> int | None:
    """How many bytes a pickle of the values has; 0 if they need none, as they hold nothing.

    `None` if something in them is no builtin data, or there is too much to tell quickly.

    Raises:
        Exception: Whatever else stops a pickler, such as depth.
    """
    kind = _type(values[0])
    texts = kind is str or kind is bytes
    if texts and countOf(map(type, values), kind) == len(values):
        return 0
    if (texts or len(values) <= _SHORT) and UNCHECKED.issuperset(map(type, values)):
        return 0
    try:
        glance = _idle.pop()
    except IndexError:
        glance = _Glance()
    glance.begin(len(values))
    try:
        glance.dump(values)
    except _Other:
        return None  # and drop the pickler, which may be anywhere
    found = glance.bytes
    _idle.append(glance)
    return found
