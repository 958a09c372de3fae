"""One piece of memory without a name: filled, asked whether it is still in use, and given back.

Pages are allocated by writing, which fails with an error where touching a map would be SIGBUS; the
memory is mapped only when it is filled for the second time. Filling it then costs a memcpy.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
from collections.abc import Iterable

from procession.buffers.segment_ticket import STATE, shared_map
from procession.system.nameless_files import nameless

__all__ = ["AVAILABLE", "Segment"]

AVAILABLE = sys.platform == "linux" and hasattr(os, "memfd_create")
"""Whether this system has memory without names that another process can open."""

_F_ADD_SEALS, _F_SEAL_SHRINK = 1033, 2


class Segment:
    """One memfd of this process."""

    __slots__ = ("capacity", "committed", "fd", "inode", "map", "pid", "since")

    def __init__(self, capacity: int) -> None:
        self.fd = nameless("procession-segment", sealable=True)
        try:
            os.ftruncate(self.fd, capacity)
            # Cut off under a live map, its pages would be SIGBUS.
            fcntl.fcntl(self.fd, _F_ADD_SEALS, _F_SEAL_SHRINK)
            self.inode = os.fstat(self.fd).st_ino
        except BaseException:
            os.close(self.fd)
            raise
        self.pid = os.getpid()
        self.capacity = capacity
        self.committed = 0
        self.map: mmap.mmap | None = None
        self.since = 0.0

    def fill(
        self, generation: int, transit: bool, parts: Iterable[tuple[int, memoryview]], end: int
    ) -> None:
        """Copy buffers to their offsets.

        Raises:
            OSError: There is no memory left.
        """
        if end > self.committed:
            for offset, source in parts:
                _write(self.fd, source, offset)
            self.committed = end
        else:
            if self.map is None:
                self.map = shared_map(self.fd, self.capacity)
            with memoryview(self.map) as target:
                for offset, source in parts:
                    _copy(target[offset : offset + source.nbytes], source)
        os.pwrite(self.fd, STATE.pack(generation, transit, 0, 0), 0)

    def reclaim(self) -> bool:
        """Whether nobody uses it any more. If so, no ticket opens it again."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            _, transit, *_ = STATE.unpack(os.pread(self.fd, STATE.size, 0))
            if not transit:
                os.pwrite(self.fd, bytes(STATE.size), 0)
            return not transit
        finally:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def free(self) -> None:
        """Give the memory back, whoever still maps it; only after `reclaim`."""
        try:
            if self.map is None:
                self.map = shared_map(self.fd, self.capacity)
            self.map.madvise(mmap.MADV_REMOVE)
        except (OSError, ValueError):
            pass  # it goes with the last map then
        self.let_go()

    def let_go(self) -> None:
        """Keep it no longer; the memory lasts as long as somebody maps it."""
        self.map = None
        os.close(self.fd)


def _write(fd: int, source: memoryview, offset: int) -> None:
    at = 0
    while at < source.nbytes:
        at += os.pwrite(fd, source[at:], offset + at)


def _copy(target: memoryview, source: memoryview) -> None:
    """Copy; with numpy's help other threads run meanwhile."""
    numpy = sys.modules.get("numpy")
    copyto = getattr(numpy, "copyto", None)
    if copyto is None or numpy is None:
        target[:] = source
    else:
        byte = numpy.uint8
        copyto(numpy.frombuffer(target, byte), numpy.frombuffer(source, byte))
