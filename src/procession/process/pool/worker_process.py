"""A worker's process, as the operating system has it: its signals, its memory, its exit code."""

from __future__ import annotations

from procession.hints import Any
from procession.system import owned_descriptors
from procession.system.lifeline import runs
from procession.system.posix import os, signal
from procession.system.pristine import select
from procession.system.resources import private_bytes

_WORD_AFTER = 1000
"""Milliseconds to wait for a fork server's word of a death, at most. It takes less than one, unless
the server is stopped."""

_left: list[int] = []
"""Processes that we could not end: they are waited for when they have ended by themselves."""


class WorkerProcess:
    """A process that was started, which leads a group of its own, until it is reaped.

    Args:
        method: The start method it came by.
        popen: What its start has given.

    Attributes:
        method: The start method it came by.
        pid: Its process id, and its process group's.
        untouchable: Whether it belongs to another user, so that we could not end it.
    """

    def __init__(self, method: str, popen: Any) -> None:
        self.method = method
        self.pid: int = popen.pid
        self.untouchable = False
        self._base_memory = 0
        self._popen: Any = popen
        self._pidfd = self._open_pidfd()
        self._reaped: tuple[int | None] | None = None

    def _open_pidfd(self) -> int | None:
        if not hasattr(os, "pidfd_open"):
            return None
        try:
            with owned_descriptors.forking:
                descriptor = os.pidfd_open(self.pid)
                owned_descriptors.own(descriptor)
            return descriptor
        except OSError:
            return None  # reaped by the user's code already, or an old kernel

    @property
    def death(self) -> int:
        """A descriptor that is ready to read once the process has ended.

        The pidfd, which nothing that the worker started can hold open, and which does not end with
        the fork server. Where there is none, and for a fork server's child, the popen's sentinel.
        """
        if self._pidfd is not None:
            return self._pidfd
        sentinel: int = self._popen.sentinel
        return sentinel

    def weigh(self) -> None:
        """What it shares with its caller until one of both writes to it is not its own."""
        if self.method == "fork":
            self._base_memory = private_bytes(self.pid)

    def memory_taken(self) -> int:
        """Bytes of private memory, beyond what it began with."""
        return private_bytes(self.pid) - self._base_memory

    def signal(self, number: int, *, group: bool = True) -> bool:
        """Send it a signal, and all that it started. False if it had to end by that, and cannot.

        That is if this process has become another user since it was started.
        """
        if self._reaped is not None:
            return True  # its number may be another's by now
        within_reach = True
        try:
            os.kill(self.pid, number)
        except PermissionError:
            if number in (signal.SIGKILL, signal.SIGTERM):
                self.untouchable, within_reach = True, False
        except OSError:
            pass
        if group:
            try:
                os.killpg(self.pid, number)
            except OSError:
                pass  # it has not come so far as to lead a group
        return within_reach

    def reap(self) -> int | None:
        """Take the exit code of a dead process; `None` if others have taken it."""
        if self._reaped is None:
            self._reaped = (self._wait(),)
        return self._reaped[0]

    def _wait(self) -> int | None:
        if self.untouchable:
            _left.append(self.pid)
        if self.method == "forkserver":
            return self._ask_server()
        code = self._take_code(os.WNOHANG if self.untouchable else 0)
        if code is not None:
            _reap_left()
            self._popen.returncode = code
        return code

    def _take_code(self, flags: int) -> int | None:
        try:
            if self._pidfd is None:
                pid, status = os.waitpid(self.pid, flags)
                return os.waitstatus_to_exitcode(status) if pid else None
            found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | flags)
        except ChildProcessError:
            return None
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _ask_server(self) -> int | None:
        """Its parent is the fork server, which tells its exit code an instant after its death."""
        if self._pidfd is not None and not self.untouchable:
            told = select.poll()
            told.register(self._popen.sentinel, select.POLLIN)
            told.poll(_WORD_AFTER)
        code = self._popen.poll()
        # 255 is also what the standard library says when the server itself has died.
        if code in (None, 255) and runs(self.pid):
            self.signal(signal.SIGKILL)
            return None
        return code if isinstance(code, int) else None

    def close(self) -> None:
        """Give everything back. The process must be reaped."""
        if self._pidfd is not None:
            owned_descriptors.close(self._pidfd)
            self._pidfd = None
        if self._popen.returncode is None:
            self._popen.returncode = 255
        finalizer = getattr(self._popen, "finalizer", None)
        if finalizer is not None:
            finalizer()
        self._popen = None  # loky's closes what it has when it goes

    def lose(self) -> None:
        """The program has closed our descriptors: reap it without using them, or their numbers."""
        if self.method != "forkserver":
            self._pidfd = None
            self.reap()
        self.disown()

    def disown(self) -> None:
        """Never signal it any more, nor wait for it."""
        self._reaped = self._reaped or (None,)


def _reap_left() -> None:
    for pid in tuple(_left):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            ended = True  # it is a server's, or the user's code has done it
        if ended and pid in _left:
            _left.remove(pid)
