"""POSIX semaphores inside shared memory, driven by the C code of multiprocessing's own locks.

`_multiprocessing.SemLock._rebuild` takes the address of any ``sem_t``. It is private API, and a C
library other than glibc may not stand it: musl's ``sem_close`` looks a nameless semaphore up in a
table of named ones. So it is tried once, and where it does not work mutexes poll.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
from typing import Any, Protocol, cast

from procession.system import cpython
from procession.system.posix import os

_COUNTING = 1
_HIGHEST = 2**31 - 1


class Semaphore(Protocol):
    """What is used of a SemLock."""

    def acquire(self, block: bool = True, timeout: float | None = None, /) -> bool:
        """Take it, or count down."""
        ...

    def release(self) -> None:
        """Count up."""
        ...

    def _is_zero(self) -> bool: ...

    def _count(self) -> int: ...


@functools.cache
def usable() -> bool:
    """Whether semaphores work inside shared memory on this system."""
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return False
        if not cpython.has_gil():
            return False  # the mutex counts on threads that switch between calls only
        memory = mmap.mmap(-1, mmap.PAGESIZE)
        clear(memory, 64, 1)
        one, other = open_at(memory, 64, 1), open_at(memory, 64, 1)
        taken = one.acquire(False) and not other.acquire(False) and other._is_zero()
        one.release()
        return taken and other.acquire(False) and other._count() == 1
    except Exception:
        return False


@functools.cache
def _init() -> Any:
    function = ctypes.CDLL(None, use_errno=True).sem_init
    function.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint)
    return function


def _address(memory: mmap.mmap, offset: int) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory, offset))


def clear(memory: mmap.mmap, offset: int, value: int) -> None:
    """Make a new semaphore at `offset` bytes: 32 of them, in glibc on 64-bit systems."""
    if _init()(_address(memory, offset), 1, value) != 0:
        raise OSError(ctypes.get_errno(), "sem_init failed")


def open_at(memory: mmap.mmap, offset: int, highest: int = _HIGHEST) -> Semaphore:
    """The semaphore at `offset` bytes. The caller keeps `memory` mapped while it uses it."""
    found = cpython.open_semaphore(_address(memory, offset), _COUNTING, highest)
    return cast("Semaphore", found)
