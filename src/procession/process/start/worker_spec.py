"""What shapes a worker process: pools with equal specs can share their workers."""

from __future__ import annotations

from typing import Any

from procession.system import NamedTuple
from procession.worker.preparing import Cap

__all__ = ["WorkerSpec"]


class WorkerSpec(NamedTuple):
    """How worker processes are started and set up.

    Attributes:
        context: ``"fork"``, ``"spawn"``, ``"forkserver"``, ``"loky"``, a `multiprocessing`
            context object, or `None` for the platform's safest fast one.
        initializer: Run once in each worker before its first item, with `initargs`.
        initargs: Its arguments.
        max_tasks_per_worker: Items after which a worker is replaced, or `None`. A chunk is never
            torn apart: a worker is replaced after the chunk that reaches the number.
        threads_per_worker: Cap for OpenMP and BLAS thread pools, or `None`.
        name: What the processes are called.
        preload: Modules that a worker imports before it is ready. What they raise is not lost: it
            is raised again by the items that need them.
    """

    context: Any = None
    initializer: Any = None
    initargs: tuple[Any, ...] = ()
    max_tasks_per_worker: int | None = None
    threads_per_worker: Cap | None = None
    name: str = "procession-worker"
    preload: tuple[str, ...] = ()
