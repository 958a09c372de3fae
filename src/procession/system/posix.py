"""What this platform has: POSIX, what Linux adds to it, and what follows for where items run.

Features are looked for, never the name of the system. Code that calls what some platform lacks
takes the module from here, and so says that it has asked first, or is never reached there:

    from procession.system.posix import fcntl, os, signal

They are the standard library's own modules. One that the platform does not have raises
`BackendUnavailable` when it is used. mypy sees all names of them on every platform; code that
imports `os` itself is checked against those that the platform has.
"""

from __future__ import annotations

import os as _os
import sys
from collections.abc import Callable

from procession.hints import TYPE_CHECKING, Any, NoReturn
from procession.system.pristine import select, socket

if TYPE_CHECKING:
    from posix_types import fcntl as fcntl
    from posix_types import os as os
    from posix_types import resource as resource
    from posix_types import signal as signal

    from procession.errors import BackendUnavailable

__all__ = [
    "CLOSE_ON_EXEC",
    "DO_NOT_WAIT",
    "END_SIGNAL",
    "FORKS",
    "LENDS_FILES",
    "MISSING",
    "OWN_WORKERS",
    "WATCHES_ALL",
    "at_fork",
    "default_backend",
    "fcntl",
    "os",
    "refuse",
    "resource",
    "signal",
    "signals",
    "wait_for_end",
]

_signals: Any = __import__("_signal")  # the C module: `signal` makes enums of all its numbers

_SYNCHRONIZE, _INFINITE = 0x00100000, 0xFFFFFFFF  # of the Windows API


class _Absent:
    """Stands for a module that this platform does not have."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> NoReturn:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise refuse(f"{self._name}.{attribute}")

    def __bool__(self) -> bool:
        return False


if not TYPE_CHECKING:
    os = _os
    try:
        import fcntl
    except ImportError:
        fcntl = _Absent("fcntl")

    def __getattr__(name: str) -> Any:
        if name in ("resource", "signal"):  # which take a while, and most programs do without
            try:
                return __import__(name)
            except ImportError:
                pass  # `from … import resource` raises it again
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _has(module: Any, *names: str) -> bool:
    return bool(module) and all(hasattr(module, name) for name in names)


def _missing() -> tuple[str, ...]:
    """What Procession's own workers need and this platform lacks."""
    needs = {
        "os.fork": _has(_os, "fork", "register_at_fork", "setsid", "killpg", "pread"),
        "fcntl": _has(fcntl, "flock", "lockf"),
        "signal.pthread_sigmask": _has(_signals, "pthread_sigmask", "SIGKILL", "sigwait"),
        "select.poll": _has(select, "poll"),
        "socket.AF_UNIX": _has(socket, "AF_UNIX", "SCM_RIGHTS", "socketpair"),
    }
    return tuple([name for name, there in needs.items() if not there])


MISSING: tuple[str, ...] = _missing()
"""What is missing here for Procession's own workers, by the names of Python."""

OWN_WORKERS: bool = not MISSING
"""Whether ``backend="process"``, `@isolated` and memory that processes share can be had here."""

FORKS: bool = _has(_os, "fork", "register_at_fork")
"""Whether a process can be forked."""

LENDS_FILES: bool = _has(_os, "memfd_create") and _has(socket, "SO_PEERCRED")
"""Whether memory can be a file without a name that other processes of the user can open."""

WATCHES_ALL: bool = _has(select, "epoll") and _has(_os, "eventfd")
"""Whether the kernel keeps the list of the descriptors that are waited for."""

END_SIGNAL: int = int(getattr(_signals, "SIGKILL", _signals.SIGTERM))
"""Ends a process at once: SIGKILL, or what `os.kill` makes `TerminateProcess` of on Windows."""


CLOSE_ON_EXEC: int = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
"""Flag for `recvmsg`: programs that are executed do not inherit what comes; 0: see to it then."""

DO_NOT_WAIT: int = int(getattr(socket, "MSG_DONTWAIT", 0))
"""Flag for sockets that block: not this time. A plain number, as an enum's operators are slow."""


def signals(*names: str) -> frozenset[int]:
    """Those of the signals that there are here."""
    return frozenset(int(number) for name in names if (number := getattr(_signals, name, None)))


def at_fork(**calls: Callable[[], object]) -> None:
    """`os.register_at_fork`, where processes can be forked."""
    if FORKS:
        os.register_at_fork(**calls)


def wait_for_end(pid: int) -> None:
    """On Windows: return when another process has ended, or if there is no such process.

    Elsewhere `os.kill` with signal 0 asks for that. On Windows it would send Ctrl-C.
    """
    import ctypes

    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009  # Windows only
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(_SYNCHRONIZE, False, pid)
    if handle:
        kernel.WaitForSingleObject(ctypes.c_void_p(handle), _INFINITE)
        kernel.CloseHandle(ctypes.c_void_p(handle))


def default_backend() -> str:
    """The backend of calls that name none: ``"process"``, and ``"loky"`` where it lacks its ground.

    Its ground are POSIX and memory without a name. Where only the latter is missing (macOS, BSD) it
    runs if it is asked for, and has not been tried on such a system.
    """
    return "process" if OWN_WORKERS and LENDS_FILES else "loky"


def refuse(what: str, instead: str = "") -> BackendUnavailable:
    """What to raise for something that this platform cannot do.

    Args:
        what: What was asked for, in the words of who asked.
        instead: What to write instead; else that another backend is to be taken.
    """
    lacks = ", ".join(MISSING) or "memory without a name"
    from procession.errors import BackendUnavailable

    instead = instead or "Write backend='loky', or run it on a POSIX system, such as Linux or WSL."
    return BackendUnavailable(
        f"{what} cannot be had on this platform ({sys.platform}), which lacks {lacks}. {instead}"
    )
