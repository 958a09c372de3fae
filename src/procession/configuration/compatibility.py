"""Which options go together: the backend × context table, and every rule between two options."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from procession.hints import Any
from procession.system import NamedTuple, cpython
from procession.system.posix import MISSING, OWN_WORKERS

BACKENDS = ("process", "loky", "stdlib", "thread", "serial", "dask", "ray")
"""Backends that can be named."""

CLUSTERS = ("dask", "ray")
"""Those that run on other machines."""

CONTEXTS = ("fork", "spawn", "forkserver", "loky")
"""Start contexts that can be named."""

_HERE = "runs in threads of this process, so there is no process to start"
_SERIAL = "runs in this process, so there is no process to start"
_THEIRS = "is an executor that was made with its own context"
_FAR = "starts its workers on the cluster's machines, each in the way that is safest there"
_NO_LOKY = (
    "cannot use loky's start context: concurrent.futures.ProcessPoolExecutor's queues break in it "
    "(BrokenProcessPool on 3.11, 3.12 and 3.13)"
)

SUPPORTED: Mapping[str, Mapping[str, str | None]] = MappingProxyType(
    {
        "process": dict.fromkeys(CONTEXTS),
        "loky": dict.fromkeys(CONTEXTS),
        "stdlib": {"fork": None, "spawn": None, "forkserver": None, "loky": _NO_LOKY},
        "thread": dict.fromkeys(CONTEXTS, _HERE),
        "serial": dict.fromkeys(CONTEXTS, _SERIAL),
        "executor": dict.fromkeys(CONTEXTS, _THEIRS),
        "dask": dict.fromkeys(CONTEXTS, _FAR),
        "ray": dict.fromkeys(CONTEXTS, _FAR),
    }
)
"""Backend × context: `None` where it works, else why it is refused.

``"executor"`` stands for any `concurrent.futures.Executor` instance. A context object counts as the
start method that it names. The cells of loky and stdlib were tried on Python 3.11, 3.12 and 3.13
with loky 3.7; those of process have the conformance suite.
"""

_IN_PROCESS = {
    "thread": "runs in threads of this process, which nothing can end from outside",
    "serial": "runs in this process, which nothing can end from outside",
}


class Conflict(NamedTuple):
    """Two options that cannot both be.

    Attributes:
        option: The one to leave out.
        other: The one that stands against it.
        message: The rule, and what to write instead.
        limit: Whether `option` protects from something, so that it is not dropped in silence.
        local: Whether it is a mistake only if both were written in one place.
    """

    option: str
    other: str
    message: str
    limit: bool = False
    local: bool = False


def backend_name(backend: object) -> str:
    """The backend's row in `SUPPORTED`."""
    if isinstance(backend, str):
        return backend
    return "dask" if dask_client(backend) is not None else "executor"


def dask_client(backend: object) -> Any:
    """The `distributed.Client` that a backend is, or that its executor belongs to; or `None`.

    Its module is loaded if there is one, so nothing is imported to find out.
    """
    distributed: Any = sys.modules.get("distributed.client")
    if distributed is None:
        return None
    if isinstance(backend, distributed.Client):
        return backend
    executors: Any = sys.modules.get("distributed.cfexecutor")
    given: Any = backend
    if executors is not None and isinstance(given, executors.ClientExecutor):
        return given._client
    return None


def context_name(context: Any) -> str:
    """The start method a context stands for."""
    return context if isinstance(context, str) else cpython.method_of(context)


def conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Yield every rule that these options, taken together, break.

    Args:
        values: Options that were set, already validated one by one. A missing backend breaks no
            rule.
    """
    backend = values.get("backend")
    if backend is not None:
        if not OWN_WORKERS and backend_name(backend) not in CLUSTERS:
            yield from _with_platform(values)
            values = {name: value for name, value in values.items() if name not in _ENDING}
        yield from _with_backend(backend_name(backend), values)
        yield from _with_context(backend_name(backend), values)
        if backend == "loky":
            yield from _with_loky(values)
    if values.get("address") is not None and backend not in CLUSTERS:
        yield Conflict(
            "address",
            "backend",
            "address is a cluster's address, and only a backend that runs on a cluster has one. "
            "Leave address out, or write backend='dask' or backend='ray'.",
            local=True,  # a function may go elsewhere than the program's others
        )
    if values.get("initargs") and values.get("initializer") is None:
        yield Conflict(
            "initargs",
            "initializer",
            "initargs are the arguments of the initializer, and there is none. "
            "Write initializer=function, or leave initargs out.",
        )
    if values.get("inline") is True:
        yield from _with_inline(backend_name(backend), values)


_ENDING = ("timeout", "deadline", "memory_limit", "max_tasks_per_worker")
"""Options that end a worker process while others go on."""


def _with_inline(name: str, values: Mapping[str, Any]) -> Iterator[Conflict]:
    if name in CLUSTERS:
        yield Conflict(
            "inline",
            "backend",
            "inline=True runs the items in this process, and none on the cluster. Leave inline "
            "out, or write backend='serial'.",
        )
        return
    for option in ("timeout", "deadline", "memory_limit"):
        if values.get(option) is not None:
            yield Conflict(
                option,
                "inline",
                f"inline=True runs the items in this process, which {option} could only end as a "
                f"whole. Leave out inline=True, or leave out {option}.",
                limit=True,
            )


def _with_platform(values: Mapping[str, Any]) -> Iterator[Conflict]:
    for option in _ENDING:
        if values.get(option) is not None:
            yield Conflict(
                option,
                "backend",
                f"{option} ends a worker process alone, which this platform ({sys.platform}) "
                f"cannot do: it lacks {', '.join(MISSING)}. Leave {option} out there, or run it "
                "on a POSIX system, such as Linux or WSL.",
                limit=option != "max_tasks_per_worker",
            )


def _with_backend(name: str, values: Mapping[str, Any]) -> Iterator[Conflict]:
    if values.get("deadline") is not None and name not in ("process", *CLUSTERS):
        yield Conflict(
            "deadline",
            "backend",
            "deadline ends what is not done by then, and only backend='process' can end the calls "
            "of one without harm to others. Write backend='process', or leave deadline out.",
            limit=True,
        )
    if name in _IN_PROCESS:
        for option in ("timeout", "memory_limit"):
            if values.get(option) is not None:
                yield Conflict(
                    option,
                    "backend",
                    f"{option} ends the process that an item runs in, and backend={name!r} "
                    f"{_IN_PROCESS[name]}. Write backend='process', or leave {option} out.",
                    limit=True,
                )
        for option in ("max_tasks_per_worker", "threads_per_worker"):
            if values.get(option) is not None:
                yield Conflict(
                    option,
                    "backend",
                    f"{option} shapes a worker process, and backend={name!r} has none. "
                    f"Write backend='process', or leave {option} out.",
                )
    elif name == "executor":
        for option in ("workers", "initializer", "max_tasks_per_worker", "threads_per_worker"):
            if values.get(option) is not None:
                yield Conflict(
                    option,
                    "backend",
                    f"{option} shapes the workers, and backend is an executor whose workers are "
                    f"already shaped. Give it to the executor when you make it, or write "
                    f"backend='process'.",
                    local=option == "workers",
                )


def _with_loky(values: Mapping[str, Any]) -> Iterator[Conflict]:
    if values.get("max_tasks_per_worker") is not None:
        yield Conflict(
            "max_tasks_per_worker",
            "backend",
            "loky does not count what its workers have done, so it cannot replace them. Write "
            "backend='process', or leave max_tasks_per_worker out.",
        )


def _with_context(name: str, values: Mapping[str, Any]) -> Iterator[Conflict]:
    context = values.get("context")
    if context is None:
        return
    method = context_name(context)
    cells = SUPPORTED.get(name, {})
    reason = cells.get(method)
    if reason is not None:
        works = [known for known, why in cells.items() if why is None]
        instead = (
            f"Write context={works[-1]!r}, or backend={method!r}."
            if works
            else "Leave context out, or write backend='process'."
        )
        yield Conflict("context", "backend", f"backend={name!r} {reason}. {instead}")
    elif name == "stdlib" and method == "fork" and values.get("max_tasks_per_worker") is not None:
        yield Conflict(
            "max_tasks_per_worker",
            "context",
            "ProcessPoolExecutor itself refuses max_tasks_per_child under 'fork', since it would "
            "have to fork while its threads run. Write context='forkserver' or 'spawn', or "
            "backend='process'.",
        )
