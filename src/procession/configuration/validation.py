"""Checks options one by one: names, types, ranges, and what to write instead.

Also what other libraries call the options, and which option a misspelt name is nearest to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from procession.configuration.choices import WrongValue, short
from procession.configuration.compatibility import conflicts
from procession.configuration.parsers import OPTIONS
from procession.errors import OptionError
from procession.hints import Any

_OTHER_NAMES = {
    "workers": (
        "n_jobs njobs max_workers n_workers num_workers nworkers processes n_processes "
        "num_processes nprocs n_procs num_procs nproc pool_size poolsize cores n_cores "
        "cpus num_cpus n_cpus concurrency jobs"
    ),
    "backend": "executor engine prefer",
    "address": "scheduler scheduler_address cluster",
    "context": "mp_context start_method startmethod method ctx",
    "chunk": "chunksize chunk_size chunks batch_size batchsize",
    "window": "buffersize buffer_size pre_dispatch prefetch max_tasks_active",
    "deadline": "max_latency call_timeout total_timeout expires",
    "max_pending": "max_queue max_queued max_waiting queue_size queue_limit max_queue_size backlog",
    "timeout": "time_limit timeout_seconds task_timeout worker_timeout max_time seconds",
    "retries": "max_retries retry n_retries num_retries attempts max_attempts",
    "retry_delay": "retry_wait retry_backoff backoff delay",
    "retry_on": "exceptions retry_exceptions",
    "memory_limit": "memory mem_limit max_memory memlimit",
    "max_tasks_per_worker": (
        "maxtasksperchild max_tasks_per_child max_tasks max_calls worker_lifespan"
    ),
    "initializer": "init worker_init initialiser setup",
    "initargs": "init_args initializer_args",
    "threads_per_worker": "inner_max_num_threads n_threads num_threads nthreads threads",
    "seed": "random_state random_seed",
    "pickling": "pickler serializer use_dill",
    "progress": "progress_bar progressbar show_progress verbose tqdm desc",
    "combine": "reduce join merge",
}

ALIASES: dict[str, str] = {
    name: option for option, names in _OTHER_NAMES.items() for name in names.split()
}
"""Another library's name → ours (concurrent.futures, multiprocessing, joblib, mpire, pebble, …)."""

_OTHER_MEANING = frozenset({"attempts", "max_attempts", "verbose", "use_dill", "tqdm"})
"""Names whose value means something else than ours (attempts counts the first run as well)."""

VERBS: dict[str, str] = {
    "ordered": "Results come in the input's order; f.imap_unordered(items) gives them as they end.",
    "unordered": "Call f.imap_unordered(items) for results as they end.",
    "callback": "Call f.submit(...).add_done_callback(function).",
    "error_callback": "Call f.submit(...).add_done_callback(function).",
    "return_exceptions": "Call f.outcomes(items): one outcome per item, and none of them raises.",
    "daemon": "Workers never outlive this process; there is nothing to set.",
}
"""What others have as an option and we as a verb, or not at all."""


def validate(
    values: Mapping[str, Any],
    *,
    caller: str,
    decorator: str = "",
    over: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Check options as a person wrote them.

    Args:
        values: The options by name.
        caller: Who was given them, for messages: ``"parallel_map"``, ``"with_options"``, ….
        decorator: The decorator of the function they are for, if it is known and is not the
            caller. Only ``"parallel_chunks"`` has a `combine`.
        over: Options of the same function that `values` are laid over.

    Returns:
        The same options with their values in one form: sizes in bytes, seconds as floats,
        `retry_on` and `initargs` as tuples.

    Raises:
        OptionError: An unknown name, a wrong type, a value out of range, or two options that
            cannot both be.
    """
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in OPTIONS:
            raise _no_such_option(caller, name, value)
        if name == "combine" and "parallel_chunks" not in (caller, decorator):
            raise OptionError(
                f"{caller}(combine={short(value)}): only @parallel_chunks joins pieces, so only it "
                "has combine. Leave it out, and join the list of results yourself."
            )
        parsed[name] = parse_option(name, value, f"{caller}({name}={short(value)})")
    merged = {**(over or {}), **parsed}
    for conflict in conflicts(merged):
        if conflict.local and not (conflict.option in parsed and conflict.other in parsed):
            continue
        raise OptionError(
            f"{caller}({_shown(merged, conflict.option, conflict.other)}): {conflict.message}"
        )
    return parsed


def parse_option(name: str, value: Any, subject: str) -> Any:
    """Check one option's value and give it in its one form.

    Args:
        name: A name in `OPTIONS`.
        value: What was given for it.
        subject: How the message begins: what was written, and where.

    Raises:
        OptionError: The value breaks the option's rule.
    """
    try:
        return OPTIONS[name](value)
    except WrongValue as wrong:
        raise OptionError(f"{subject}: {wrong}") from None


def _shown(values: Mapping[str, Any], *names: str) -> str:
    return ", ".join(f"{name}={short(values[name])}" for name in names if name in values)


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


def _no_such_option(caller: str, name: str, value: Any) -> OptionError:
    """The error for an unknown option: names the nearest one, with the value where it fits."""
    said = f"{caller}() has no option {name!r}."
    if name in VERBS:
        return OptionError(f"{said} {VERBS[name]}")
    near = nearest(name, OPTIONS)
    if near is None:
        return OptionError(f"{said} The options are {', '.join(OPTIONS)}.")
    if near == "workers" and isinstance(value, int) and value == -1:
        return OptionError(f"{said} Leave it out: all usable CPUs are the default of workers.")
    if name not in _OTHER_MEANING:
        try:
            OPTIONS[near](value)
        except Exception:
            pass  # Not a value of ours; the name alone must do.
        else:
            shown = short(value)
            same = f"{near} and the same value" if shown.startswith("<") else f"{near}={shown}"
            return OptionError(f"{said} Write {same}.")
    return OptionError(f"{said} The nearest is {near!r}.")
