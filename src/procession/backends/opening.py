"""How a new pool is opened, on each backend, and where it cannot run."""

from __future__ import annotations

import sys

from procession.backends.library_settings import warn_of_settings
from procession.backends.pool_choice import Choice, thread_cap
from procession.contract import Backend
from procession.errors import BackendUnavailable
from procession.hints import Any
from procession.system.limits import must_be_main_interpreter
from procession.system.posix import OWN_WORKERS, refuse
from procession.system.pristine import natural, queues_are_natural
from procession.worker.current import is_loading

__all__ = ["is_loaded", "open_backend"]

_MODULES = {
    "process": "procession.backends.process",
    "loky": "loky.process_executor",
    "stdlib": "concurrent.futures.process",
}


def is_loaded(backend: Any) -> bool:
    """Whether the modules that such a backend's pools need are loaded, which may take 100 ms."""
    return _MODULES.get(backend, "sys") in sys.modules if isinstance(backend, str) else True


def open_backend(choice: Choice) -> Backend:
    """Make a new backend for these options."""
    options = choice.options
    warn_of_settings(options)
    if choice.on_cluster:
        return _cluster(choice)
    if choice.isolated or options.backend in ("process", "loky", "stdlib"):
        must_be_main_interpreter()
    if choice.isolated or options.backend == "process":
        if not OWN_WORKERS:
            raise _refused(choice)
        return _process(choice)
    if not (natural() and queues_are_natural()):
        _refuse_greenlets(options.backend)
    if options.backend == "thread":
        from procession.backends.thread import ThreadBackend

        return ThreadBackend(options.workers, options.initializer, options.initargs)
    from procession.backends.executor_backend import executor_backend

    return executor_backend(options)


def _refused(choice: Choice) -> BackendUnavailable:
    """Procession's own workers cannot run on this platform."""
    if choice.isolated:
        return refuse(
            "A process for one call alone (@isolated)",
            "Write @background with backend='loky': a crash then costs only the call that made it, "
            "but workers are used again; or run it on a POSIX system, such as Linux or WSL.",
        )
    return refuse("backend='process'")


def _refuse_greenlets(backend: Any) -> None:
    """An executor that waits by greenlets hangs as soon as a thread waits for it.

    Raises:
        BackendUnavailable: It does.
    """
    kind = type(backend).__module__
    if backend in ("thread", "loky", "stdlib") or kind.startswith(("concurrent.", "loky.")):
        raise BackendUnavailable(
            f"backend={backend!r} cannot run here: gevent or eventlet has put greenlets in the "
            "place of its threads and queues, so its calls would never end. Write "
            "backend='process', which runs under these patches."
        )


def _cluster(choice: Choice) -> Backend:
    if choice.options.backend == "ray":
        from procession.backends.ray_cluster import ray_backend

        return ray_backend(choice)
    from procession.backends.dask_cluster import dask_backend

    return dask_backend(choice)


def _process(choice: Choice) -> Backend:
    from procession.process.start.starting import prepare

    options = choice.options
    if not is_loading():
        prepare(options.context)  # first of all: it boots while the rest is loaded here
    from procession.backends.process import ProcessBackend, isolated_spec
    from procession.process.pool.worker_starts import WorkerSpec

    spec = WorkerSpec(
        options.context,
        options.initializer,
        options.initargs,
        options.max_tasks_per_worker,
        thread_cap(options),
    )
    if choice.isolated:
        spec = isolated_spec(spec, choice.module)
    return ProcessBackend(spec, options.workers, single_use=choice.isolated)
