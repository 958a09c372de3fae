"""What to do when the system refuses something: which limit it was, and how it is raised.

Also whether a new interpreter can be executed, or only this process be forked. A frozen program
(PyInstaller and the like: ``sys.frozen``) is its own executable. A program that embeds Python names
itself in `sys.executable`: to execute that runs the program once more. An executable may also be
unknown (``sys.executable`` is empty or `None`).
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module

from procession.errors import BackendUnavailable, OptionError
from procession.hints import Any
from procession.system import FOLDER

_LONGEST = 128 * 1024
"""Bytes of one variable with its name, ``=`` and end, for Linux (MAX_ARG_STRLEN, execve(2))."""

_NO_PYTHON = (EOFError, ConnectionError, ImportError, PermissionError, FileNotFoundError)
"""What is raised if a new interpreter, or the fork server's, ends before it has begun."""

_NO_SEMAPHORE = (errno.ENOENT, errno.EROFS, errno.EACCES)
"""What is raised if no semaphore can be made: its folder is not there, or not to be written to."""

_NO_FOLDER = (
    "The working folder of this process was removed, and loky tells its workers of it as they "
    "start. Call os.chdir with one that is there, or write backend='process'."
)


@contextmanager
def explained() -> Generator[None, None, None]:
    """Errors of the system that come from inside say which limit it was and what to do."""
    try:
        yield
    except (OSError, MemoryError) as error:
        explain(error)
        raise


def explain(error: BaseException, *, starting: bool = False) -> None:
    """Add to an error of the system, as a note, which limit it was and what to do.

    Args:
        error: What was raised; errors that are no limit's are left as they are.
        starting: Whether a process or thread was being started.
    """
    text = mend(error, starting=starting)
    if text and text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def mend(error: BaseException, *, starting: bool = False) -> str:
    """Which limit the system has refused something for, and what to do; nothing if it is none.

    Args:
        error: What was raised.
        starting: Whether a process or thread was being started: EAGAIN means a limit only then.
    """
    if isinstance(error, MemoryError):
        return _memory()
    if starting and isinstance(error, RuntimeError) and "start new thread" in str(error):
        return _processes()
    if starting and isinstance(error, _NO_PYTHON):
        return _python() if _has_folder() else _NO_FOLDER
    return _of_number(error, starting) if isinstance(error, OSError) else ""


def _of_number(error: OSError, starting: bool) -> str:
    if error.errno == errno.EMFILE:
        return _files()
    if error.errno == errno.ENFILE:
        return (
            "The whole system has as many files open as it may (sysctl fs.file-max). End what "
            "holds them, or raise it."
        )
    if error.errno == errno.EAGAIN and starting:
        return _processes()
    if error.errno in _NO_SEMAPHORE and error.filename is None and not _writes_to("/dev/shm"):
        return (
            "The standard library's semaphores lie in /dev/shm, which is not mounted, or cannot be "
            "written to. Mount it so that it can, or write backend='process'."
        )
    if error.errno == errno.E2BIG:
        return _variables()
    if error.errno == errno.ENOMEM:
        return _memory()
    if error.errno == errno.ENOSPC:
        return _space(error)
    if error.errno == errno.EDQUOT:
        return "The user's disk quota is used up (`quota -s`). Remove files, or ask for more."
    if error.errno == errno.EFBIG:
        return (
            f"This process may write files of {_limit('RLIMIT_FSIZE')} bytes (RLIMIT_FSIZE, "
            "`ulimit -f`), and memory shared with workers counts as a file. Raise it with "
            "`ulimit -f unlimited` before the program starts."
        )
    return ""


def _writes_to(folder: str) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.W_OK)


def _variables() -> str:
    sizes = _sizes()
    longest = max(sizes, key=sizes.__getitem__, default="")
    return (
        f"An interpreter cannot be executed with variables or arguments so long: Linux takes "
        f"{_LONGEST:,} bytes each, and {_all_together():,} in all. The longest variable of "
        f"os.environ is {longest!r}, with {sizes.get(longest, 0):,} bytes of "
        f"{sum(sizes.values()):,}. Take out what is long, or write it to a file."
    )


def _sizes() -> dict[str, int]:
    """Bytes of each variable, its name and value."""
    return {name: len(os.fsencode(name + value)) for name, value in os.environ.items()}


def _all_together() -> int:
    """Bytes of arguments and variables that may be in all; see execve(2)."""
    ask: Callable[[str], int] = getattr(os, "sysconf", lambda _: 1 << 15)  # Windows' own limit
    return ask("SC_ARG_MAX")


def _files() -> str:
    return (
        f"This process may have {_limit('RLIMIT_NOFILE')} files open at once (RLIMIT_NOFILE, "
        f"`ulimit -n`), pipes and sockets included; its hard limit is "
        f"{_limit('RLIMIT_NOFILE', 1)}. Close what is not needed, use fewer workers (each takes "
        "some), or raise it: `ulimit -n 4096`, or resource.setrlimit(resource.RLIMIT_NOFILE, …)."
    )


def _processes() -> str:
    return (
        f"No more processes or threads can be started: this user may have "
        f"{_limit('RLIMIT_NPROC')} (RLIMIT_NPROC, `ulimit -u`), and a container may have fewer "
        "(pids.max; `docker run --pids-limit`). Use fewer workers=, or raise the limit."
    )


def _python() -> str:
    user = f"user {os.geteuid()}" if hasattr(os, "geteuid") else "the user"
    return (
        f"A new worker could not be started. It runs as {user}, as this process does now: can they "
        f"execute {sys.executable}, and read Python's library ({os.path.dirname(os.__file__)}) and "
        f"Procession ({FOLDER})? And is what PYTHON… variables "
        "say right?"
    )


def _has_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _memory() -> str:
    limits = [(name, _limit(name)) for name in ("RLIMIT_AS", "RLIMIT_DATA")]
    for name, value in limits:
        if value != "unlimited":
            flag = "v" if name == "RLIMIT_AS" else "d"
            return (
                f"A process here may take {value} bytes of memory ({name}, `ulimit -{flag}`). Use "
                f"fewer or smaller items at once, or raise it."
            )
    return ""


def _space(error: OSError) -> str:
    where = error.filename or "memory that is shared with workers, such as /dev/shm"
    return (
        f"There is no space left for {where}. Look with `df -h`, remove what is not needed, or "
        "make it larger (`docker run --shm-size=1g` for /dev/shm)."
    )


def _limit(name: str, which: int = 0) -> str:
    """A limit of this process: the soft one, or the hard one (1)."""
    try:
        from procession.system.posix import resource
    except ImportError:
        return "a limited number of"
    module: Any = resource
    value = module.getrlimit(getattr(module, name))[which]
    return "unlimited" if value == module.RLIM_INFINITY else str(value)


# -- what cannot be started ----------------------------------------------------------------------


def _executable() -> str:
    spawn = sys.modules.get("multiprocessing.spawn")  # by which another one could have been set
    get = getattr(spawn, "get_executable", None)  # another thread may be amid its import
    found: str | bytes | None = sys.executable if get is None else get()
    return os.fsdecode(found) if found else ""


def is_python() -> bool:
    """Whether there is an interpreter to execute."""
    path = _executable()
    if not path or (getattr(sys, "frozen", False) and path == sys.executable):
        return False
    return _named_python(path) and os.access(path, os.X_OK)


@cache
def _named_python(path: str) -> bool:
    names = (os.path.basename(each).lower() for each in (path, os.path.realpath(path)))
    return any("python" in name or "pypy" in name for name in names)


def must_execute(method: str) -> None:
    """Refuse a start method that executes an interpreter where there is none.

    Args:
        method: ``"spawn"``, ``"forkserver"`` or ``"loky"``.

    Raises:
        OptionError: There is none. A frozen program may spawn: `multiprocessing.freeze_support`
            sees to what it executes.
    """
    frozen = bool(getattr(sys, "frozen", False))
    if is_python() or (frozen and method == "spawn" and sys.executable):
        return
    path = _executable()
    why = f"sys.executable is {sys.executable!r}, which is no Python"
    if frozen:
        why = "this is a frozen program, whose executable would run it once more"
    elif path and _named_python(path):
        user = f" {os.geteuid()}" if hasattr(os, "geteuid") else ""
        why = f"user{user}, whom this process runs as, may not execute {path!r}, if it is there"
    raise OptionError(
        f"{method!r} cannot start workers here: {why}. Leave context and backend out, or write "
        "context='fork'"
        + (
            " (or context='spawn', with multiprocessing.freeze_support() first in the program)."
            if frozen
            else ", or call multiprocessing.set_executable(path of a Python)."
        )
    )


def must_fit() -> None:
    """See to it that an interpreter can be executed with this process's variables.

    Raises:
        OSError: They are too long. What would execute it does not say so.
    """
    sizes = [size + 2 for size in _sizes().values()]  # "=" and the end
    if sys.platform == "linux" and (
        max(sizes, default=0) > _LONGEST or sum(sizes) + 8 * len(sizes) > _all_together()
    ):
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG), _executable())


def must_be_main_interpreter() -> None:
    """See to it that processes can be started from here.

    Raises:
        BackendUnavailable: This is a sub-interpreter.
    """
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            module: Any = import_module(name)
        except ImportError:
            continue
        if module.get_current() != module.get_main():
            raise BackendUnavailable(
                "A sub-interpreter cannot start processes. Make the call in the main interpreter, "
                "or write backend='thread' or backend='serial'."
            )
        return
