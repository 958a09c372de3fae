"""What both sides of a segment know: how a ticket reads, and the first bytes of the memory.

A *segment* is memory without a name (memfd) that the sender keeps and fills, again and again. A
*ticket* says where it is and which bytes hold which buffer. Whoever uses a segment holds a shared
`flock` on it, through an open file of its own; the sender fills it anew only after it has got the
lock exclusively. So the kernel keeps the books: a receiver that dies lets go, a child that it
forked holds on, and no message has to say so.

The first bytes of a segment are its *state*: the generation (which filling this is), whether it is
still on its way, and whether somebody has had it for good. A ticket whose generation has passed
opens nothing.
"""

from __future__ import annotations

import mmap
import struct
import sys

from procession.errors import ProcessionError
from procession.system.named_tuple import NamedTuple

__all__ = [
    "FIRST",
    "GENERATION",
    "STATE",
    "TAKEN",
    "TRANSIT",
    "Gone",
    "Ticket",
    "most_maps",
    "shared_map",
]

STATE = struct.Struct("<QBBB")
GENERATION = struct.Struct("<Q")
TRANSIT = 8
"""Byte: 1 until the receiver has it. Only where the sender does not keep it until then."""
TAKEN = 9
"""Byte: 1 once a receiver was given the memory itself, to write to as it likes."""
DROPPED = 10
"""Byte: 1 once the sender has dropped what it sent; whoever keeps it may drop it too."""
FIRST = 64
"""Where the first buffer begins; all are aligned to as much (a cache line, and AVX-512)."""


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
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = 1 << 16
    return max(2, min(soft, 1 << 16) // 8)


def shared_map(fd: int, size: int) -> mmap.mmap:
    """Map a whole file, to read and to write."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, size, trackfd=False)
    return mmap.mmap(fd, size)
