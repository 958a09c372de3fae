"""The lifeline: workers die with their parent, however it ends, in the middle of anything.

A lifeline is a pipe that never carries data. This process holds its writing end; the kernel closes
it with the process, even after SIGKILL. On Linux each worker asks the kernel to send SIGKILL to
its whole process group at that moment (F_SETOWN, F_SETSIG, O_ASYNC). So it ends within
milliseconds, even inside C code that holds the GIL. Elsewhere a thread watches the pipe; it ends
the worker as soon as it gets the GIL, which C code may hold for long.

The signal belongs to an open file, not to a descriptor, so each worker opens the pipe anew through
/proc. A worker that did not inherit a descriptor (loky's, the standard library's) opens it through
the parent's entry there: see `ticket` and `arm`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from procession.hints import Any
from procession.system import NamedTuple, after_fork, owned_descriptors
from procession.system.descriptors import file_of
from procession.system.posix import END_SIGNAL, OWN_WORKERS, fcntl, os, wait_for_end
from procession.system.pristine import close_descriptor, select, threading, time

_EXITING = 0x4  # PF_EXITING in the kernel: set before the process's descriptors are closed

_MARKING = getattr(fcntl, "F_SETSIG", 0) if OWN_WORKERS else 0
_MARKED = getattr(fcntl, "F_GETSIG", 0) if OWN_WORKERS else 0
_MARK = 63
"""The writing end's signal, which is never sent: it tells this open file from any other."""


class Ticket(NamedTuple):
    """Where a worker that inherited nothing finds its parent's lifeline.

    Attributes:
        parent: The parent's process id.
        path: The reading end, below the parent's /proc entry.
        inode: The pipe's, so that a reused number is not mistaken for it.
    """

    parent: int
    path: str
    inode: int


class _Pipe:
    """This process's lifeline, open as long as something counts on it."""

    def __init__(self) -> None:
        self.lock = after_fork.lock()
        self.users = 0
        self.ends: tuple[int, int] | None = None
        self.file: Any = None

    def acquire(self) -> None:
        with owned_descriptors.forking, self.lock:
            if self.ends is None:
                ends = os.pipe()
                owned_descriptors.own(*ends)
                # The file first: `broken` takes no lock, and must not see ends with another's file.
                self.file = file_of(ends[1])
                if _MARKED:
                    fcntl.fcntl(ends[1], _MARKING, _MARK)
                self.ends = ends
            self.users += 1

    def release(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users > 0 or self.ends is None:
                return
            ends, self.ends = self.ends, None
        owned_descriptors.close(*ends)

    def broken(self) -> bool:
        """Whether the program has closed it; it is opened anew then."""
        ends = self.ends
        if ends is None or file_of(ends[1]) == self.file:
            return False
        with self.lock:
            self.ends = None
        return True


_pipe = _Pipe()
_armed: dict[int, int] = {}


def _renew() -> None:
    global _pipe
    _pipe = _Pipe()
    _armed.clear()


after_fork.renew_in_child(_renew)


def acquire() -> None:
    """Open the lifeline for one more worker."""
    _pipe.acquire()


def broken() -> bool:
    """Whether the program has closed the descriptors (`os.closerange`), these and so all others.

    True once. Each call asks, so it asks for a mark on the open file first, which is the cheapest.
    """
    ends = _pipe.ends
    try:
        if ends is None or (_MARKED and fcntl.fcntl(ends[1], _MARKED) == _MARK):
            return False
    except OSError:
        pass
    return _pipe.broken()


def inheritable() -> int:
    """A descriptor of the reading end for one child to inherit; the caller closes it."""
    if _pipe.ends is None:
        raise RuntimeError("no lifeline is open")
    return os.dup(_pipe.ends[0])


def release() -> None:
    """Say that a worker is gone. With the last one the lifeline closes."""
    _pipe.release()


def ticket() -> Ticket:
    """A picklable ticket for `arm`. Call `acquire` before, and `release` when the workers end."""
    if _pipe.ends is None:
        raise RuntimeError("no lifeline is open: call procession.system.lifeline.acquire() first")
    end = _pipe.ends[0]
    return Ticket(os.getpid(), f"/proc/{os.getpid()}/fd/{end}", os.fstat(end).st_ino)


def arm(where: Ticket) -> None:
    """Tie this process to the lifeline of its parent; an initializer for foreign workers.

    Does nothing in the parent itself, and nothing the second time. Where the lifeline cannot be
    opened but the parent lives (no /proc, another user), a thread watches the parent's pid. On
    Windows a thread waits for the parent's end.
    """
    if where.parent == os.getpid() or _armed.get(where.parent) == where.inode:
        return
    _armed[where.parent] = where.inode
    if not OWN_WORKERS:
        _watch_parent(where.parent)
        return
    try:
        end = os.open(where.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        _watch_parent(where.parent)
        return
    if os.fstat(end).st_ino != where.inode:
        close_descriptor(end)
        _watch_parent(where.parent)
        return
    _arm(end, group=False)


def arm_descriptor(end: int, *, group: bool) -> None:
    """Tie this process to the lifeline whose reading end it inherited, and close that end.

    Args:
        end: The inherited descriptor.
        group: Whether this process leads a process group, all of which is to end.
    """
    try:
        own = os.open(f"/proc/self/fd/{end}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        _start_watching(lambda: select.select([end], [], []))
        return
    close_descriptor(end)
    _arm(own, group=group)


def _arm(end: int, *, group: bool) -> None:
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(end, fcntl.F_SETOWN, -os.getpgrp() if group else os.getpid())
        fcntl.fcntl(end, fcntl.F_SETSIG, END_SIGNAL)
        fcntl.fcntl(end, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        # The parent may have died before this was armed: then no signal comes any more.
        if select.select([end], [], [], 0)[0]:
            _die()
    else:
        _start_watching(lambda: select.select([end], [], []))


def _watch_parent(parent: int) -> None:
    def gone() -> None:
        while runs(parent):
            time.sleep(0.5)

    _start_watching(gone if OWN_WORKERS else partial(wait_for_end, parent))


def _start_watching(wait: Callable[[], object]) -> None:
    def watch() -> None:
        wait()
        _die()

    threading.Thread(target=watch, name="procession-lifeline", daemon=True).start()


def _die() -> None:
    os.kill(os.getpid(), END_SIGNAL)


def runs(pid: int) -> bool:
    """Whether there is such a process; one that is dead and was not waited for counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def is_ending(pid: int) -> bool:
    """Whether a process is dead or dying; also where the system does not tell (no ``/proc``).

    Its channel is closed a moment before others can see that it is dead.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return bool(int(fields[6]) & _EXITING)
    except (OSError, ValueError, IndexError):
        return True
