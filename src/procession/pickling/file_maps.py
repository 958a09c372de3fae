"""Memory that is a file's: what one process writes there, all that map the file see.

Such memory lies below a `numpy.memmap`, `multiprocessing.shared_memory`, a `RawArray`, or a file
that the program has mapped itself. Arrays there, and tensors in shared memory, are sent as the
place in the file. A copy would take time and memory, and what a worker writes to it would be lost.

Where the file has no name any more, another process opens it through this one. Where none can, it
is refused. Memory that is mapped privately (``mode="c"``), and what only a worker has, goes as a
copy, as all memory does.
"""

from __future__ import annotations

import mmap
import sys
import weakref

from procession.errors import ProcessionError
from procession.hints import Any
from procession.pickling.objects import as_usual
from procession.pickling.refusals import Refusal, Refused
from procession.system import NamedTuple
from procession.system.descriptors import offer, reopen
from procession.system.posix import os
from procession.system.pristine import close_descriptor


class FilePlace(NamedTuple):
    """Where a file can be opened: by its name, or else in the process that has it open.

    Attributes:
        path: Its name; empty if it has none.
        device: Its device.
        inode: Its inode, as names and descriptors are used again.
        pid: Who has it open, if it has no name.
        fd: The descriptor there.
    """

    path: str
    device: int
    inode: int
    pid: int = 0
    fd: int = -1


class Region(NamedTuple):
    """A piece of a file in this process's memory.

    Attributes:
        start: FilePlace it begins in memory.
        offset: FilePlace it begins in the file.
        shared: Whether others see what is written.
        writable: Whether it can be written to.
        path: The file's name; empty if it has none.
        device: The device of a file without a name, as the kernel gives it here.
        inode: Its inode.
    """

    start: int
    offset: int
    shared: bool
    writable: bool
    path: str
    device: int
    inode: int


_outlives = True
"""Whether this process outlives what it sends."""

_regions: weakref.WeakKeyDictionary[mmap.mmap, tuple[Region | None, Any]] = (
    weakref.WeakKeyDictionary()
)
_maps: weakref.WeakValueDictionary[tuple[int, int, bool], mmap.mmap] = weakref.WeakValueDictionary()
_came: dict[tuple[int, int], FilePlace] = {}
"""How files without a name came here, so that they go on, and home, in the same way."""


def ends_before_arrival() -> None:
    """This process may end before what it sends is opened: it is a worker."""
    global _outlives
    _outlives = False


def region_at(pointer: int) -> Region | None:
    """The piece of a file that lies at an address; `None` if it is other memory."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                limits, rest = line.split(" ", 1)
                first, _, last = limits.partition("-")
                if int(first, 16) <= pointer < int(last, 16):
                    return _region(int(first, 16), rest)
    except OSError:
        pass  # no such table here: what is mapped cannot be told, and goes as a copy
    return None


def _region(start: int, rest: str) -> Region | None:
    permissions, offset, device, inode, *named = rest.rstrip("\n").split(None, 4)
    if inode == "0":
        return None
    path = named[0].replace("\\012", "\n") if named else ""
    major, _, minor = device.partition(":")
    return Region(
        start,
        int(offset, 16),
        "s" in permissions,
        "w" in permissions,
        "" if path.endswith(" (deleted)") else path,
        os.makedev(int(major, 16), int(minor, 16)),
        int(inode),
    )


def region_of(on: mmap.mmap, pointer: int) -> Region | None:
    """The region of a map, in which the pointer lies. The table is read once for each map.

    It is read again once the name leads to another file, which tells that this one was renamed,
    or has lost its name.
    """
    known = _regions.get(on)
    if known is not None and known[1] == _identity(known[0]):
        return known[0]
    found = region_at(pointer)
    _regions[on] = found, _identity(found)
    return found


def _identity(region: Region | None) -> Any:
    if region is None or not region.path:
        return None
    try:
        found = os.stat(region.path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def place_of(region: Region, what: str) -> FilePlace | None:
    """Where others can open a region's file; `None` if a copy is to be sent.

    Raises:
        Refused: Others see what is written there, and no other process could open it.
    """
    if not region.shared:
        return None
    identity = _identity(region)
    access = os.R_OK | os.W_OK if region.writable else os.R_OK
    if identity is not None and os.access(region.path, access):
        return FilePlace(region.path, *identity)
    came = _came.get((region.device, region.inode))
    if came is not None or not _outlives:
        return came
    for name in os.listdir("/proc/self/fd"):
        try:
            found = os.stat(f"/proc/self/fd/{name}")
        except OSError:
            continue  # it was the descriptor of the listing
        if (found.st_dev, found.st_ino) == (region.device, region.inode):
            offer()
            return FilePlace("", region.device, region.inode, os.getpid(), int(name))
    if not region.writable:
        return None
    raise Refused(
        Refusal(
            what,
            "No other process can open this memory, and what a worker wrote to a copy would not be "
            "seen here.",
            "Make it with procession.shared.zeros() or on a file that has a name, or pass a copy.",
        )
    )


def _descriptor(where: FilePlace, flags: int) -> int:
    """Open the file at a place, if it is still the one that was sent."""
    try:
        if not where.path:
            opened = reopen(where.pid, where.fd, where.inode, flags)
            _came[where.device, where.inode] = where
            return opened
        found = os.stat(where.path)
        if (found.st_dev, found.st_ino) == (where.device, where.inode):
            return os.open(where.path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise _gone(where, str(error)) from None
    raise _gone(where, f"{where.path} is another file now")


def opened(where: FilePlace, writable: bool, end: int) -> mmap.mmap:
    """A map of the whole file, the same one as long as anything lies on it.

    Raises:
        ProcessionError: The file is not there any more.
    """
    key = where.device, where.inode, writable
    kept = _maps.get(key)
    if kept is not None and len(kept) >= end:
        return kept
    fd = _descriptor(where, os.O_RDWR if writable else os.O_RDONLY)
    try:
        made = mmap.mmap(fd, 0, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
    finally:
        close_descriptor(fd)
    _maps[key] = made
    return made


def _gone(where: FilePlace, why: str) -> ProcessionError:
    whose = where.path or f"a file without a name of process {where.pid}"
    return ProcessionError(
        f"An array was sent as its place in {whose}, which cannot be opened here: {why}. Keep the "
        "file, and the array where it is sent from, until it has arrived; or pass array.copy()."
    )


# -- torch -------------------------------------------------------------------------------------


def reduce_tensor(given: Any) -> Any:
    """Reducer of `torch.Tensor`, and of those subclasses that leave it to that."""
    torch: Any = sys.modules["torch"]
    if (
        type(given) is not torch.Tensor
        or given.device.type != "cpu"
        or given.layout != torch.strided
        or given.is_quantized
        or not (given.is_leaf and given.numel())
        or given.is_conj()
        or given.is_neg()
    ):
        return as_usual(given)
    if not given.is_shared():
        return _reduce_whole(given) or as_usual(given)
    storage = given.untyped_storage()
    region = region_at(storage.data_ptr())
    where = None
    if region is not None and region.offset == 0 and region.start == storage.data_ptr():
        where = place_of(region, "a tensor in shared memory")
    if where is None:
        return as_usual(given)
    how = (given.storage_offset(), tuple(given.shape), given.stride())
    return _tensor, (tuple(where), storage.nbytes(), given.dtype, how, given.requires_grad)


def _reduce_whole(given: Any) -> Any:
    """A tensor as an array, whose memory can leave the pickle; `None` if it is no such one.

    It is all of its memory, so that no other tensor is likely to be another part of that.
    """
    size = given.numel() * given.element_size()
    if given.untyped_storage().nbytes() != size or not given.is_contiguous():
        return None
    if given.__dict__ or given._backward_hooks:
        return None
    try:
        array = given.detach().numpy()
    except (TypeError, RuntimeError):
        return None  # of a type that numpy has not
    return _tensor_of, (array, given.requires_grad)


def _tensor_of(array: Any, requires_grad: bool) -> Any:
    """A tensor on an array's memory."""
    import importlib

    torch: Any = importlib.import_module("torch")
    return torch.from_numpy(array).requires_grad_(requires_grad)


def _tensor(where: Any, size: int, kind: Any, how: Any, requires_grad: bool) -> Any:
    """A tensor on the same memory, here."""
    import importlib

    torch: Any = importlib.import_module("torch")
    place = FilePlace(*where)
    handle = _descriptor(place, os.O_RDONLY)
    try:
        name = place.path or f"/proc/self/fd/{handle}"
        storage = torch.UntypedStorage.from_file(name, shared=True, nbytes=size)
    finally:
        close_descriptor(handle)
    return torch.empty(0, dtype=kind).set_(storage, *how).requires_grad_(requires_grad)
