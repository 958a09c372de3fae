"""Where this code runs: inside a worker or not, and on which item."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import Context, ContextVar

from procession.pickling.file_maps import lasting

__all__ = ["CurrentTask", "current_task", "in_worker", "mark_worker_process", "refuse_nested"]


class CurrentTask:
    """The item that a worker is running now.

    Attributes:
        index: The item's place in the input, from 0; for a single call its place among the single
            calls of its function, in the order in which they were made.
        attempt: 1 for the first run, 2 for the first retry, and so on.
        worker: Which worker this is: its process id, as text (with the thread's name on
            the thread backend).
        function: The decorated function's name.
    """

    # Not a dataclass: the import of dataclasses costs a worker 30 ms.
    __slots__ = ("_nested", "attempt", "function", "index", "worker")

    def __init__(
        self, index: int, attempt: int, worker: str, function: str, nested: str = "serial"
    ) -> None:
        self.index = index
        self.attempt = attempt
        self.worker = worker
        self.function = function
        self._nested = nested  # what it wants decorated calls made by it to do

    def __repr__(self) -> str:
        return (
            f"CurrentTask(index={self.index}, attempt={self.attempt}, worker={self.worker!r}, "
            f"function={self.function!r})"
        )


base_context = Context()
"""What every item of this worker starts from: what its initializer has set, and nothing that a
forked worker inherited from whatever its parent was doing."""

_current: ContextVar[CurrentTask | Callable[[], CurrentTask] | None] = ContextVar(
    "procession_current_task", default=None
)
_worker_pid: int | None = None
_latest: CurrentTask | None = None
_at_work = False
"""Whether this worker runs an item that it was sent (see `procession.worker.loading`)."""


def mark_worker_process() -> None:
    """Say that this whole process is a worker, whichever thread asks, and runs no item yet."""
    global _at_work, _worker_pid, _latest
    _worker_pid, _latest, _at_work = os.getpid(), None, False
    lasting[0] = False


def in_worker() -> bool:
    """Whether this code runs on behalf of an item, in a worker or in the caller's own thread."""
    here = _worker_pid is not None and _worker_pid == os.getpid()
    return here or _current.get() is not None


def current_task() -> CurrentTask | None:
    """The item that is being run; `None` outside a decorated function's calls.

    An item that runs in the caller's own process (``inline="auto"``, ``backend="serial"``) has a
    task too, whose worker is this process: what a function sees does not depend on where it runs.
    Threads that the function itself starts in a worker process see the item as well.
    """
    task = _current.get()
    if task is None and _worker_pid == os.getpid():
        return _latest
    return task() if callable(task) else task


def refuse_nested(function: str, own: str) -> None:
    """Refuse a decorated call made by an item if its job, or the inner function, asks for that.

    Args:
        function: The inner function's name.
        own: Its ``nested`` option.

    Raises:
        NestedParallelism: Under ``nested="error"``.
    """
    task = current_task()
    outer = "serial" if task is None else task._nested
    if "error" in (outer, own):
        from procession.errors import NestedParallelism

        whose = "it" if own == "error" else "the running function"
        raise NestedParallelism(
            f"{function}() was called in parallel inside a worker, and {whose} was decorated "
            f"with nested='error'. Call {function}.local(...) here, or write "
            "nested='serial' to let inner calls run serially in this worker."
        )


def enter(task: CurrentTask | Callable[[], CurrentTask] | None) -> None:
    """Make `task` the item that runs in this context; a function is asked when someone looks."""
    global _latest
    if _worker_pid is not None and not callable(task):
        _latest = task
    _current.set(task)


def begin(task: CurrentTask) -> None:
    """In a worker process, in a context of its own: `task` is the item that runs now."""
    global _at_work, _latest
    _latest = task
    _at_work = True
    _current.set(task)


def end() -> None:
    """In a worker process: no item runs."""
    global _at_work, _latest
    _latest = None
    _at_work = False


# To undo `enter`, also if Ctrl-C strikes anywhere: take what was entered before, enter inside of
# ``try``, and leave in ``finally``. These two are C code, which no signal handler divides.
entered = _current.get
leave = _current.set
