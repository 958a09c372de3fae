"""A file in memory that grows: where queues and containers keep their items.

It has a descriptor of its own, apart from the segment's: to replace a map is to close a descriptor,
and that would drop the locks that tell who is alive (see `procession.shared.memory.segment`).
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

from procession.shared.memory import handles
from procession.system import after_fork

__all__ = ["SMALLEST", "Store"]

SMALLEST = 1 << 16
"""Bytes at first. Pages that were never written take no memory."""

_lock = after_fork.rlock()
_stores: weakref.WeakValueDictionary[tuple[int, int], Store] = weakref.WeakValueDictionary()


class Store:
    """Bytes at positions. The caller holds a mutex, and knows the size that all agreed on."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._closing = handles.Closing(self, fd)
        self._path = path
        self._creator = 0
        self._map = mmap.mmap(fd, os.fstat(fd).st_size)

    @classmethod
    def create(cls, label: str) -> Store:
        """Make one of the smallest size."""
        fd, path = handles.create(label, SMALLEST)
        store = cls(fd, path)
        store._creator = os.getpid()
        found = os.fstat(fd)
        with _lock:
            _stores[found.st_dev, found.st_ino] = store
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        handles.note_sent(self)
        return _receive, tuple(handles.address(self._fd, self._path))

    def read(self, start: int, end: int, size: int) -> bytes:
        """The bytes from `start` to `end`, of `size` in all."""
        if len(self._map) != size:
            self._remap(size)
        return self._map[start:end]

    def write(self, start: int, data: bytes, size: int) -> None:
        """Write `data` at `start`, of `size` in all."""
        if len(self._map) != size:
            self._remap(size)
        self._map[start : start + len(data)] = data

    def resize(self, size: int) -> None:
        """Make it `size` bytes long."""
        os.ftruncate(self._fd, size)

    def _remap(self, size: int) -> None:
        if os.fstat(self._fd).st_size < size:
            os.ftruncate(self._fd, size)  # whoever agreed on it died before he did so
        self._map = mmap.mmap(self._fd, size)

    def __del__(self) -> None:
        try:
            self._closing.close()
            if self._path and self._creator == os.getpid():
                from procession.shared.memory import folder

                folder.forget(self._path)
        except Exception:  # the interpreter is going down, and the kernel closes it anyway
            pass


def _receive(pid: int, fd: int, device: int, inode: int, path: str = "") -> Store:
    with _lock:
        store = _stores.get((device, inode))
        if store is None:
            opened = handles.reopen(handles.Address(pid, fd, device, inode, path), os.O_RDWR)
            store = _stores[device, inode] = Store(opened, path)
        return store
