"""A fork server that is a copy of this process, where that is safe: it is up in a millisecond.

A process that has one thread holds no lock but its own, so a copy of it can go on. What a worker
needs of Python's own library is loaded in it already. It serves as any other fork server does
(`server_loop`). What it has inherited of the program is dropped first, so that workers see what
they see under any start:

- descriptors: each becomes /dev/null, as objects that hold its number may still use or close it;
- text that was not written yet, signal handlers, exit handlers, trace functions and other hooks;
- all modules but Python's own, ``__main__`` and Procession included: they are imported anew;
- the handlers and levels of `logging`; what hangs on threads, as it serves in a thread of its own.

It keeps what belongs to libraries of Python itself, as the program has set it before: patches,
registrations, import hooks, the hash seed. No object of the program ends in it: objects are kept
for as long as it lives, so that no finalizer runs twice.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType

from procession.hints import Any
from procession.system import cpython
from procession.system.owned_descriptors import forking
from procession.system.pristine import close_descriptor, fork, time

_MOST_MEMORY = 128 << 20
"""Bytes of a process that is still small. A guess: its page tables are copied in two ms."""

_MOST_DESCRIPTORS = 256
_LOOKS, _PAUSE = 3, 0.2e-3
"""How often it looks for other threads, and seconds in between: one that ends is listed on."""

_MOST_STACK = 64 << 20
"""The thread that serves, and so each worker, has the stack that the program was given."""

_C_CODE = frozenset({"wrapt._wrappers", "_xxsubinterpreters", "_interpreters"})
"""C code that is known not to mind, and of no name that the standard library tells."""

_OF_SITE = ("sitecustomize", "usercustomize", "_distutils_hack", "__editable__")
"""Loaded by `site` in each interpreter."""

_HATES_FORKS = frozenset(
    {
        *("_ctypes", "_tkinter", "_sqlite3", "readline", "_curses", "_dbm", "_gdbm"),
        *("gevent", "eventlet", "_lsprof"),
    }
)
"""They keep threads, locks or handles of C libraries, or what they have loaded may."""

_SERVE = """
from procession.process.start.fork_server_loop import serve_as_copy
serve_as_copy({}, {}, {})
"""
"""What it runs, as another server is executed with it."""

_kept: list[Any] = []
"""In the server: everything that the program had."""


def is_possible(waiting: int = 0) -> bool:
    """Whether a copy of this process can be a server: it has one thread, and nothing that minds.

    Args:
        waiting: How many threads of Procession's may be there, too: they wait, and hold nothing.
    """
    return (
        sys.platform.startswith("linux")
        and hasattr(os, "fork")
        and _runs_alone(waiting)
        and _is_small()
        and _HATES_FORKS.isdisjoint(sys.modules)
        and sys.gettrace() is None
        and sys.getprofile() is None
        and all(_is_harmless(name, module) for name, module in list(dict(sys.modules).items()))
    )


def _runs_alone(waiting: int) -> bool:
    import threading as shared

    if shared.current_thread() is not shared.main_thread():
        return False
    try:
        for _ in range(_LOOKS):
            if len(os.listdir("/proc/self/task")) <= 1 + waiting:
                return True
            time.sleep(_PAUSE)
    except OSError:
        pass
    return False


def _is_small() -> bool:
    from procession.system.posix import resource

    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    if not 0 < stack <= _MOST_STACK:
        return False
    try:
        with open("/proc/self/statm", "rb") as file:
            resident = int(file.read().split()[1]) * resource.getpagesize()
        return resident <= _MOST_MEMORY and len(os.listdir("/proc/self/fd")) <= _MOST_DESCRIPTORS
    except OSError:
        return False


def _is_harmless(name: str, module: Any) -> bool:
    """Whether a module is the standard library's, or Python code."""
    if name in _C_CODE or _stays(name):
        return True
    file = getattr(module, "__file__", None)
    return file is None or file.endswith((".py", ".pyc"))


def _stays(name: str) -> bool:
    top = name.partition(".")[0]
    if top == "__main__":
        return False
    return top in sys.stdlib_module_names or top.startswith(_OF_SITE)


def fork_server(requests: int, tracker: int, path: Sequence[str], *, by_value: bool) -> int:
    """Fork a server; gives its process id.

    Args:
        requests: The server's end of the sockets by which it is asked.
        tracker: Where the resource tracker that it is to start reads; -1 if one runs.
        path: Its `sys.path`.
        by_value: Whether items will come by cloudpickle, which it then loads before it serves.
    """
    with forking, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of our own thread, which waits
        pid = fork()
    if pid == 0:
        try:
            _drop_inherited({requests, tracker})
            sys.path[:] = path
            exec(_SERVE.format(requests, tracker, by_value), vars(sys.modules["__main__"]))
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(0)
    return pid


# -- in the server -------------------------------------------------------------------------------


def _drop_inherited(kept: set[int]) -> None:
    gc.disable()
    # One more reference to each: none of them ends here, so none of their finalizers runs.
    _kept.append(gc.get_objects())
    gc.callbacks.clear()
    cpython.clear_exit_handlers()
    cpython.forget_finalizers()
    _drop_hooks()
    _drop_signal_handlers()
    _drop_descriptors(kept)
    _renew_streams()
    _drop_modules()
    _drop_logging()


def _drop_hooks() -> None:
    import threading as shared

    sys.excepthook, sys.displayhook = sys.__excepthook__, sys.__displayhook__
    sys.unraisablehook, shared.excepthook = sys.__unraisablehook__, shared.__excepthook__
    shared.settrace(None)
    shared.setprofile(None)
    sys.setswitchinterval(0.005)  # as a program begins with
    tracing = sys.modules.get("tracemalloc")
    if tracing is not None:
        tracing.stop()
    faults = sys.modules.get("faulthandler")
    if faults is not None:
        faults.disable()  # its watchdog did not come along, and to cancel it would wait for it


def _drop_signal_handlers() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _drop_descriptors(kept: set[int]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for entry in os.listdir("/proc/self/fd"):
        number = int(entry)
        if number > 2 and number != null and number not in kept:
            try:
                inheritable = os.get_inheritable(number)
            except OSError:
                continue  # the one that listed the folder
            try:
                os.dup2(null, number, inheritable)
            except OSError:  # its number is above the limit (RLIMIT_NOFILE), lowered since
                close_descriptor(number)
    close_descriptor(null)


def _renew_streams() -> None:
    """What the program has not written yet is the program's to write."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, f"__{name}__")
        if isinstance(old, io.TextIOWrapper):
            raw = io.FileIO(number, "wb", closefd=False)
            raw.name = f"<{name}>"
            through = old.write_through
            made = io.TextIOWrapper(
                raw if through and name == "stdout" else io.BufferedWriter(raw),
                encoding=old.encoding,
                errors=old.errors,
                line_buffering=old.line_buffering,
                write_through=through,
            )
            made.mode = "w"  # type: ignore[misc]
            setattr(sys, f"__{name}__", made)
        setattr(sys, name, getattr(sys, f"__{name}__"))
    sys.stdin = sys.__stdin__


def _drop_modules() -> None:
    for name, module in list(dict(sys.modules).items()):
        if not _stays(name):
            _kept.append(module)
            del sys.modules[name]
    sys.modules["__main__"] = ModuleType("__main__")
    vars(sys.modules["__main__"])["__builtins__"] = sys.modules["builtins"]
    for name in ("last_type", "last_value", "last_traceback", "last_exc", "ps1", "ps2"):
        if hasattr(sys, name):
            delattr(sys, name)


def _loggers(logging: Any) -> Iterator[Any]:
    yield logging.root
    for each in logging.root.manager.loggerDict.values():
        if isinstance(each, logging.Logger):
            yield each


def _drop_logging() -> None:
    """Loggers are as in a program that has set none up."""
    logging: Any = sys.modules.get("logging")
    if logging is None:
        return
    logging.captureWarnings(False)
    logging.disable(logging.NOTSET)
    logging.setLogRecordFactory(logging.LogRecord)
    logging.setLoggerClass(logging.Logger)
    logging.raiseExceptions = True
    for logger in _loggers(logging):
        logger.handlers, logger.filters = [], []
        logger.propagate, logger.disabled = True, False
        logger.setLevel(logging.WARNING if logger is logging.root else logging.NOTSET)
    known = logging.root.manager.loggerDict
    for name in [each for each in known if not _stays(each)]:
        del known[name]
