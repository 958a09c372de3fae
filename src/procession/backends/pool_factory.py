"""How a new pool is opened on each backend: where it cannot run, and what its workers lack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import reduce
from operator import getitem

from procession.backends.pool_choice import Choice, thread_cap
from procession.configuration import Options
from procession.contract import Backend
from procession.errors import BackendUnavailable, warn_user
from procession.hints import Any
from procession.system.limits import must_be_main_interpreter
from procession.system.posix import OWN_WORKERS, refuse
from procession.system.pristine import natural, queues_are_natural
from procession.worker.current import is_loading

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
    _warn_of_settings(options)
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
    from procession.process.start.start_methods import prepare

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


# -- settings of libraries -----------------------------------------------------------------------

_said: set[str] = set()

_LOOKS_ONLY = ("display.", "plotting.", "styler.", "io.")
"""Options of pandas that change how something is shown or written, and no result."""

_OF_XARRAY = {"arithmetic_join": "inner", "keep_attrs": "default"}
"""Those options of xarray that change results, and their defaults, which it keeps nowhere."""

_MOST_PIXELS = 1024 * 1024 * 1024 // 4 // 3
"""Pillow's default."""


def _warn_of_settings(options: Options) -> None:
    """Warn once of each library whose settings a pool's workers will not have.

    A library keeps its settings where it likes, and workers do not see those that the program has
    made. To look at the common ones takes less than a millisecond; nothing is imported for it.
    """
    if options.initializer is not None or options.backend in ("thread", "serial", "dask", "ray"):
        return
    try:
        found = list(_settings())
    except Exception:  # another release of a library keeps them elsewhere
        return
    for library, setting, write in found:
        if library not in _said:
            _said.add(library)
            warn_user(
                f"{setting} was set in this process, and workers do not see it: each imports "
                f"{library} with its defaults. Write a function that does so ({write}), call it "
                "here, and give it to the workers with initializer=."
            )


def _settings() -> Iterator[tuple[str, str, str]]:
    modules = sys.modules
    yield from _sklearn(modules.get("sklearn._config"))
    yield from _pandas(modules.get("pandas._config.config"))
    yield from _xarray(modules.get("xarray.core.options"))
    image: Any = modules.get("PIL.Image")
    if image is not None and image.MAX_IMAGE_PIXELS != _MOST_PIXELS:
        yield "PIL", "Pillow's MAX_IMAGE_PIXELS", "PIL.Image.MAX_IMAGE_PIXELS = ..."
    torch: Any = modules.get("torch")
    if torch is None:
        return
    if torch.get_default_dtype() is not torch.float32:
        yield "torch", "torch's default dtype", "torch.set_default_dtype(...)"
    if torch.are_deterministic_algorithms_enabled():
        call = "torch.use_deterministic_algorithms(True)"
        yield "torch", "torch's choice of deterministic algorithms", call


def _sklearn(config: Any) -> Iterator[tuple[str, str, str]]:
    if config is None:
        return
    for name, value in config.get_config().items():
        if value != config._global_config[name]:
            yield "sklearn", f"scikit-learn's {name}={value!r}", f"sklearn.set_config({name}=...)"


def _pandas(config: Any) -> Iterator[tuple[str, str, str]]:
    if config is None:
        return
    for name, option in config._registered_options.items():
        # Not by get_option, which warns of what it deprecates.
        value = reduce(getitem, name.split("."), config._global_config)
        if not name.startswith(_LOOKS_ONLY) and value != option.defval:
            yield "pandas", f"pandas' option {name}", f"pandas.set_option({name!r}, ...)"


def _xarray(options: Any) -> Iterator[tuple[str, str, str]]:
    if options is None:
        return
    for name, default in _OF_XARRAY.items():
        value = options.OPTIONS.get(name, default)
        if value != default:
            yield "xarray", f"xarray's {name}={value!r}", f"xarray.set_options({name}=...)"
