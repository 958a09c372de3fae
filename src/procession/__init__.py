"""Decorators that run ordinary functions across processes.

    from procession import parallel_map

    @parallel_map
    def measure(path: Path) -> int: ...

    sizes = measure(paths)    # list[int], computed in a pool of processes

Every name is loaded when it is first used, so ``import procession`` costs next to nothing.
"""

# Not imported from typing: type checkers know the name, and it saves an import.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from procession import joblib as joblib
    from procession import shared as shared
    from procession import testing as testing
    from procession.backends.registry import stats as stats
    from procession.backends.shutdown import shutdown as shutdown
    from procession.configuration import Options as Options
    from procession.configuration import configure as configure
    from procession.configuration import options as options
    from procession.decorators import background as background
    from procession.decorators import isolated as isolated
    from procession.decorators import parallel as parallel
    from procession.decorators import parallel_chunks as parallel_chunks
    from procession.decorators import parallel_map as parallel_map
    from procession.errors import BackendUnavailable as BackendUnavailable
    from procession.errors import DeadlineExceeded as DeadlineExceeded
    from procession.errors import MemoryLimitExceeded as MemoryLimitExceeded
    from procession.errors import NestedParallelism as NestedParallelism
    from procession.errors import NotPicklable as NotPicklable
    from procession.errors import OptionError as OptionError
    from procession.errors import Overloaded as Overloaded
    from procession.errors import ParallelWarning as ParallelWarning
    from procession.errors import PoolClosed as PoolClosed
    from procession.errors import ProcessionError as ProcessionError
    from procession.errors import TaskExited as TaskExited
    from procession.errors import TimedOut as TimedOut
    from procession.errors import WorkerDied as WorkerDied
    from procession.futures import Future as Future
    from procession.outcome import Outcome as Outcome
    from procession.pool import Pool as Pool
    from procession.profiling import Profile as Profile
    from procession.profiling import profile as profile
    from procession.system import __version__ as __version__
    from procession.system.resources import usable_cpus as usable_cpus
    from procession.tasks import current_task as current_task
    from procession.tasks import per_worker as per_worker
    from procession.waiting import as_completed as as_completed
    from procession.waiting import gather as gather
    from procession.waiting import wait as wait

__all__ = [
    "BackendUnavailable",
    "DeadlineExceeded",
    "Future",
    "MemoryLimitExceeded",
    "NestedParallelism",
    "NotPicklable",
    "OptionError",
    "Options",
    "Outcome",
    "Overloaded",
    "ParallelWarning",
    "Pool",
    "PoolClosed",
    "ProcessionError",
    "Profile",
    "TaskExited",
    "TimedOut",
    "WorkerDied",
    "as_completed",
    "background",
    "configure",
    "current_task",
    "gather",
    "isolated",
    "options",
    "parallel",
    "parallel_chunks",
    "parallel_map",
    "per_worker",
    "profile",
    "shared",
    "shutdown",
    "stats",
    "testing",
    "usable_cpus",
    "wait",
]

_HOMES = {
    "procession.configuration": ("Options", "configure", "options"),
    "procession.system": ("__version__",),
    "procession.system.resources": ("usable_cpus",),
    "procession.decorators": (
        "background",
        "isolated",
        "parallel",
        "parallel_chunks",
        "parallel_map",
    ),
    "procession.errors": (
        "BackendUnavailable",
        "DeadlineExceeded",
        "MemoryLimitExceeded",
        "NestedParallelism",
        "NotPicklable",
        "OptionError",
        "Overloaded",
        "ParallelWarning",
        "PoolClosed",
        "ProcessionError",
        "TaskExited",
        "TimedOut",
        "WorkerDied",
    ),
    "procession.pool": ("Pool",),
    "procession.futures": ("Future",),
    "procession.backends.registry": ("stats",),
    "procession.backends.shutdown": ("shutdown",),
    "procession.outcome": ("Outcome",),
    "procession.profiling": ("Profile", "profile"),
    "procession.tasks": ("current_task", "per_worker"),
    "procession.waiting": ("as_completed", "gather", "wait"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_SUBMODULES = ("joblib", "shared", "testing")


if not TYPE_CHECKING:  # else a checker takes every misspelt name for one of ours

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _HOME:
            value = getattr(import_module(_HOME[name]), name)
        elif name in _SUBMODULES:
            value = import_module(f"procession.{name}")
        else:
            raise AttributeError(f"module 'procession' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
