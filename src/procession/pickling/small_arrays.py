"""Small numpy arrays of plain numbers, pickled in fewer words than numpy's own.

numpy describes an array's type anew in each pickle, which for an array of 1 kB takes most of the
time. Those of numpy's own singleton types are named by one character here. Imported only where
numpy is.
"""

from __future__ import annotations

from typing import Any

import numpy

__all__ = ["reduce_array"]

_SMALL = 16 * 1024
"""Bytes up to which one copy more costs less than what it saves: some 3 and 6 µs for writing and
reading 1 kB, beside 1 µs for copying 16 kB."""

_SINGLETONS = map(numpy.dtype, "?bBhHiIlLqQefdgFDG")
_CODES = {id(each): each.char for each in _SINGLETONS if numpy.dtype(each.str) is each}
"""By identity: an equal type may have metadata of its own. Of two that mean the same (long and long
long) numpy itself writes and reads one."""


_OWN = frozenset({type(None), bytes, bytearray})
"""What holds memory that is only this process's."""


def reduce_array(given: Any) -> Any:
    """Reducer of `numpy.ndarray`, not of its subclasses."""
    if given.base is not None:
        reduced = _elsewhere(given)
        if reduced is not None:
            return reduced
    if given.nbytes <= _SMALL and given.flags.carray:
        code = _CODES.get(id(given.dtype))
        if code is not None:
            # Its memory, not the array: a whole number without dimensions is a length to bytearray.
            return rebuild, (bytearray(given.data), code, given.shape)
    return given.__reduce_ex__(5)


def _elsewhere(given: Any) -> Any:
    """For a view of what may lie on a file: what it is rebuilt from there, or `None`."""
    base = given.base
    while type(base) is numpy.ndarray:
        base = base.base
    if type(base) in _OWN:
        return None
    from procession.pickling.file_arrays import reduce_mapped

    return reduce_mapped(given)


def rebuild(buffer: bytearray, code: str, shape: tuple[int, ...]) -> Any:
    """What `reduce_array` took apart."""
    return numpy.ndarray(shape, code, buffer)
