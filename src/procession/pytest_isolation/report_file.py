"""What a test's process tells: records in a file without a name, and a wakeup that says "look".

A file rather than a pipe, so that a test that dies has still said all it said, and a grandchild
that inherits everything can hold nobody. A record that was cut short by a kill is not read.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from procession.pytest_isolation.unpatched import os, pickle

__all__ = ["Reader", "Writer"]

_LENGTH: Final = struct.Struct("<Q")

_UNHURRIED: Final = frozenset({"phase", "report", "warning"})
"""Records that can wait for the next look: waking pytest for each doubles a small test's cost."""


class Writer:
    """The test's side. Silent in processes forked from the one that made it.

    Args:
        fd: The file of records, open for writing at its end.
        wakeup: Write end of a non-blocking pipe.
        path: How the records' file is called from here, should a test close `fd`.
        streams: Files whose sizes every record tells, so that what was printed keeps its place.
    """

    def __init__(self, fd: int, wakeup: int, path: str, streams: tuple[int, ...]) -> None:
        self._fd = fd
        self._wakeup = wakeup
        self._path = path
        self._streams = streams
        self._identity = self._identify(fd)
        self.pid = os.getpid()
        # Kept here, so that a test that patches os or pickle does not cut off its own report.
        self._write, self._open, self._fstat = os.write, os.open, os.fstat
        self._getpid, self._dumps = os.getpid, pickle.dumps

    @staticmethod
    def _identify(fd: int) -> tuple[int, int]:
        status = os.fstat(fd)
        return status.st_dev, status.st_ino

    @property
    def ours(self) -> bool:
        """Whether this is the process that made the writer, and no fork of it."""
        return self._getpid() == self.pid

    def send(self, kind: str, *values: Any) -> None:
        """Add one record."""
        if not self.ours:
            return
        blob = self._dumps((kind, self._sizes(), *values), 4)
        view = memoryview(_LENGTH.pack(len(blob)) + blob)
        fd = self._usable()
        while view:
            view = view[self._write(fd, view) :]
        if kind in _UNHURRIED:
            return
        try:
            self._write(self._wakeup, b"\0")
        except OSError:
            pass  # Full, or closed by the test: the reader looks every now and then.

    def _sizes(self) -> tuple[int, ...]:
        try:
            return tuple([self._fstat(fd).st_size for fd in self._streams])
        except OSError:
            return ()  # Closed by the test.

    def _usable(self) -> int:
        """The records' descriptor; opened again if the test closed it (or all of them)."""
        try:
            status = self._fstat(self._fd)
            if (status.st_dev, status.st_ino) == self._identity:
                return self._fd
        except OSError:
            pass
        self._fd = self._open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        return self._fd


class Reader:
    """pytest's side: takes the records that have come since the last look."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._offset = 0

    def read(self) -> list[tuple[Any, ...]]:
        """Give every complete record that is new."""
        records: list[tuple[Any, ...]] = []
        while True:
            head = os.pread(self._fd, _LENGTH.size, self._offset)
            if len(head) < _LENGTH.size:
                return records
            (length,) = _LENGTH.unpack(head)
            start = self._offset + _LENGTH.size
            blob = self._pread(length, start)
            if len(blob) < length:
                return records
            self._offset = start + length
            records.append(pickle.loads(blob))

    def _pread(self, length: int, offset: int) -> bytes:
        parts: list[bytes] = []
        while length > 0 and (part := os.pread(self._fd, length, offset)):
            parts.append(part)
            length -= len(part)
            offset += len(part)
        return b"".join(parts)
