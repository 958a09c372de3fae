"""The descriptors that pytest and a test's process share. None has a name that could be left."""

from __future__ import annotations

from typing import Final

from procession.pytest_isolation.unpatched import fcntl, os, tempfile

__all__ = ["Shared", "lifeline"]

_NAMES: Final = ("records", "out", "err", "raw_out", "raw_err", "stack", "log", "payload")
"""
records: what the test's process tells. out, err: what is captured, emptied after each phase.
raw_out, raw_err: standard output and error beside the capture. stack: faulthandler's.
log: the terminal reporter's, while the test runs. payload: what the process needs to start.
"""


class Shared:
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

        Not its end of the wakeup: as long as one is open here, the wakeup never reads as ended.
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
            os.close(fd)

    def close(self) -> None:
        """Close everything."""
        for fd in self._open:
            os.close(fd)
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
    """Read end of a pipe that nobody writes to, and whose other end closes when pytest ends."""
    global _lifeline
    if _lifeline is None:
        _lifeline = os.pipe()
        os.register_at_fork(after_in_child=_drop_lifeline)
    return _lifeline[0]


def _drop_lifeline() -> None:
    """In a fork of pytest: let go of the end that keeps the tests' processes alive."""
    global _lifeline
    if _lifeline is not None:
        os.close(_lifeline[1])
        _lifeline = None
