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

from procession.hints import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool

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

Where = Literal["argument", "function", "result", "exception"]


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    """Make an error again without calling its constructor, which may ask for more."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ProcessionError(Exception):
    """Base of every error that Procession raises itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


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


def warn_user(message: str) -> None:
    """Issue a `ParallelWarning` for the innermost line that is not Procession's own."""
    import os
    import sys
    import warnings

    ours = os.path.dirname(os.path.abspath(__file__)) + os.sep
    level, frame = 1, sys._getframe(0)
    # A warning's stacklevel counts frames, and how many are ours depends on how we were called.
    while frame.f_code.co_filename.startswith(ours) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, ParallelWarning, stacklevel=level)


# -- what takes 20 ms to import, for its base, and so is made when it is named --------------------


class _WorkerDied(ProcessionError):
    """Raised when the worker that ran an item died; the pool itself is not broken.

    Attributes:
        exitcode: The process's exit code; negative is minus the signal; ``None`` if not known.
        signal: The signal's name, such as ``"SIGSEGV"``; ``None`` if it exited by itself.
        index: Which item of a map it was running; ``None`` for a single call.
        attempts: How many times the item was tried.
        stack: The worker's last stack and the end of its stderr, as text; empty if not known.
    """

    def __init__(
        self,
        message: str,
        *,
        exitcode: int | None = None,
        signal: str | None = None,
        index: int | None = None,
        attempts: int = 1,
        stack: str = "",
    ) -> None:
        super().__init__(message)
        self.exitcode = exitcode
        self.signal = signal
        self.index = index
        self.attempts = attempts
        self.stack = stack


if TYPE_CHECKING:

    class WorkerDied(_WorkerDied, BrokenProcessPool):
        """As `_WorkerDied` says."""


def __getattr__(name: str) -> Any:
    if name != "WorkerDied":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from concurrent.futures.process import BrokenProcessPool
    except RuntimeError:  # the program ends, too late for that module's exit handler
        from concurrent.futures import BrokenExecutor as BrokenProcessPool  # type: ignore[assignment]
    space = {"__module__": __name__, "__doc__": _WorkerDied.__doc__}
    globals()[name] = made = type(name, (_WorkerDied, BrokenProcessPool), space)
    return made
