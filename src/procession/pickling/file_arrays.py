"""Arrays and tensors on memory that is a file's: see `procession.pickling.file_maps`."""

from __future__ import annotations

import mmap
import os
import sys
from operator import methodcaller
from typing import Any

from procession.buffers.receiver import is_private
from procession.pickling.file_maps import Where, descriptor, opened, place_of, region_at, region_of
from procession.pickling.objects import class_of

__all__ = ["reduce_mapped", "reduce_subclass", "reduce_tensor"]

_as_usual = methodcaller("__reduce_ex__", 5)


def reduce_mapped(given: Any) -> Any:
    """What an array is rebuilt from, if it lies on a file; else `None`."""
    numpy: Any = sys.modules["numpy"]
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
    end = (
        first
        + given.itemsize
        + sum(
            (length - 1) * stride
            for length, stride in zip(given.shape, given.strides, strict=True)
            if stride > 0
        )
    )
    return _on_file, (
        tuple(where),
        region.writable,
        (first, end),
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
    import numpy

    shape, kind, strides, writeable = how
    on = opened(Where(*where), writable, limits[1])
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


def reduce_subclass(given: Any) -> Any:
    """Reducer of those of numpy's subclasses that leave their pickling to `numpy.ndarray`."""
    return (None if given.base is None else reduce_mapped(given)) or _as_usual(given)


# -- torch -------------------------------------------------------------------------------------


def reduce_tensor(given: Any) -> Any:
    """Reducer of `torch.Tensor`, and of those subclasses that leave it to that."""
    torch: Any = sys.modules["torch"]
    if (
        type(given) is not torch.Tensor
        or given.device.type != "cpu"
        or given.layout != torch.strided
        or given.is_quantized
        or not (given.is_shared() and given.is_leaf and given.numel())
        or given.is_conj()
        or given.is_neg()
    ):
        return _as_usual(given)
    storage = given.untyped_storage()
    region = region_at(storage.data_ptr())
    where = None
    if region is not None and region.offset == 0 and region.start == storage.data_ptr():
        where = place_of(region, "a tensor in shared memory")
    if where is None:
        return _as_usual(given)
    how = (given.storage_offset(), tuple(given.shape), given.stride())
    return _tensor, (tuple(where), storage.nbytes(), given.dtype, how, given.requires_grad)


def _tensor(where: Any, size: int, kind: Any, how: Any, requires_grad: bool) -> Any:
    """A tensor on the same memory, here."""
    import importlib

    torch: Any = importlib.import_module("torch")
    place = Where(*where)
    handle = descriptor(place, os.O_RDONLY)
    try:
        name = place.path or f"/proc/self/fd/{handle}"
        storage = torch.UntypedStorage.from_file(name, shared=True, nbytes=size)
    finally:
        os.close(handle)
    return torch.empty(0, dtype=kind).set_(storage, *how).requires_grad_(requires_grad)
