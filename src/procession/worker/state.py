"""Where this code runs: inside a worker or not, and on which item."""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["CurrentTask", "current_task", "in_worker", "mark_worker_process"]


@dataclass(frozen=True, slots=True)
class CurrentTask:
    """The item that a worker is running now.

    Attributes:
        index: The item's place in the input, from 0; 0 for a single call.
        attempt: 1 for the first run, 2 for the first retry, and so on.
        worker: Which worker this is: its process id, as text (with the thread's name on
            the thread backend).
        function: The decorated function's name.
    """

    index: int
    attempt: int
    worker: str
    function: str


_current: ContextVar[CurrentTask | None] = ContextVar("procession_current_task", default=None)
_worker_pid: int | None = None
_latest: CurrentTask | None = None


def mark_worker_process() -> None:
    """Say that this whole process is a worker, whichever thread asks."""
    global _worker_pid
    _worker_pid = os.getpid()


def in_worker() -> bool:
    """Whether this code runs on behalf of an item, in a worker process or thread."""
    return _worker_pid == os.getpid() or _current.get() is not None


def current_task() -> CurrentTask | None:
    """The item that this worker is running; `None` outside a worker.

    Items that ``inline="auto"`` runs in the caller's own process are outside: there is no worker.
    Threads that the function itself starts in a worker process see the item too.
    """
    task = _current.get()
    if task is None and _worker_pid == os.getpid():
        return _latest
    return task


def enter(task: CurrentTask | None) -> None:
    """Make `task` the item that runs in this context."""
    global _latest
    _current.set(task)
    if _worker_pid is not None:
        _latest = task
