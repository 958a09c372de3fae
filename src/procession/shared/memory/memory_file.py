"""Files in memory that are open once in each process, and sent by their address."""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque
from typing import Any, ClassVar, Self

from procession.shared.memory import handles
from procession.system import after_fork
from procession.system.pristine import close_descriptor

SMALLEST = 1 << 16
"""Bytes of a store at first. Pages that were never written take no memory."""

opening = after_fork.rlock()
"""Held while this process opens a file, or makes its one object on it."""


class Closing(weakref.ref[Any]):
    """Closes the descriptor of an object that is held no more, once.

    The object's ``__del__`` calls `close`. Ctrl-C may strike in there at any instant, and Python
    goes on without it. Then the weak reference that this is, whose callback is a function in C,
    puts the descriptor aside, and `close_struck` closes it.
    """

    __slots__ = ("_left",)
    _left: list[Any]

    def __new__(cls, owner: object, descriptor: int) -> Closing:
        """As `weakref.ref`."""
        made = super().__new__(cls, owner, _struck.append)
        made._left = [None, descriptor]
        _owned.add(made)
        return made

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def close(self) -> None:
        """Close it, unless it was closed."""
        if self._left:
            # In one call, amid which no signal handler can raise.
            deque(map(close_descriptor, iter(self._left.pop, None)), 0)
        _owned.discard(self)


_struck: deque[Any] = deque()
_owned: set[Closing] = set()


def close_struck() -> None:
    """Close what finalizers that were interrupted have left open."""
    while _struck:
        _struck.popleft().close()


class MemoryFile:
    """A file in memory, mapped. Closed when this process drops it, and gone when all have.

    Attributes:
        fd: Its descriptor.
        map: Its bytes.
        known: The files of each class that are open in this process, by device and inode.
    """

    known: ClassVar[weakref.WeakValueDictionary[tuple[int, int], Any]]

    def __init_subclass__(cls) -> None:
        cls.known = weakref.WeakValueDictionary()

    def __init__(self, fd: int, path: str, creator: int = 0) -> None:
        self.fd = fd
        self._closing = Closing(self, fd)
        self._path = path
        self._creator = creator
        self.map: mmap.mmap = mmap.mmap(fd, os.fstat(fd).st_size)

    @classmethod
    def _make(cls, label: str, size: int) -> Self:
        close_struck()
        made = cls(*handles.create(label, size), os.getpid())
        found = os.fstat(made.fd)
        with opening:
            cls.known[found.st_dev, found.st_ino] = made
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        handles.note_sent(self)
        return _receive, (type(self), *handles.address(self.fd, self._path))

    def leave(self) -> None:
        """Give back what is this process's alone: it ends in order, or drops the file."""

    def __del__(self) -> None:
        try:
            try:
                self.leave()
            finally:
                self._closing.close()
            if self._path and self._creator == os.getpid():
                handles.forget(self._path)
        except Exception:  # the interpreter is going down, and the kernel closes it anyway
            pass


def _receive(cls: type[MemoryFile], *address: Any) -> MemoryFile:
    where = handles.Address(*address)
    with opening:
        found: MemoryFile | None = cls.known.get((where.device, where.inode))
        if found is None:
            found = cls(handles.reopen(where, os.O_RDWR), where.path)
            cls.known[where.device, where.inode] = found
        return found


class Store(MemoryFile):
    """A file that grows: where queues and containers keep their items.

    The caller holds a mutex, and knows the size that all agreed on. It is no part of the segment,
    as to replace a map is to close a descriptor. That would drop the locks that tell who is alive
    (see `procession.shared.memory.segment`).
    """

    @classmethod
    def create(cls, label: str) -> Store:
        """Make one of the smallest size."""
        return cls._make(label, SMALLEST)

    def read(self, start: int, end: int, size: int) -> bytes:
        """The bytes from `start` to `end`, of `size` in all."""
        if len(self.map) != size:
            self._remap(size)
        return self.map[start:end]

    def write(self, start: int, data: bytes, size: int) -> None:
        """Write `data` at `start`, of `size` in all."""
        if len(self.map) != size:
            self._remap(size)
        self.map[start : start + len(data)] = data

    def resize(self, size: int) -> None:
        """Make it `size` bytes long."""
        os.ftruncate(self.fd, size)

    def grown(self, size: int, needed: int) -> int:
        """Double it until `needed` bytes have a place; returns its new size."""
        if needed <= size:
            return size
        while size < needed:
            size *= 2
        self.resize(size)
        return size

    def _remap(self, size: int) -> None:
        if os.fstat(self.fd).st_size < size:
            os.ftruncate(self.fd, size)  # the process that agreed on it died before it did so
        self.map = mmap.mmap(self.fd, size)
