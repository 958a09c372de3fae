"""Every private name of CPython that Procession uses.

A release may change any of them. `tests/system/test_cpython.py` has a test of each one's meaning.
Three more sets are used where they belong, and tested there too: the attributes that
`procession.futures` shares with its base class, what `procession.system.pristine` copies, and the
bytecode in `procession.system.bytecode`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FunctionType

from procession.hints import TYPE_CHECKING, Any
from procession.system.pristine import threading

if TYPE_CHECKING:
    import pickle as pickle
else:
    try:
        import _pickle as pickle  # what pickle takes from there, without pickle's own import of re
    except ImportError:
        import pickle

__all__ = [
    "accept",
    "adopt_tracker",
    "at_threads_end",
    "become_main_thread",
    "bootstrap",
    "can_fork_exec",
    "clear_exit_handlers",
    "context_of",
    "default_context_kept",
    "environment",
    "execute_extension",
    "executor_threads",
    "forget_finalizers",
    "fork_exec",
    "go_on_importing",
    "has_gil",
    "import_anew",
    "import_lock",
    "imports_elsewhere",
    "interpreter_arguments",
    "is_owned",
    "loaded",
    "locked_at_fork",
    "log_settings",
    "lose_tracker",
    "method_of",
    "module_from_spec",
    "open_semaphore",
    "pickle",
    "python_unpickler",
    "renew_lock",
    "renew_tracker",
    "result_writer",
    "run_exit_handlers",
    "run_spawned",
    "set_launcher",
    "set_process_key",
    "tracker_to_start",
    "variable",
    "warning_filters_changed",
]

# -- locks ---------------------------------------------------------------------------------------


def is_owned(lock: Any) -> bool:
    """Whether the calling thread holds a reentrant lock."""
    return bool(lock._is_owned())


def renew_lock(lock: Any) -> None:
    """In a forked child: open a lock, whichever thread held it."""
    lock._at_fork_reinit()


# -- imports -------------------------------------------------------------------------------------

_LOCKED_AT_FORK = {"logging": "_lock", "concurrent.futures.thread": "_global_shutdown_lock"}
"""Modules that take a lock before a fork and release it after."""


def locked_at_fork() -> dict[str, Any]:
    """Those of them that are loaded, each with its lock."""
    found = {name: getattr(sys.modules.get(name), it, None) for name, it in _LOCKED_AT_FORK.items()}
    return {name: lock for name, lock in found.items() if lock is not None}


def _module_locks() -> dict[str, Any]:
    held: dict[str, Any] = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    return held


def imports_elsewhere(but: Collection[str] = ()) -> list[tuple[str, bool]]:
    """The modules that other threads import, each with whether it has begun.

    Args:
        but: Modules to leave out.
    """
    found = [(name, weak()) for name, weak in list(_module_locks().items())]
    me = threading.get_ident()
    return [
        (name, lock.owner is not None)
        for name, lock in found
        if getattr(lock, "owner", me) != me and name not in but
    ]


def loaded(name: str) -> Any:
    """A module, if it has been imported, and not only in part, as by another thread just now."""
    module = sys.modules.get(name)
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module


@contextmanager
def import_lock(name: str) -> Generator[None, None, None]:
    """Other threads that import this module wait, before they begin, until this is over."""
    importing: Any = sys.modules["_frozen_importlib"]
    with importing._ModuleLockManager(name):
        yield


def module_from_spec(spec: Any) -> Any:
    """As `importlib.util` has it, which need not be loaded."""
    importing: Any = sys.modules["_frozen_importlib"]
    return importing.module_from_spec(spec)


def execute_extension(module: Any, importing: Callable[..., Any]) -> None:
    """Run what an extension module does when it is loaded; it imports by this function.

    C code imports by the ``__import__`` that the code which called it has among its builtins.
    """
    import _imp
    import builtins

    space = {"__builtins__": {**vars(builtins), "__import__": importing}}
    FunctionType(_call_with.__code__, space)(_imp.exec_dynamic, module)


def _call_with(call: Callable[[Any], Any], value: Any) -> None:
    call(value)


def go_on_importing(name: str) -> None:
    """In a forked child: have a module, which another thread imports, go on as far as it is."""
    _module_locks().pop(name, None)
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is not None:
        spec._initializing = False


def import_anew(name: str) -> None:
    """In a forked child: have a module, which another thread imported, imported anew."""
    _module_locks().pop(name, None)
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if getattr(spec, "_initializing", False):
        del sys.modules[name]


# -- threads and the program's end ---------------------------------------------------------------


def become_main_thread() -> None:
    """In a forked child: the thread that forked was a helper, and is the main one here."""
    from threading import current_thread

    thread: Any = current_thread()
    thread.name = "MainThread"
    thread._daemonic = False


def at_threads_end(call: Callable[[], object]) -> None:
    """Call it when the main thread has ended, before the handlers that were registered earlier.

    Raises:
        RuntimeError: The main thread has ended already.
    """
    import threading as shared

    add = getattr(shared, "_register_atexit", None)
    if add is not None:
        add(call)


def clear_exit_handlers() -> None:
    """In a forked child: forget its parent's exit handlers, but for that of `multiprocessing`."""
    import atexit
    from multiprocessing import util

    end: Any = getattr(util, "_exit_function")  # noqa: B009 - not typed
    atexit._clear()
    atexit.register(end)


def forget_finalizers() -> None:
    """In a forked child: no `weakref.finalize` of its parent is called, but new ones are."""
    from weakref import finalize

    known: Any = finalize
    known._registry.clear()
    known._registered_with_atexit = False


def run_exit_handlers() -> None:
    """Run them now; a process that ends by `os._exit` does not."""
    import atexit

    atexit._run_exitfuncs()


# -- multiprocessing -----------------------------------------------------------------------------


def _tracker() -> Any:
    module: Any = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(module, "_resource_tracker", None)


def renew_tracker() -> None:
    """In a forked child: open the lock of the resource tracker.

    Python does so itself in releases to come (gh-146313).
    """
    tracker = _tracker()
    if tracker is not None:
        tracker._lock._at_fork_reinit()


def lose_tracker() -> None:
    """Forget the resource tracker, as the program has closed its descriptor."""
    tracker = _tracker()
    if tracker is not None:
        tracker._fd = tracker._pid = None


@contextmanager
def tracker_to_start() -> Generator[int, None, None]:
    """Have another process be the resource tracker: where it is to read; -1 if there is one.

    If what runs inside fails, there is none.
    """
    from multiprocessing import resource_tracker

    tracker: Any = getattr(resource_tracker, "_resource_tracker")  # noqa: B009 - not typed
    with tracker._lock:
        if tracker._fd is not None:
            yield -1
            return
        reads, writes = os.pipe()
        try:
            yield reads
            tracker._fd, writes = writes, -1
        finally:
            os.close(reads)
            if writes >= 0:
                os.close(writes)


def adopt_tracker(descriptor: int | None) -> None:
    """Use another process's resource tracker from now on."""
    from multiprocessing import resource_tracker

    tracker: Any = getattr(resource_tracker, "_resource_tracker")  # noqa: B009 - not typed
    tracker._fd = descriptor


def interpreter_arguments() -> list[str]:
    """The options of this interpreter, such as ``-W error``, to start another one with."""
    import subprocess

    known: Any = subprocess
    found: list[str] = known._args_from_interpreter_flags()
    return found


def method_of(context: Any) -> str:
    """The start method that a context object stands for."""
    # Asking the default context for its name would fix the default for the whole program.
    return str(getattr(context, "_name", None) or context.get_start_method())


def context_of(method: str) -> Any:
    """The context of a start method.

    Not by `get_context`, which asks whether sockets pass descriptors: eventlet's do not.
    """
    import multiprocessing.context as contexts

    known: Any = contexts
    return known._concrete_contexts[method]


@contextmanager
def default_context_kept() -> Generator[None, None, None]:
    """What runs inside does not fix the program's start method."""
    import multiprocessing.context as contexts

    default: Any = getattr(contexts, "_default_context")  # noqa: B009 - not typed
    before = default._actual_context
    try:
        yield
    finally:
        default._actual_context = before


def log_settings() -> dict[str, Any]:
    """What a child is told of the logger of `multiprocessing`."""
    from multiprocessing import util

    known: Any = util
    settings = {"log_to_stderr": known._log_to_stderr}
    if known._logger is not None:
        settings["log_level"] = known._logger.getEffectiveLevel()
    return settings


def set_process_key(process: Any, key: Any, *, daemon: bool | None = None) -> None:
    """Set the key of a process that is to be started, and whether it may have children."""
    process._config["authkey"] = key
    if daemon is not None:
        process._config["daemon"] = daemon


def set_launcher(process: Any, launch: Callable[[Any], Any]) -> None:
    """Have `process.start()` start it by this; it travels with the object, so by its name."""
    process._Popen = launch


def bootstrap(process: Any, parent_sentinel: int) -> int:
    """In a forked child: run what the process is for; gives its exit code."""
    code: int = process._bootstrap(parent_sentinel=parent_sentinel)
    return code


def run_spawned(descriptor: int, sentinel: int) -> int:
    """Run what is read from a descriptor, as a spawned process does; gives its exit code."""
    from multiprocessing import spawn

    known: Any = spawn
    code: int = known._main(descriptor, sentinel)
    return code


def open_semaphore(address: int, kind: int, highest: int) -> Any:
    """The semaphore (a C ``sem_t``) that lies at an address, as `multiprocessing` has it."""
    semaphores: Any = import_module("_multiprocessing")
    return semaphores.SemLock._rebuild(address, kind, highest, None)


# -- executing -----------------------------------------------------------------------------------


def can_fork_exec() -> bool:
    """Whether `fork_exec` can be called on this system."""
    try:
        import_module("_posixsubprocess")
    except ImportError:
        return False
    return True


def fork_exec(
    path: bytes,
    arguments: Sequence[bytes],
    variables: Sequence[bytes],
    kept: tuple[int, ...],
    says: tuple[int, int],
) -> int:
    """Execute a program with these descriptors and variables; gives its process id.

    Args:
        path: The program.
        arguments: Its arguments, itself the first one.
        variables: Its environment, each as ``name=value``.
        kept: The descriptors that it has open, in order.
        says: A pipe by which it says why it could not be executed.

    Raises:
        ImportError: There is no such thing on this system.
    """
    import subprocess

    run: Any = import_module("_posixsubprocess").fork_exec
    vfork = [getattr(subprocess, "_USE_VFORK", True)] if sys.version_info < (3, 14) else []
    pid: int = run(
        *(arguments, [path], True, kept, None, variables, *(-1,) * 6, *says),
        *(False, False, -1, None, None, None, -1, None, *vfork),
    )
    return pid


# -- others --------------------------------------------------------------------------------------

environment: Mapping[Any, Any] | None = getattr(os.environ, "_data", None)
"""What `os.environ` keeps its variables in, encoded: looking at that costs a tenth of the mapping.
`None` if it is not known."""


def variable(name: str) -> Any:
    """The name of a variable as `environment` has it."""
    known: Any = os.environ
    return known.encodekey(name)


def accept(listener: Any) -> int:
    """Accept a connection; gives its descriptor."""
    descriptor: int = listener._accept()[0]
    return descriptor


def has_gil() -> bool:
    """Whether threads switch between calls of C code only."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def warning_filters_changed() -> None:
    """Have the interpreter look at `warnings.filters` again."""
    import warnings

    known: Any = warnings
    known._filters_mutated()


def python_unpickler() -> Any:
    """`pickle.Unpickler` in Python code, whose steps a subclass can replace."""
    import pickle

    return pickle._Unpickler


def executor_threads(executor: Any) -> list[Any]:
    """The threads of an executor that has not been shut down, the standard library's or loky's."""
    if getattr(executor, "_shutdown", False):
        return []
    manager = getattr(executor, "_executor_manager_thread", None)
    return [*getattr(executor, "_threads", ()), *([manager] if manager is not None else [])]


def result_writer(executor: Any) -> Any:
    """This process's writing end of the queue by which an executor's workers answer, or `None`."""
    return getattr(getattr(executor, "_result_queue", None), "_writer", None)
