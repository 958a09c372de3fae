"""How numpy's arrays are taken apart. Imported only where numpy is.

A small array of plain numbers is pickled in fewer words than numpy's own. numpy describes an
array's type anew in each pickle, which for an array of 1 kB takes most of the time. Here numpy's
own singleton types are named by one character.

An array on memory that is a file's is sent as its place there (see
`procession.pickling.file_maps`).
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy

from procession.buffers.receiver import is_private
from procession.pickling.file_maps import FilePlace, opened, place_of, region_at, region_of
from procession.pickling.objects import as_usual, class_of

_SMALL = 16 * 1024
"""Bytes up to which one copy more costs less than what it saves: some 3 and 6 µs for writing and
reading 1 kB, and 1 µs for copying 16 kB."""

_SINGLETONS = map(numpy.dtype, "?bBhHiIlLqQefdgFDG")
_CODES = {id(each): each.char for each in _SINGLETONS if numpy.dtype(each.str) is each}
"""By identity: an equal type may have metadata of its own. Of two that mean the same (long and long
long) numpy itself writes and reads one."""

_OWN = frozenset({type(None), bytes, bytearray})
"""What holds memory that is only this process's."""


def reduce_array(given: Any) -> Any:
    """Reducer of `numpy.ndarray`, not of its subclasses."""
    base = given.base
    if base is not None:
        while type(base) is numpy.ndarray:
            base = base.base
        reduced = None if type(base) in _OWN else reduce_mapped(given)
        if reduced is not None:
            return reduced
    if given.nbytes <= _SMALL and given.flags.carray:
        code = _CODES.get(id(given.dtype))
        if code is not None:
            # Its memory, not the array: a whole number without dimensions is a length to bytearray.
            return rebuild, (bytearray(given.data), code, given.shape)
    return given.__reduce_ex__(5)


def small_parts(given: Any) -> tuple[bytes, str, tuple[int, ...]] | None:
    """Memory, type and shape of a small array, for `rebuild`; `None` if it is to go another way."""
    if given.nbytes <= _SMALL and given.flags.carray:
        code = _CODES.get(id(given.dtype))
        base = given.base
        while type(base) is numpy.ndarray:
            base = base.base
        if code is not None and type(base) in _OWN:
            return given.tobytes(), code, given.shape
    return None


def rebuild(buffer: bytearray, code: str, shape: tuple[int, ...]) -> Any:
    """What `reduce_array` took apart."""
    return numpy.ndarray(shape, code, buffer)


def reduce_subclass(given: Any) -> Any:
    """Reducer of those of numpy's subclasses that leave their pickling to `numpy.ndarray`."""
    return (None if given.base is None else reduce_mapped(given)) or as_usual(given)


def reduce_mapped(given: Any) -> Any:
    """What an array is rebuilt from, if it lies on a file; else `None`."""
    holder = given.base
    while isinstance(holder, numpy.ndarray):
        holder = holder.base
    if type(holder) is memoryview:
        holder = holder.obj
    if holder is None or not given.size or given.dtype.hasobject:
        return None
    pointer: int = given.__array_interface__["data"][0]
    region = _region(holder, pointer)
    if region is None:
        return None
    where = place_of(region, "an array on memory that is shared")
    if where is None:
        return None
    first = region.offset + pointer - region.start
    steps = zip(given.shape, given.strides, strict=True)
    span = sum((length - 1) * stride for length, stride in steps if stride > 0)
    return _on_file, (
        tuple(where),
        region.writable,
        (first, first + given.itemsize + span),
        type(given),
        (given.shape, given.dtype, given.strides, bool(given.flags.writeable)),
        _attributes(given) if isinstance(given, numpy.memmap) else None,
    )


def _region(holder: Any, pointer: int) -> Any:
    """The file's piece below an array, by what holds its memory."""
    if type(holder) is mmap.mmap:
        return None if is_private(holder) else region_of(holder, pointer)
    home = class_of(holder).__module__
    if home == "multiprocessing.sharedctypes":  # the types of its arrays are made there
        (arena, *_), _ = holder._wrapper._state
        return region_of(arena.buffer, pointer)
    if home.partition(".")[0] == "torch":
        shared = getattr(holder, "is_shared", bool)() and holder.device.type == "cpu"
        return region_at(pointer) if shared else None
    return None


def _attributes(given: Any) -> tuple[Any, ...]:
    return given.filename, given.offset, "r+" if given.mode == "w+" else given.mode


def _on_file(where: Any, writable: bool, limits: Any, cls: Any, how: Any, attributes: Any) -> Any:
    """An array on the same memory, here."""
    shape, kind, strides, writeable = how
    on = opened(FilePlace(*where), writable, limits[1])
    plain: Any = numpy.ndarray
    made: Any
    if attributes is None:
        made = plain(shape, kind, on, limits[0], strides)
        made = made if cls is plain else made.view(cls)
    else:
        made = plain.__new__(cls, shape, kind, on, limits[0], strides)
        made._mmap = on
        made.filename, made.offset, made.mode = attributes
    if not writeable:
        made.flags.writeable = False
    return made
