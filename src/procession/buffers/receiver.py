"""The receiver's side of segments: from a ticket to buffers.

A segment that belongs to one task alone is mapped shared. The map is kept for the next time, since
touching fresh pages costs more than copying them. A loan of it lasts as long as any array,
slice or view of it does: an owner object stands between the map and all of them, and the lock goes
when the owner goes. One that others read too is mapped privately, anew each time; the lock then
goes with the map.
"""

from __future__ import annotations

import mmap
import weakref
from collections import OrderedDict
from typing import Any

from procession.buffers.housekeeping import IDLE_SECONDS, housekeeper
from procession.buffers.nameless_memory import (
    GENERATION,
    TAKEN,
    TRANSIT,
    Gone,
    Ticket,
    most_maps,
    shared_map,
)
from procession.system.descriptors import Closed, reopen
from procession.system.posix import at_fork, fcntl, os
from procession.system.pristine import close_descriptor, time

_KEPT = 64
"""Most maps kept for the next time. A guess."""


class _Map:
    """A shared map of a sender's segment."""

    __slots__ = ("fd", "forked", "key", "map", "owner_type", "since")

    def __init__(self, key: tuple[int, int], ticket: Ticket) -> None:
        import ctypes

        self.key = key
        self.fd = _open(ticket)
        self.forked = False
        self.since = 0.0
        try:
            self.map = shared_map(self.fd, ticket.size)
        except BaseException:
            close_descriptor(self.fd)
            raise
        # No buffer protocol in Python code before 3.12; a ctypes array is an owner in all.
        self.owner_type = ctypes.c_char * ticket.size


_idle: OrderedDict[tuple[int, int], _Map] = OrderedDict()
_loans: set[_Map] = set()
_private: weakref.WeakSet[Any] = weakref.WeakSet()


def open_ticket(fields: tuple[Any, ...], passed: int | None = None) -> list[memoryview]:
    """The buffers of a ticket, writable and the receiver's own, as long as it keeps them.

    Args:
        fields: The ticket.
        passed: A descriptor of the segment that came with the ticket, so that it can be opened
            though its sender has died; it is closed here.

    Raises:
        Gone: The sender has died, or this ticket's segment was filled anew.
    """
    ticket = Ticket(*fields)
    if passed is not None:
        ticket = ticket._replace(pid=os.getpid(), fd=passed)
    key = (fields[0], ticket.inode)
    try:
        if len(_loans) + len(_private) >= most_maps():
            return _copied(ticket)
        return _open_private(ticket) if ticket.private else _open_shared(key, ticket)
    except OSError as error:
        raise Gone(
            f"{sum(size for _, size in ticket.spans)} bytes that process {fields[0]} has put into "
            f"shared memory cannot be opened here: {error}."
        ) from error
    finally:
        if passed is not None:
            close_descriptor(passed)


def _open(ticket: Ticket) -> int:
    try:
        return reopen(ticket.pid, ticket.fd, ticket.inode, os.O_RDWR)
    except Closed:
        raise _passed(ticket) from None


def _open_shared(key: tuple[int, int], ticket: Ticket) -> list[memoryview]:
    kept = _idle.pop(key, None)
    if kept is not None and not _lock(kept.fd, ticket):
        close_descriptor(kept.fd)  # another file's inode once, or a ticket that has passed
        kept = None
    if kept is None:
        kept = _Map(key, ticket)
        if not _lock(kept.fd, ticket):
            close_descriptor(kept.fd)
            raise _passed(ticket)
    if kept.map[TAKEN]:
        _unlock(kept)
        raise Gone(
            "a worker died after it was given this memory and before its result was home, so the "
            "memory may be changed. Write retries=1 to have it kept unchanged for another attempt."
        )
    kept.map[TAKEN] = 1
    kept.map[TRANSIT] = 0
    owner = kept.owner_type.from_buffer(kept.map)
    _loans.add(kept)
    housekeeper.arm()
    weakref.finalize(owner, _ended, kept, os.getpid()).atexit = False
    whole = memoryview(owner).cast("B")
    return [whole[offset : offset + size] for offset, size in ticket.spans]


def _open_private(ticket: Ticket) -> list[memoryview]:
    fd = _open(ticket)
    try:
        if not _lock(fd, ticket):
            raise _passed(ticket)
        if ticket.size <= 0:
            return []
        private = mmap.mmap(fd, ticket.size, access=mmap.ACCESS_COPY)
        _clear_transit(fd)
    finally:
        close_descriptor(fd)  # the map has a descriptor of its own, and with it the lock
    _private.add(private)
    whole = memoryview(private)
    return [whole[offset : offset + size] for offset, size in ticket.spans]


def is_private(on: mmap.mmap) -> bool:
    """Whether this is the receiver's own map of a segment."""
    return on in _private


def _copied(ticket: Ticket) -> list[memoryview]:
    """So much is kept here that another map would use up the descriptors: memory of our own."""
    fd = _open(ticket)
    try:
        if not _lock(fd, ticket):
            raise _passed(ticket)
        copies: list[memoryview] = []
        for offset, size in ticket.spans:
            copy, at = memoryview(bytearray(size)), 0
            while at < size:
                at += os.preadv(fd, [copy[at:]], offset + at)
            copies.append(copy)
        _clear_transit(fd)
        return copies
    finally:
        close_descriptor(fd)


def _lock(fd: int, ticket: Ticket) -> bool:
    """Lock against being filled anew. Whether this is still the ticket's filling."""
    fcntl.flock(fd, fcntl.LOCK_SH)
    if GENERATION.unpack(os.pread(fd, GENERATION.size, 0))[0] == ticket.generation:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _clear_transit(fd: int) -> None:
    os.pwrite(fd, b"\0", TRANSIT)


def _passed(ticket: Ticket) -> Gone:
    return Gone(
        f"process {ticket.pid} has used the shared memory for something else since it sent this"
    )


def _ended(kept: _Map, pid: int) -> None:
    """The last array of a loan is gone. Runs in any thread, amid anything."""
    if pid != os.getpid():
        return  # a forked child's copy of the owner: the child's lock goes with the child
    _loans.discard(kept)
    if kept.forked:
        close_descriptor(kept.fd)  # a child may still read it: the lock is the child's from now on
    else:
        _unlock(kept)


def _unlock(kept: _Map) -> None:
    fcntl.flock(kept.fd, fcntl.LOCK_UN)
    if not housekeeper.watches:
        close_descriptor(kept.fd)
        return
    kept.since = time.monotonic()
    _idle[kept.key] = kept
    if len(_idle) > min(_KEPT, most_maps()):
        close_descriptor(_idle.popitem(last=False)[1].fd)


def trim() -> bool:
    """Keep no map that was idle for too long. Whether any is kept."""
    old = time.monotonic() - IDLE_SECONDS
    for key, kept in _idle.copy().items():  # a finalizer amid a list of it would change it
        if kept.since < old and _idle.pop(key, None) is not None:
            close_descriptor(kept.fd)
    return bool(_idle)


def forget_idle() -> None:
    """Keep no map of what is not in use."""
    while _idle:
        close_descriptor(_idle.popitem()[1].fd)


def _before_fork() -> None:
    for kept in list(_loans):
        kept.forked = True


housekeeper.register(trim, forget_idle)
at_fork(before=_before_fork, after_in_child=forget_idle)
