"""Executors as backends: loky's and the standard library's, made to our options, and the user's."""

from __future__ import annotations

import importlib.util
import os
import sys
from concurrent.futures import Executor
from typing import Any

from procession.backends.executors.executor_backend import ExecutorBackend
from procession.backends.executors.far_side import Setup, set_up
from procession.configuration import Options
from procession.errors import BackendUnavailable
from procession.pickling.packed_initializer import Packed
from procession.system.descriptors import has_proc
from procession.system.limits import is_python, must_execute

__all__ = ["executor_backend"]

_IDLE_SECONDS = 60
"""How long loky keeps an idle worker."""


def executor_backend(options: Options, initializer: Packed) -> ExecutorBackend:
    """The backend for ``backend="loky"``, ``"stdlib"`` or an executor instance."""
    backend = options.backend
    if backend == "loky":
        return ExecutorBackend(
            lambda workers: _loky(options, initializer, workers), options.workers, "loky"
        )
    if backend == "stdlib":
        return ExecutorBackend(
            lambda workers: _stdlib(options, initializer, workers), options.workers, "stdlib"
        )
    assert isinstance(backend, Executor)
    workers = getattr(backend, "_max_workers", None) or options.workers
    local = type(backend).__module__.startswith(("concurrent.", "loky.", "procession."))
    name = type(backend).__name__
    return ExecutorBackend(lambda _: backend, workers, name, owned=False, local=local)


def _setup(options: Options, initializer: Packed, *, forked: bool) -> Setup:
    from procession.backends.registry import thread_cap
    from procession.process.far_side.worker_setup import surroundings
    from procession.system import lifeline

    life, around = lifeline.ticket(), surroundings()
    return Setup(os.getpid(), thread_cap(options), initializer, forked, life, around)


def _loky(options: Options, initializer: Packed, workers: int) -> Executor:
    must_execute("loky")
    _can_measure()
    from loky import ProcessPoolExecutor

    context: Any = options.context
    method = context if isinstance(context, str) else getattr(context, "_name", None)
    if context == "loky":
        context = None  # loky's own default
    elif context is not None:
        context = _context(context)
    setup = _setup(options, initializer, forked=method == "fork")
    return ProcessPoolExecutor(
        workers,
        timeout=_IDLE_SECONDS,
        context=context,
        initializer=set_up,
        initargs=(setup,),
        env=_variables(setup),
    )


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


def _stdlib(options: Options, initializer: Packed, workers: int) -> Executor:
    from concurrent.futures import ProcessPoolExecutor

    context = options.context
    if context is None:
        context = "spawn" if is_python() or not hasattr(os, "fork") else "fork"
    context = _context(context)
    if context.get_start_method() != "fork":
        must_execute(context.get_start_method())
    setup = _setup(options, initializer, forked=context.get_start_method() == "fork")
    executor = ProcessPoolExecutor(
        workers,
        mp_context=context,
        initializer=set_up,
        initargs=(setup,),
        max_tasks_per_child=options.max_tasks_per_worker,
    )
    if options.max_tasks_per_worker is not None:
        # It counts a worker that has just retired as idle, starts none, and hangs (cpython#115634).
        executor._idle_worker_semaphore = _NobodyIdle()  # type: ignore[assignment]
    return executor


class _NobodyIdle:
    """Stands in for the executor's count of idle workers: there is always one to be started."""

    def acquire(self, *_: Any, **__: Any) -> bool:
        return False

    def release(self) -> None:
        pass


def _context(context: Any) -> Any:
    from procession.backends.executors.start_contexts import without_main

    return without_main(context)
