"""Memory without a name, and what its sender and its receivers know of it.

A *segment* is a memfd that the sender keeps and fills, again and again. A *ticket* says where it is
and which bytes hold which buffer. Each process that uses a segment holds a shared `flock` on it,
through an open file of its own. The sender fills it anew only when it has the lock exclusively. So
the kernel keeps the books: a receiver that dies lets go, a child that it forked holds on, and no
message has to say so.

The first bytes of a segment are its *state*. They say which filling this is (the generation),
whether it is still on its way, and whether a receiver has it for good. A ticket whose generation
has passed opens nothing.

Pages are allocated by writing, which fails with an error where touching a map would be SIGBUS. The
memory is mapped only when it is filled for the second time. Filling it then costs a memcpy.

*Broadcast bytes* go to many workers and are written once. Small ones travel in each message, large
ones lie in one place, which any process of the same user can open. That place is gone with its last
holder, however that one ends. Where there is no memory without a name it is a temporary file.
"""

from __future__ import annotations

import mmap
import struct
import sys
import weakref
from collections.abc import Iterable

from procession.errors import ProcessionError
from procession.hints import Any
from procession.system import NamedTuple
from procession.system.descriptors import NAMELESS, nameless, offer, reopen
from procession.system.posix import fcntl, os
from procession.system.pristine import close_descriptor

STATE = struct.Struct("<QBBB")
GENERATION = struct.Struct("<Q")
TRANSIT = 8
"""Byte: 1 until the receiver has it. Only where the sender does not keep it until then."""
TAKEN = 9
"""Byte: 1 once a receiver was given the memory itself, to write to as it likes."""
DROPPED = 10
"""Byte: 1 once the sender has dropped what it sent; a receiver that keeps it may drop it too."""
FIRST = 64
"""Where the first buffer begins; all are aligned to as much (a cache line, and AVX-512)."""

_MADV_REMOVE = int(getattr(mmap, "MADV_REMOVE", 0))
_F_ADD_SEALS, _F_SEAL_SHRINK = 1033, 2


class Gone(ProcessionError):
    """Raised when a segment cannot be opened."""


class Ticket(NamedTuple):
    """Where a segment is, and what is in it. Sent as a plain tuple.

    Attributes:
        pid: The sender, under whose entry in /proc it can be opened.
        fd: Its descriptor there.
        inode: The file's inode, as descriptors are used again.
        size: The file's size in bytes.
        generation: Which filling this is.
        private: Whether the receiver's writes must not reach the segment, because others are to
            read the same bytes: all workers, or another attempt.
        spans: ``(offset, bytes)`` of each buffer.
    """

    pid: int
    fd: int
    inode: int
    size: int
    generation: int
    private: bool
    spans: tuple[tuple[int, int], ...]


def most_maps() -> int:
    """How many segments one side may have open: a quarter of the descriptors it may open.

    Below Python 3.13 a map holds a second descriptor.
    """
    from procession.system.posix import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = 1 << 16
    return max(2, min(soft, 1 << 16) // 8)


def shared_map(fd: int, size: int) -> mmap.mmap:
    """Map a whole file, to read and to write."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, size, trackfd=False)
    return mmap.mmap(fd, size)


class Segment:
    """One memfd of this process: filled, asked whether it is still in use, and given back."""

    __slots__ = ("capacity", "committed", "fd", "inode", "map", "pid", "since")

    def __init__(self, capacity: int) -> None:
        self.fd = nameless("procession-segment", capacity, sealable=True)
        try:
            # Cut off under a live map, its pages would be SIGBUS.
            fcntl.fcntl(self.fd, _F_ADD_SEALS, _F_SEAL_SHRINK)
            self.inode = os.fstat(self.fd).st_ino
        except BaseException:
            close_descriptor(self.fd)
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
            with memoryview(self._mapped()) as target:
                for offset, source in parts:
                    _copy(target[offset : offset + source.nbytes], source)
        os.pwrite(self.fd, STATE.pack(generation, transit, 0, 0), 0)

    def _mapped(self) -> mmap.mmap:
        if self.map is None:
            self.map = shared_map(self.fd, self.capacity)
        return self.map

    def reclaim(self, now: float) -> bool:
        """Whether it is free again, from now on. If so, no ticket opens it any more."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            if self.in_transit():
                return False
            os.pwrite(self.fd, bytes(STATE.size), 0)
        finally:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
        self.since = now
        return True

    def in_transit(self) -> bool:
        """Whether it has been sent, and not opened yet."""
        return bool(os.pread(self.fd, STATE.size, 0)[TRANSIT])

    def free(self) -> None:
        """Give the memory back, even if it is mapped somewhere; only after `reclaim`."""
        try:
            mapped: Any = self._mapped()
            mapped.madvise(_MADV_REMOVE)
        except (OSError, ValueError):
            pass  # it goes with the last map then
        self.let_go()

    def let_go(self) -> None:
        """Keep it no longer; the memory lasts as long as some process maps it."""
        self.map = None
        close_descriptor(self.fd)


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


# -- broadcast bytes ---------------------------------------------------------------------------

IN_MESSAGE = 64 * 1024
"""Bytes up to which a copy in each message is cheaper than opening a file: a guess from the cost
of the two system calls (10 µs) against a pipe's 1 to 2 GB/s."""


class BroadcastBytes:
    """Bytes that can be sent many times.

    Args:
        content: The bytes.
    """

    def __init__(self, content: bytes) -> None:
        self._ticket: Any = content
        self._lent = False
        if len(content) <= IN_MESSAGE:
            return
        path = ""
        if NAMELESS:
            handle = nameless("procession")
            self._lent = True
            self._ticket = os.getpid(), handle, os.fstat(handle).st_ino
        else:
            import tempfile

            handle, path = tempfile.mkstemp(prefix="procession-")
            self._ticket = path
        weakref.finalize(self, _close, handle, path, os.getpid()).atexit = not self._lent
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view) :]
        except OSError:  # there is no room, or files may not be so large: it goes in each message
            self._ticket = content

    @property
    def ticket(self) -> Any:
        """What to put in the message: the bytes, or where they can be read."""
        if self._lent:
            offer()
        return self._ticket


def _close(handle: int, path: str, pid: int) -> None:
    if pid == os.getpid():
        close_descriptor(handle)
        if path:
            os.unlink(path)


def read_broadcast(ticket: Any) -> bytes:
    """The bytes that a ticket stands for, in a worker.

    Raises:
        OSError: The bytes were dropped meanwhile, or their owner has died.
    """
    if isinstance(ticket, bytes):
        return ticket
    if isinstance(ticket, str):
        with open(ticket, "rb") as file:
            return file.read()
    pid, number, inode = ticket
    handle = reopen(pid, number, inode, os.O_RDONLY)
    try:
        # From there, as the place in the file may be its owner's, too.
        size, content = os.fstat(handle).st_size, b""
        while len(content) < size:
            content += os.pread(handle, size - len(content), len(content))
        return content
    finally:
        close_descriptor(handle)
