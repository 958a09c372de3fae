"""What other libraries call our options, and which option a misspelt name is nearest to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from procession.errors import OptionError

__all__ = ["ALIASES", "VERBS", "as_option", "nearest", "no_such_option", "short"]

ALIASES: Final[dict[str, str]] = {
    "n_jobs": "workers",
    "njobs": "workers",
    "max_workers": "workers",
    "n_workers": "workers",
    "num_workers": "workers",
    "nworkers": "workers",
    "processes": "workers",
    "n_processes": "workers",
    "num_processes": "workers",
    "nprocs": "workers",
    "n_procs": "workers",
    "num_procs": "workers",
    "nproc": "workers",
    "pool_size": "workers",
    "poolsize": "workers",
    "cores": "workers",
    "n_cores": "workers",
    "cpus": "workers",
    "num_cpus": "workers",
    "n_cpus": "workers",
    "concurrency": "workers",
    "jobs": "workers",
    "executor": "backend",
    "engine": "backend",
    "prefer": "backend",
    "scheduler": "address",
    "scheduler_address": "address",
    "cluster": "address",
    "mp_context": "context",
    "start_method": "context",
    "startmethod": "context",
    "method": "context",
    "ctx": "context",
    "chunksize": "chunk",
    "chunk_size": "chunk",
    "chunks": "chunk",
    "batch_size": "chunk",
    "batchsize": "chunk",
    "buffersize": "window",
    "buffer_size": "window",
    "pre_dispatch": "window",
    "prefetch": "window",
    "max_tasks_active": "window",
    "max_latency": "deadline",
    "call_timeout": "deadline",
    "total_timeout": "deadline",
    "expires": "deadline",
    "max_queue": "max_pending",
    "max_queued": "max_pending",
    "max_waiting": "max_pending",
    "queue_size": "max_pending",
    "queue_limit": "max_pending",
    "max_queue_size": "max_pending",
    "backlog": "max_pending",
    "time_limit": "timeout",
    "timeout_seconds": "timeout",
    "task_timeout": "timeout",
    "worker_timeout": "timeout",
    "max_time": "timeout",
    "seconds": "timeout",
    "max_retries": "retries",
    "retry": "retries",
    "n_retries": "retries",
    "num_retries": "retries",
    "attempts": "retries",
    "max_attempts": "retries",
    "retry_wait": "retry_delay",
    "retry_backoff": "retry_delay",
    "backoff": "retry_delay",
    "delay": "retry_delay",
    "exceptions": "retry_on",
    "retry_exceptions": "retry_on",
    "memory": "memory_limit",
    "mem_limit": "memory_limit",
    "max_memory": "memory_limit",
    "memlimit": "memory_limit",
    "maxtasksperchild": "max_tasks_per_worker",
    "max_tasks_per_child": "max_tasks_per_worker",
    "max_tasks": "max_tasks_per_worker",
    "max_calls": "max_tasks_per_worker",
    "worker_lifespan": "max_tasks_per_worker",
    "init": "initializer",
    "worker_init": "initializer",
    "initialiser": "initializer",
    "setup": "initializer",
    "init_args": "initargs",
    "initializer_args": "initargs",
    "inner_max_num_threads": "threads_per_worker",
    "n_threads": "threads_per_worker",
    "num_threads": "threads_per_worker",
    "nthreads": "threads_per_worker",
    "threads": "threads_per_worker",
    "random_state": "seed",
    "random_seed": "seed",
    "pickler": "pickling",
    "serializer": "pickling",
    "use_dill": "pickling",
    "progress_bar": "progress",
    "progressbar": "progress",
    "show_progress": "progress",
    "verbose": "progress",
    "tqdm": "progress",
    "desc": "progress",
    "reduce": "combine",
    "join": "combine",
    "merge": "combine",
}
"""Another library's name → ours (concurrent.futures, multiprocessing, joblib, mpire, pebble, …)."""

_OTHER_MEANING: Final = frozenset({"attempts", "max_attempts", "verbose", "use_dill", "tqdm"})
"""Names whose value means something else than ours (attempts counts the first run as well)."""

VERBS: Final[dict[str, str]] = {
    "ordered": "Results come in the input's order; f.imap_unordered(items) gives them as they end.",
    "unordered": "Call f.imap_unordered(items) for results as they end.",
    "callback": "Call f.submit(...).add_done_callback(function).",
    "error_callback": "Call f.submit(...).add_done_callback(function).",
    "return_exceptions": "Call f.outcomes(items): one outcome per item, and none of them raises.",
    "daemon": "Workers never outlive this process; there is nothing to set.",
}
"""What others have as an option and we as a verb, or not at all."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The option a name stands for or is nearest to, or `None`."""
    folded = name.lower().replace("-", "_")
    alias = folded if folded in known else ALIASES.get(folded)
    if alias is not None:
        return alias
    import difflib

    for near in difflib.get_close_matches(folded, [*known, *ALIASES], 1, 0.7):
        return ALIASES.get(near, near)
    return None


def as_option(name: str, value: Any) -> str:
    """The option that a keyword of another library's stands for, as it is written with us.

    Args:
        name: The keyword; ours are taken as well.
        value: What was given for it; shown as it is if the option takes it.

    Returns:
        Such as ``"chunk=3"``; nothing if it is no such keyword.
    """
    from procession.configuration.parsers import OPTIONS

    option = name if name in OPTIONS else ALIASES.get(name, "")
    if not option:
        return ""
    if option == "workers" and value == -1:
        return "workers=procession.usable_cpus()"
    try:
        OPTIONS[option](value)
    except Exception:
        return f"{option}=…"
    shown = "…" if name in _OTHER_MEANING else short(value)
    return f"{option}={shown}"


def no_such_option(
    caller: str, name: str, value: Any, known: Mapping[str, Callable[[Any], Any]]
) -> OptionError:
    """The error for an unknown option: names the nearest one, with the value where it fits.

    Args:
        caller: Who was given it.
        name: The unknown name.
        value: What was given for it.
        known: Every option's parser, in order.
    """
    said = f"{caller}() has no option {name!r}."
    if name in VERBS:
        return OptionError(f"{said} {VERBS[name]}")
    near = nearest(name, known)
    if near is None:
        return OptionError(f"{said} The options are {', '.join(known)}.")
    if near == "workers" and isinstance(value, int) and value == -1:
        return OptionError(f"{said} Leave it out: all usable CPUs are the default of workers.")
    if name not in _OTHER_MEANING:
        try:
            known[near](value)
        except Exception:
            pass  # Not a value of ours; the name alone must do.
        else:
            shown = short(value)
            same = f"{near} and the same value" if shown.startswith("<") else f"{near}={shown}"
            return OptionError(f"{said} Write {same}.")
    return OptionError(f"{said} The nearest is {near!r}.")


def short(value: object) -> str:
    """A value as a reader would write it, cut to one line."""
    named = getattr(value, "__qualname__", None)
    if isinstance(named, str) and callable(value):
        return named
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."
