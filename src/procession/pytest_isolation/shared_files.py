"""The files that pytest and a test's process share, and what goes through them. None has a name.

What the process tells are records in a file rather than a pipe. So a test that dies has still said
all it said, and a grandchild that inherits everything blocks no one. A record that was cut short by
a kill is not read. What it prints goes to files too, and is passed on from there.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

import pytest

from procession.pytest_isolation.unpatched import fcntl, os, pickle, tempfile
from procession.system.pristine import close_descriptor

_NAMES = ("records", "out", "err", "raw_out", "raw_err", "stack", "log", "payload")
"""
records: what the test's process tells. out, err: what is captured, emptied after each phase.
raw_out, raw_err: standard output and error without the capture. stack: faulthandler's.
log: the terminal reporter's, while the test runs. payload: what the process needs to start.
"""

STREAMS = ("raw_out", "raw_err", "log")
"""The files that are passed on, in the order in which records name their sizes."""

Sizes = tuple[int, ...]

_LENGTH = struct.Struct("<Q")

_UNHURRIED = frozenset({"phase", "report", "warning"})
"""Records that can wait for the next look: waking pytest for each doubles a small test's cost."""


class SharedFiles:
    """Files and pipes for one test's process; both sides see the same open file.

    Attributes:
        fds: The process's descriptors by name, with ``wakeup`` and ``commands``.
    """

    def __init__(self) -> None:
        self._open: list[int] = []
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        self.fds = {name: self._file() for name in _NAMES}
        if _are_one(1, 2):  # so that what is printed to both stays in its order
            self.fds["raw_err"] = self.fds["raw_out"]
        self.wakeup, self.fds["wakeup"] = self._pipe()
        self.fds["commands"], self.commands = self._pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self.fds["wakeup"], False)

    def _file(self) -> int:
        with tempfile.TemporaryFile(buffering=0, prefix="procession-") as file:
            fd = os.dup(file.fileno())
        self._open.append(fd)
        # Several processes write, and pytest empties it: each write goes to the end there is.
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
        return fd

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._open.extend(ends)
        return ends

    def let_go(self) -> None:
        """Close what only the other side needs.

        Not its end of the wakeup pipe: as long as one is open here, that never reads as ended.
        """
        self._close(self.fds["commands"])

    def keep_own(self) -> None:
        """In a fork, close what only pytest needs."""
        for fd in (self.wakeup, self.commands):
            self._close(fd)

    def end_commands(self) -> None:
        """Ask for no more tests."""
        self._close(self.commands)

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.remove(fd)
            close_descriptor(fd)

    def close(self) -> None:
        """Close everything."""
        for fd in self._open:
            close_descriptor(fd)
        self._open.clear()

    def content(self, name: str, offset: int = 0) -> str:
        """What a file holds now, from an offset on, as text."""
        fd = self.fds[name]
        parts: list[bytes] = []
        while part := os.pread(fd, 1 << 20, offset):
            parts.append(part)
            offset += len(part)
        return b"".join(parts).decode("utf-8", "replace")

    def size(self, name: str) -> int:
        """How many bytes a file holds now."""
        return os.fstat(self.fds[name]).st_size


def _are_one(fd: int, other: int) -> bool:
    """Whether two descriptors write to the same file."""
    try:
        return os.path.sameopenfile(fd, other)
    except OSError:
        return False  # One of them is closed.


_lifeline: tuple[int, int] | None = None


def lifeline() -> int:
    """Read end of a pipe that is never written to, and whose other end closes when pytest ends."""
    global _lifeline
    if _lifeline is None:
        _lifeline = os.pipe()
        os.register_at_fork(after_in_child=_drop_lifeline)
    return _lifeline[0]


def _drop_lifeline() -> None:
    """In a fork of pytest: let go of the end that keeps the tests' processes alive."""
    global _lifeline
    if _lifeline is not None:
        close_descriptor(_lifeline[1])
        _lifeline = None


class Writer:
    """The test's side. Silent in processes forked from the one that made it."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self._fd: int = payload["records"]
        self._wakeup: int = payload["wakeup"]
        self._path: str = payload["records_path"]  # should a test close the descriptor
        # Every record tells how much was printed before it.
        self._streams: list[int] = [payload[name] for name in STREAMS]
        self._identity = self._identify(self._fd)
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


class Forwarder:
    """Passes output on in the order of the records: before each, what was printed before it."""

    def __init__(self, config: pytest.Config, files: SharedFiles) -> None:
        self._files = files
        self._passed: dict[str, int] = {}
        self._are_one = files.fds["raw_out"] == files.fds["raw_err"]
        self._terminal: Any = _live_terminal(config)

    def begin(self, sizes: Sizes) -> None:
        """Pass on from now on; what was printed before, pytest has printed itself."""
        for name, size in zip(STREAMS, sizes, strict=False):
            if name == "log" or name not in self._passed:
                self._passed[name] = size

    def sizes(self) -> Sizes:
        """How much there is now."""
        return tuple(map(self._files.size, STREAMS))

    def pass_on(self, sizes: Sizes) -> None:
        """Pass on what has come, up to these sizes."""
        for name, size in zip(STREAMS, sizes, strict=False):
            if self._passed.get(name, size) < size and self._is_passed_on(name):
                self._write(name, size)

    def _is_passed_on(self, name: str) -> bool:
        if name == "log":
            return self._terminal is not None
        return name == "raw_out" or not self._are_one

    def _write(self, name: str, size: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # What pytest has printed so far comes first.
        fd = self._files.fds[name]
        while part := os.pread(fd, min(1 << 16, size - self._passed[name]), self._passed[name]):
            self._passed[name] += len(part)
            if name == "log":
                self._terminal.write(part.decode("utf-8", "replace"), flush=True)
                continue
            while part:
                part = part[os.write(1 if name == "raw_out" else 2, part) :]

    def unseen(self, name: str) -> str:
        """What came and was not passed on."""
        if name == "raw_err" and self._are_one:
            return ""  # Its file is asked for under its other name.
        return self._files.content(name, self._passed.get(name, 0))


def _live_terminal(config: pytest.Config) -> Any:
    """The terminal that log records or fixtures are shown on while a test runs, if they are."""
    plugin: Any = config.pluginmanager.getplugin("logging-plugin")
    logs = plugin is not None and plugin._log_cli_enabled()
    if not (logs or config.getoption("setupshow", False)):
        return None
    return config.pluginmanager.getplugin("terminalreporter")
