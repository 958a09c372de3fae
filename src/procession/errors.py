"""Every error Procession raises itself, in one tree.

    ProcessionError
    ├── OptionError(ValueError)
    ├── NotPicklable(pickle.PicklingError)
    ├── WorkerDied(concurrent.futures.process.BrokenProcessPool)
    ├── TaskExited(RuntimeError)
    ├── TimedOut(TimeoutError)
    │   └── DeadlineExceeded
    ├── Overloaded(RuntimeError)
    ├── MemoryLimitExceeded(MemoryError)
    ├── NestedParallelism(RuntimeError)
    ├── BackendUnavailable(ImportError)
    └── PoolClosed(RuntimeError)

An error that the user's own function raises is not in here: it arrives as itself.
Every class pickles, with its attributes and notes.
"""

try:
    from _pickle import PicklingError  # without the import of pickle, which takes 3 ms
except ImportError:
    from pickle import PicklingError

from procession._error_root import ProcessionError
from procession.hints import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from procession._worker_died import WorkerDied as WorkerDied

__all__ = [
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
]

ProcessionError.__module__ = __name__  # where users import it from, and where pickles look

Where = Literal["argument", "function", "result", "exception"]


class OptionError(ProcessionError, ValueError):
    """Raised when an option's name or value cannot be used; names the nearest valid one."""


class NotPicklable(ProcessionError, PicklingError):
    """Raised when something cannot, or must not, cross to another process.

    Attributes:
        where: What was to cross: ``"argument"``, ``"function"``, ``"result"`` or ``"exception"``.
        path: The way from the root to the culprit, in Python's own syntax.
        culprit: The culprit's type, as ``module.Name``.
        reason: Why it cannot cross, in one sentence.
    """

    def __init__(
        self,
        message: str,
        *,
        where: Where = "argument",
        path: str = "",
        culprit: str = "",
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.where: Where = where
        self.path = path
        self.culprit = culprit
        self.reason = reason


class TaskExited(ProcessionError, RuntimeError):
    """Raised when an item raised ``SystemExit`` or ``KeyboardInterrupt`` in a worker.

    Attributes:
        code: What ``SystemExit`` carried; ``None`` for ``KeyboardInterrupt``.
    """

    def __init__(self, message: str, *, code: object = None) -> None:
        super().__init__(message)
        self.code = code


class TimedOut(ProcessionError, TimeoutError):
    """Raised when an item or call ran longer than its ``timeout`` and was ended.

    Attributes:
        seconds: The limit it ran into.
        index: Which item of a map it was; ``None`` for a single call.
        stack: Where the worker was when it was ended, as text; empty if not known.
    """

    def __init__(
        self, message: str, *, seconds: float, index: int | None = None, stack: str = ""
    ) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.index = index
        self.stack = stack


class DeadlineExceeded(TimedOut):
    """Raised when a call was not done within its ``deadline``, and was ended.

    The time counts from the call to its result, waiting for a worker included.
    """


class Overloaded(ProcessionError, RuntimeError):
    """Raised when more calls wait for a worker than ``max_pending`` allows.

    Attributes:
        pending: How many waited.
        limit: How many may.
    """

    def __init__(self, message: str, *, pending: int, limit: int) -> None:
        super().__init__(message)
        self.pending = pending
        self.limit = limit


class MemoryLimitExceeded(ProcessionError, MemoryError):
    """Raised when an item took more private memory than its ``memory_limit`` and was ended.

    Attributes:
        limit: The limit, in bytes.
        peak: The most private memory that was seen, in bytes.
        index: Which item of a map it was; ``None`` for a single call.
    """

    def __init__(self, message: str, *, limit: int, peak: int, index: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.peak = peak
        self.index = index


class NestedParallelism(ProcessionError, RuntimeError):
    """Raised when a decorated call is made inside a worker under ``nested="error"``."""


class BackendUnavailable(ProcessionError, ImportError):
    """Raised when a backend's library is not installed; the message names the pip command."""


class PoolClosed(ProcessionError, RuntimeError):
    """Raised when work is given to a pool that was shut down, or waited for in a forked child."""


class ParallelWarning(UserWarning):
    """A pitfall in how a function is used in parallel; points at the user's own line."""


def __getattr__(name: str) -> Any:
    # WorkerDied's base class costs 20 ms of imports, so it is loaded when it is named.
    if name == "WorkerDied":
        from procession._worker_died import WorkerDied

        WorkerDied.__module__ = __name__
        globals()["WorkerDied"] = WorkerDied
        return WorkerDied
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
