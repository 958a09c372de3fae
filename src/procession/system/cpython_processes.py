"""Every private name of CPython by which processes are started, and executors looked into.

A release may change any of them. `tests/system/test_cpython.py` has a test of each one's meaning.
The others are in `procession.system.cpython`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib import import_module

from procession.hints import Any
from procession.system.cpython import tracker
from procession.system.pristine import close_descriptor


def lose_tracker() -> None:
    """Forget the resource tracker, as the program has closed its descriptor."""
    known = tracker()
    if known is not None:
        known._fd = known._pid = None


def has_tracker() -> bool:
    """Whether a resource tracker was started, or is used by this process."""
    known = tracker()
    return known is not None and known._fd is not None


@contextmanager
def tracker_to_start() -> Generator[int, None, None]:
    """Have another process be the resource tracker: where it is to read; -1 if there is one.

    If what runs inside fails, there is none.
    """
    from multiprocessing import resource_tracker

    known: Any = getattr(resource_tracker, "_resource_tracker")  # noqa: B009 - not typed
    with known._lock:
        if known._fd is not None:
            yield -1
            return
        reads, writes = os.pipe()
        try:
            yield reads
            known._fd, writes = writes, -1
        finally:
            close_descriptor(reads)
            if writes >= 0:
                close_descriptor(writes)


def adopt_tracker(descriptor: int | None) -> None:
    """Use another process's resource tracker from now on."""
    from multiprocessing import resource_tracker

    known: Any = getattr(resource_tracker, "_resource_tracker")  # noqa: B009 - not typed
    known._fd = descriptor


def interpreter_arguments() -> list[str]:
    """The options of this interpreter, such as ``-W error``, to start another one with."""
    import subprocess

    known: Any = subprocess
    found: list[str] = known._args_from_interpreter_flags()
    return found


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


def executor_processes(executor: Any) -> Any:
    """The worker processes of an executor by pid, the standard library's or loky's, or `None`."""
    return getattr(executor, "_processes", None)


def never_idle(executor: Any) -> None:
    """Have an executor of the standard library start a worker whenever it may have one more."""
    executor._idle_worker_semaphore = _NoneIdle()


class _NoneIdle:
    """Stands in for the count of idle workers: there is always one to be started."""

    def acquire(self, *_: Any, **__: Any) -> bool:
        return False

    def release(self) -> None:
        pass


def process_pipes(process: Any) -> Any:
    """What holds the pipes of a process object of `multiprocessing`; `None` if nothing does."""
    return getattr(process, "_popen", None)


def executor_threads(executor: Any) -> list[Any]:
    """The threads of an executor that has not been shut down, the standard library's or loky's."""
    if getattr(executor, "_shutdown", False):
        return []
    manager = getattr(executor, "_executor_manager_thread", None)
    return [*getattr(executor, "_threads", ()), *([manager] if manager is not None else [])]


def is_broken(executor: Any) -> bool:
    """Whether an executor of the standard library has lost a worker."""
    return bool(getattr(executor, "_broken", False))


def result_writer(executor: Any) -> Any:
    """This process's writing end of the queue by which an executor's workers answer, or `None`."""
    return getattr(getattr(executor, "_result_queue", None), "_writer", None)
