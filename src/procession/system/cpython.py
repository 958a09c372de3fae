"""Every private name of CPython that Procession uses.

A release may change any of them. `tests/system/test_cpython.py` has a test of each one's meaning.
Some more are used where they belong, and are tested there too:

* the attributes that `procession.futures` shares with its base class;
* what `procession.system.pristine` copies, and the bytecode in `procession.system.bytecode`;
* the C modules below `locale`, `socket` and `csv`, which `procession.forwarding.process_settings`
  asks without an import;
* the cache of a logger, in which `procession.forwarding.outgoing` leaves a mark;
* the exit handlers, which the first file of an isolated test's process runs by itself: it imports
  nothing of Procession.
"""

from __future__ import annotations

import copyreg
import os
import sys
from collections.abc import Callable, Collection, Generator, Mapping
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
    "at_threads_end",
    "become_main_thread",
    "begin_abstract",
    "clear_exit_handlers",
    "environment",
    "execute_extension",
    "forget_finalizers",
    "go_on_importing",
    "has_gil",
    "import_anew",
    "import_lock",
    "imports_elsewhere",
    "is_owned",
    "loaded",
    "locked_at_fork",
    "method_of",
    "module_from_spec",
    "newest_module",
    "object_makers",
    "open_semaphore",
    "pickle",
    "python_unpickler",
    "renew_lock",
    "renew_tracker",
    "run_exit_handlers",
    "slot_names",
    "tracker",
    "variable",
    "virtual_subclasses",
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


def newest_module() -> str:
    """The name of the module that was imported last."""
    while True:
        try:
            return next(reversed(sys.modules))
        except RuntimeError:
            continue  # another thread imports


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


def tracker() -> Any:
    """The resource tracker of `multiprocessing`, if that is loaded; else `None`."""
    module: Any = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(module, "_resource_tracker", None)


def renew_tracker() -> None:
    """In a forked child: open the lock of the resource tracker.

    Python does so itself in releases to come (gh-146313).
    """
    known = tracker()
    if known is not None:
        known._lock._at_fork_reinit()


def method_of(context: Any) -> str:
    """The start method that a context object stands for."""
    # Asking the default context for its name would fix the default for the whole program.
    return str(getattr(context, "_name", None) or context.get_start_method())


def open_semaphore(address: int, kind: int, highest: int) -> Any:
    """The semaphore (a C ``sem_t``) that lies at an address, as `multiprocessing` has it."""
    semaphores: Any = import_module("_multiprocessing")
    return semaphores.SemLock._rebuild(address, kind, highest, None)


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


def slot_names(cls: type) -> list[str]:
    """The slots of a class and of its bases, under their mangled names."""
    known: Any = copyreg
    names: list[str] = known._slotnames(cls)
    return names


def manager_call(manager: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
    """What `contextlib.contextmanager` has called to make a manager; `None` once it was entered."""
    try:
        return manager.func, manager.args, manager.kwds
    except AttributeError:
        return None


def object_makers() -> tuple[Any, ...]:
    """What ``object.__reduce_ex__`` names to make an object again, by protocol."""
    known: Any = copyreg
    return known.__newobj__, known.__newobj_ex__, known._reconstructor


def virtual_subclasses(cls: Any) -> list[type]:
    """Those that were registered with an abstract base class."""
    import abc

    known: Any = abc
    found = [reference() for reference in known._get_dump(cls)[0]]
    return [each for each in found if each is not None]


def begin_abstract(cls: type) -> None:
    """Do for a class what the metaclass of abstract classes does when it makes one."""
    import abc

    known: Any = abc
    known._abc_init(cls)


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
