"""ctypes objects in shared memory that travel by reference, not by value."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from procession.shared.memory.layout import BODY, WORD
from procession.shared.memory.segment import Segment

_CODES: dict[str, Any] = {
    "c": ctypes.c_char,
    "u": ctypes.c_wchar,
    "b": ctypes.c_byte,
    "B": ctypes.c_ubyte,
    "h": ctypes.c_short,
    "H": ctypes.c_ushort,
    "i": ctypes.c_int,
    "I": ctypes.c_uint,
    "l": ctypes.c_long,
    "L": ctypes.c_ulong,
    "q": ctypes.c_longlong,
    "Q": ctypes.c_ulonglong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}
"""The typecodes that multiprocessing knows."""

Description = tuple[Any, tuple[int, ...]]
"""A ctypes type that can be pickled: arrays as their elements' type and their lengths."""


class _Raw:
    """Mixed into a ctypes type: sent as a place in shared memory."""

    _segment: Segment
    _description: Description

    def __reduce__(self) -> tuple[Any, ...]:
        return raw, (self._segment, self._description)

    def _after_fork(self) -> None:
        pass

    def _leave(self) -> None:
        pass


@functools.cache
def _shared_type(ctype: Any) -> Any:
    return type(ctype)(f"Shared_{ctype.__name__}", (_Raw, ctype), {})


def ctype_of(typecode_or_type: Any) -> Any:
    """The ctypes type that a typecode or a ctypes type means."""
    found = _CODES.get(typecode_or_type, typecode_or_type)
    if not isinstance(found, type) or not hasattr(found, "from_buffer"):
        raise TypeError(
            f"{typecode_or_type!r} is neither a ctypes type nor a typecode; typecodes are "
            + ", ".join(map(repr, _CODES))
        )
    return found


def describe(ctype: Any) -> Description:
    """Take an array type apart."""
    lengths: list[int] = []
    element: Any = ctype
    while is_array(element):
        lengths.append(element._length_)
        element = element._type_
    return element, tuple(lengths[::-1])


def is_array(ctype: Any) -> bool:
    """Whether a ctypes type is an array's."""
    return issubclass(ctype, ctypes.Array)


def raw(segment: Segment, description: Description) -> Any:
    """This process's ctypes object in `segment`."""
    ctype, lengths = description
    for length in lengths:
        ctype = ctype * length
    shared = _shared_type(ctype)
    found = segment.views.get(shared)
    if found is None:
        found = segment.views[shared] = shared.from_buffer(segment.map, BODY * WORD)
        found._segment, found._description = segment, description
    return found
