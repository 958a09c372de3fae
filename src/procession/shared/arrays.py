"""numpy arrays on memory that several processes see and write.

They are plain `numpy.ndarray` objects. What makes them shared is the memory at the end of their
chain of bases, so slices, views and reshaped arrays are shared as well. The pickler looks for it
only in processes that have such arrays.
"""

from __future__ import annotations

import mmap
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, overload

from procession.buffers.housekeeping import IDLE_SECONDS, housekeeper
from procession.pickling.dispatch_tables import wrap_reducer
from procession.pickling.reducers import Reduce
from procession.shared.memory import handles
from procession.system import NamedTuple, after_fork
from procession.system.posix import os
from procession.system.pristine import close_descriptor, time
from procession.system.resources import meminfo

if TYPE_CHECKING:
    from numpy import dtype, float64, generic, ndarray
    from numpy.typing import ArrayLike, DTypeLike

    _S = TypeVar("_S", bound=generic)


class _Memory(NamedTuple):
    """What is known of a map: where its file can be opened again, and where it lies here.

    ``foreign`` says that it came from another process.
    """

    address: handles.Address
    start: int
    foreign: bool


_memories: weakref.WeakKeyDictionary[mmap.mmap, _Memory] = weakref.WeakKeyDictionary()
_attached: weakref.WeakValueDictionary[tuple[int, int], mmap.mmap] = weakref.WeakValueDictionary()
_recent: dict[mmap.mmap, float] = {}
_prepared = False
_preparing = after_fork.lock()


@overload
def array(a: ndarray[Any, dtype[_S]]) -> ndarray[Any, dtype[_S]]: ...
@overload
def array(a: ArrayLike) -> ndarray[Any, dtype[Any]]: ...
def array(a: Any) -> Any:
    """A copy of an array, on memory that all processes share.

        picture = shared.array(picture)
        paint.map(regions, picture)    # all write into the same memory

    What one process writes into it, in place, the others see. It is a plain `numpy.ndarray`, and
    can be passed as an argument, or inside one, to any local worker; so can its slices and views.
    Nothing orders the writes of several processes: use a `shared.Lock` where that matters. The
    memory is given back when no process has an array on it any more; it has no name.

    Results of arithmetic (``a + 1``) are ordinary arrays. So is what arrives through other
    picklers than procession's, such as a `multiprocessing.Queue`.

    Args:
        a: An array, or what `numpy.asarray` makes one of.

    Returns:
        An array of the same shape and dtype.

    Raises:
        TypeError: Its elements are Python objects, which live in one process only; or it has a
            mask, for which there is no place.
        MemoryError: There is not so much memory.
    """
    import numpy

    if isinstance(a, numpy.ma.MaskedArray):
        raise TypeError(
            "shared.array() got a masked array, and shared memory holds elements without a mask. "
            "Share its parts, shared.array(a.data) and shared.array(numpy.ma.getmaskarray(a)), or "
            "a.filled()."
        )
    given = numpy.asarray(a)
    fortran = given.flags.f_contiguous and not given.flags.c_contiguous
    made = _new(given.shape, given.dtype, "F" if fortran else "C")
    made[...] = given
    return made


@overload
def zeros(shape: int | tuple[int, ...]) -> ndarray[Any, dtype[float64]]: ...
@overload
def zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> ndarray[Any, dtype[Any]]: ...
def zeros(shape: Any, dtype: Any = float) -> Any:
    """An array of zeros on memory that all processes share; see `array`.

        counts = shared.zeros((100, 100), dtype="i8")

    Args:
        shape: Its length, or its lengths along each axis.
        dtype: The type of its elements.

    Returns:
        An array of that shape.

    Raises:
        TypeError: Its elements are Python objects, which live in one process only.
        MemoryError: There is not so much memory.
    """
    import numpy

    return _new(shape, numpy.dtype(dtype), "C")


def _new(shape: Any, kind: Any, order: Any) -> Any:
    import numpy

    if kind.hasobject:
        raise TypeError(
            f"shared.array() got elements of type {kind}: Python objects live in one process only. "
            "Give it a numeric type, or send the objects with shared.put()."
        )
    _prepare()
    # Of the right size, without taking memory for it.
    size = numpy.broadcast_to(numpy.empty((), kind), shape).nbytes
    _check(size)
    fd, path = handles.create("array", max(size, 1))
    try:
        os.posix_fallocate(fd, 0, max(size, 1))  # else touching it would end the process (SIGBUS)
    except OSError as error:
        _close(fd, path, os.getpid())
        raise MemoryError(f"no shared memory for {size} bytes: {error}") from error
    except AttributeError:
        pass  # macOS has no posix_fallocate; there it is a file on disk
    return _on(_map(fd, path, path, foreign=False), shape, kind, 0, None, order)


def _check(size: int) -> None:
    """Refuse what would have the kernel end processes, this one first."""
    free = meminfo("MemAvailable", "SwapFree")
    if free is not None and size > free:
        raise MemoryError(f"{size} bytes of shared memory were asked for, and {free} are free.")


def _on(on: mmap.mmap, shape: Any, kind: Any, offset: int, strides: Any, order: Any = "C") -> Any:
    import numpy

    whole: Any = numpy.frombuffer(on, numpy.uint8)  # holds the map open, which a plain base may not
    return numpy.ndarray(shape, kind, whole, offset, strides, order)


def _map(fd: int, path: str, owned: str, *, foreign: bool) -> mmap.mmap:
    """Map a file; it is closed, and `owned` is removed, with the last array on it."""
    import numpy

    try:
        made = mmap.mmap(fd, os.fstat(fd).st_size)
    except BaseException:
        _close(fd, owned, os.getpid())
        raise
    weakref.finalize(made, _close, fd, owned, os.getpid()).atexit = False
    address = handles.address(fd, path)
    start = numpy.frombuffer(made, numpy.uint8).ctypes.data
    _memories[made] = _Memory(address, start, foreign)
    _attached[address.device, address.inode] = made
    return made


def _close(fd: int, path: str, pid: int) -> None:
    if pid != os.getpid():
        return
    close_descriptor(fd)
    if path:
        handles.forget(path)


# -- crossing ----------------------------------------------------------------------------------


def _prepare() -> None:
    """Have arrays looked at when they are pickled, from now on."""
    global _prepared
    if _prepared:
        return
    import numpy

    with _preparing:
        if _is_prepared():  # by another thread
            return
        wrap_reducer(numpy.ndarray, _wrapper)
        housekeeper.register(_trim, _recent.clear)
        _prepared = True


def _is_prepared() -> bool:
    return _prepared


def _wrapper(usual: Reduce) -> Reduce:
    """The reducer of arrays: those on shared memory go as an address."""
    from numpy import ndarray

    exact: Any = ndarray.__reduce_ex__

    def reduce(given: Any) -> Any:
        base = given.base
        if base is None:
            return usual(given)
        while type(base) is not memoryview:
            if not isinstance(base, ndarray):
                return usual(given)
            base = base.base
        found = _memories.get(base.obj) if type(base.obj) is mmap.mmap else None
        if found is None or type(given).__reduce_ex__ is not exact:
            return usual(given)
        handles.note_sent(base.obj)
        return _arrive, (
            tuple(found.address),
            type(given),
            given.shape,
            given.dtype,
            given.__array_interface__["data"][0] - found.start,
            given.strides,
            given.flags.writeable,
        )

    return reduce


def _arrive(
    address: Any, cls: Any, shape: Any, kind: Any, offset: int, strides: Any, writeable: bool
) -> Any:
    """Rebuild an array on the memory at `address`."""
    from numpy import ndarray

    _prepare()
    where = handles.Address(*address)
    on = _attached.get((where.device, where.inode))
    if on is None:
        on = _map(handles.reopen(where, os.O_RDWR), where.path, "", foreign=True)
    if _memories[on].foreign:
        # The next item is likely to come with the same memory: touching fresh pages is slow. What
        # was made here comes home to its maker, whose last array on it is to be the end of it.
        _recent[on] = time.monotonic()
        housekeeper.arm()
    made = _on(on, shape, kind, offset, strides)
    if cls is not ndarray:
        made = made.view(cls)
    if not writeable:
        made.flags.writeable = False
    return made


def _trim() -> bool:
    """Let go of memory that came with no item for some time."""
    old = time.monotonic() - IDLE_SECONDS
    for on, since in _recent.copy().items():
        if since < old:
            _recent.pop(on, None)
    return bool(_recent)
