"""How the executors of loky and of the standard library are made to a call's options.

Their processes do not import the caller's ``__main__``, so no guard is needed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any

from procession.backends.executor_far_side import Setup, set_up
from procession.errors import BackendUnavailable
from procession.process.far_side.worker_setup import surroundings
from procession.system import cpython, cpython_processes, lifeline
from procession.system.descriptors import has_proc
from procession.system.limits import explained, is_python, must_execute, must_fit
from procession.system.posix import FORKS, OWN_WORKERS

if TYPE_CHECKING:  # a worker that spawn has started loads this module to start
    from procession.configuration import Options
    from procession.pickling.pickler import PackedInitializer
    from procession.worker.preparing import Cap

_LAUNCHED = ("spawn", "forkserver", "loky")
"""Start methods whose processes start by Procession's launcher."""

_IDLE_SECONDS = 60
"""How long loky keeps an idle worker."""


def make_executor(
    options: Options, initializer: PackedInitializer, threads: Cap | None, workers: int
) -> Executor:
    """Make the executor for ``backend="loky"`` or ``"stdlib"``.

    Args:
        options: The call's options.
        initializer: The initializer, packed.
        threads: The cap on OpenMP and BLAS threads.
        workers: How many it is to have.
    """
    life, around = lifeline.ticket(), surroundings()
    setup = Setup(os.getpid(), threads, initializer, lifeline=life, around=around)
    make = _loky if options.backend == "loky" else _stdlib
    with explained():
        return make(options, setup, workers)


def _loky(options: Options, setup: Setup, workers: int) -> Executor:
    must_execute("loky")
    must_fit()
    _can_measure()
    from loky import ProcessPoolExecutor

    context: Any = options.context
    named = context is None or isinstance(context, str)
    method = context if named else cpython.method_of(context)
    # On Windows loky's way is to spawn, too, without the caller's `__main__`.
    own = context in (None, "loky") or not FORKS
    context = _context(_own_context() if own else context)
    setup = setup._replace(forked=method == "fork")
    return ProcessPoolExecutor(
        workers,
        timeout=_IDLE_SECONDS,
        context=context,
        initializer=set_up,
        initargs=(setup,),
        env=_variables(setup),
    )


def _own_context() -> Any:
    """loky's default context, and not that of the copy of loky in joblib, which takes its name."""
    from loky.backend.context import ctx_loky, get_context

    chosen = get_context()
    return ctx_loky if chosen.get_start_method() == "loky" else chosen


def _variables(setup: Setup) -> dict[str, str]:
    """What loky's interpreters are told; `set_up` takes back what is not the user's."""
    from procession.process.start.hash_seed import VARIABLE, hash_seed

    caps = setup.threads.environment if setup.threads is not None else {}
    return {**caps, VARIABLE: hash_seed()}


def _can_measure() -> None:
    """Loky's workers look at their memory through psutil, if that is installed, and end if they
    cannot.

    Raises:
        BackendUnavailable: They cannot.
    """
    if sys.platform == "linux" and not has_proc() and importlib.util.find_spec("psutil"):
        raise BackendUnavailable(
            "backend='loky' needs /proc here, which is not mounted: its workers measure their "
            "memory there with psutil. Mount it, or write backend='process'."
        )


def _stdlib(options: Options, setup: Setup, workers: int) -> Executor:
    from concurrent.futures import ProcessPoolExecutor

    context = options.context
    if context is None:
        context = "spawn" if is_python() or not hasattr(os, "fork") else "fork"
    context = _context(context)
    method = context.get_start_method()
    if method != "fork":
        must_execute(method)
        must_fit()
    setup = setup._replace(forked=method == "fork")
    executor = ProcessPoolExecutor(
        workers,
        mp_context=context,
        initializer=set_up,
        initargs=(setup,),
        max_tasks_per_child=options.max_tasks_per_worker,
    )
    if options.max_tasks_per_worker is not None:
        # It counts a worker that has just retired as idle, starts none, and hangs (cpython#115634).
        cpython_processes.never_idle(executor)
    return executor


def _context(context: Any) -> Any:
    """A context whose processes do not import the caller's ``__main__``; on Windows they do.

    Args:
        context: The name of a start method, or a context object.
    """
    if isinstance(context, str):
        import multiprocessing

        context = multiprocessing.get_context(context)
    ours = OWN_WORKERS and context.get_start_method() in _LAUNCHED
    return _Context(context) if ours else context


class _Context:
    """A context whose processes start by Procession's launcher; all else is the real one's."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_context(self, method: str | None = None) -> Any:
        return self if method is None else self._real.get_context(method)

    def Process(self, *args: Any, **kwargs: Any) -> Any:
        from procession.process.start.launchers import authkey

        process = self._real.Process(*args, **kwargs)
        cpython_processes.set_process_key(process, authkey())
        # An instance attribute travels with the process object, so it must be importable.
        cpython_processes.set_launcher(process, partial(_start, self._real.get_start_method()))
        return process


def _start(method: str, process: Any) -> Any:
    from procession.process.start.launchers import launcher

    return launcher(method)(process)
