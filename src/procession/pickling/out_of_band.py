"""Pickles a value and puts its large buffers beside the pickle, into a segment.

`bytes` and `bytearray` hand out no buffers by themselves. Where one of them is the value itself, or
an argument of the call, it goes beside the pickle too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pickle import PickleBuffer
from typing import Any

from procession.buffers.sender import AVAILABLE, Placed, segments
from procession.pickling.pickler import LARGE, Pickling, dumps
from procession.system import after_fork

__all__ = ["ATOMS", "Broadcast", "dump_beside", "is_atom", "raw_beside", "stand_ins"]

stand_ins: dict[int, Any] = {}
"""What goes into a pickle instead of an object, by the object's id: for objects of builtin types,
which the C pickler asks nobody about. They are found where they are arguments."""

_MOST_ARGUMENTS = 64
"""Tuples and dicts of more elements are data rather than arguments, and not searched. A guess."""


ATOMS = frozenset({int, float, bool, complex, type(None)})
"""Types of values that nothing ever stands for, and that pickle as they are."""

_LARGE_INT = 1 << 256

_type: Callable[[object], type[Any]] = type  # for type checkers: of an object that may be anything

_LOOKED_AT = frozenset({tuple, dict, bytes, bytearray})
"""What is itself exchanged, or holds what may be."""


class _Raw:
    """Stands for bytes or a bytearray in the pickle; becomes it again when unpickled."""

    __slots__ = ("value",)

    def __init__(self, value: bytes | bytearray) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self.value), (PickleBuffer(self.value),)


def dump_beside(
    value: Any, pickling: Pickling, *, private: bool = False, transit: bool = False
) -> tuple[bytes, tuple[Any, ...]]:
    """Pickle a value; what is large goes into a segment, if there is one.

    Args:
        value: Anything.
        pickling: As in `pickling.dumps`.
        private: See `Segments.place`.
        transit: See `Segments.place`.

    Returns:
        The pickle, and the ticket that `pickling.loads` needs with it, or an empty tuple.

    Raises:
        Exception: As in `pickling.dumps`.
    """
    if not AVAILABLE or type(value) in ATOMS:
        return dumps(value, pickling), ()
    buffers: list[Any] = []
    blob = dumps(raw_beside(value), pickling, buffers)
    if not buffers:
        return blob, ()
    placed = segments.place(buffers, private=private, transit=transit)
    if placed is None:
        return dumps(value, pickling), ()
    return blob, placed


def is_atom(value: Any) -> bool:
    """Whether a message can hold the value itself: pickling it, and back, takes twice as long.

    A large integer is not such an atom: what waits to be sent is bounded by its pickle's bytes.
    """
    kind = _type(value)
    return kind in ATOMS and (kind is not int or -_LARGE_INT < value < _LARGE_INT)


def raw_beside(value: Any, others: dict[int, Any] = stand_ins) -> Any:
    """The value, with each large `bytes` and `bytearray` that is an argument to go beside.

    Args:
        value: Anything.
        others: What goes into the pickle instead of other objects.
    """
    if type(value) not in _LOOKED_AT and not others:
        return value
    found: dict[int, Any] = {}
    _find((value,), 3, found, others)
    return _exchange(value, 2, found) if found else value


def _find(values: Iterable[Any], depth: int, found: dict[int, Any], others: dict[int, Any]) -> None:
    for value in values:
        kind = _type(value)
        if kind in ATOMS:
            continue
        if others and id(value) in others:
            found[id(value)] = others[id(value)]
        elif kind is bytes or kind is bytearray:
            if len(value) >= LARGE:
                found[id(value)] = _Raw(value)
        elif depth > 1 and (kind is tuple or kind is dict) and 0 < len(value) <= _MOST_ARGUMENTS:
            _find(value.values() if kind is dict else value, depth - 1, found, others)


def _exchange(value: Any, depth: int, found: dict[int, Any]) -> Any:
    raw = found.get(id(value))
    if raw is not None:
        return raw
    kind = _type(value)
    if not depth or (kind is not tuple and kind is not dict) or len(value) > _MOST_ARGUMENTS:
        return value
    if kind is tuple:
        return tuple([_exchange(each, depth - 1, found) for each in value])
    return {key: _exchange(each, depth - 1, found) for key, each in value.items()}


class Broadcast(list[Any]):
    """Buffers that go to every worker of a job: written once, when the first one is sent to."""

    def __init__(self, buffers: list[PickleBuffer]) -> None:
        super().__init__(buffers)
        self._lock = after_fork.lock()
        self._sendable: Any = None

    def sendable(self) -> Any:
        """The ticket; where no memory is left, a list of the bytes themselves."""
        with self._lock:
            if self._sendable is None:
                placed: Placed | None = segments.place(self, private=True) if AVAILABLE else None
                if placed is None:
                    self._sendable = [bytearray(buffer.raw()) for buffer in self]
                else:
                    self._sendable = placed
                self.clear()  # and let the caller's own memory go
            return self._sendable

    def __bool__(self) -> bool:
        return True
