"""The one error whose base class is slow to import; `procession.errors` loads it when named."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool
else:
    try:
        from concurrent.futures.process import BrokenProcessPool
    except RuntimeError:  # the program ends, too late for that module's exit handler
        from concurrent.futures import BrokenExecutor as BrokenProcessPool

from procession._error_root import ProcessionError


class WorkerDied(ProcessionError, BrokenProcessPool):
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
