"""Telling maps that a cluster has more workers than it had when they looked.

A map looks how many there are when it sends something. The cluster may grow while a map waits for
long items, or not have told yet what it has. The new workers would have nothing to do then.
"""

from __future__ import annotations

from collections.abc import Mapping

from procession.backends.cluster.cluster_task import Task
from procession.hints import Any
from procession.system import after_fork

__all__ = ["Growth"]


class Growth:
    """The fewest workers that a map was told of since all of them were told last."""

    def __init__(self) -> None:
        self._lock = after_fork.lock()
        self._least: int | None = None

    def told(self, workers: int) -> int:
        """A map learns now that there are so many workers; gives the number back."""
        least = self._least
        if least is None or workers < least:
            with self._lock:
                self._least = workers if self._least is None else min(self._least, workers)
        return workers

    def look(self, workers: int, tasks: Mapping[int, Task]) -> None:
        """There are so many workers now: tell the maps, if one knows of fewer.

        Args:
            workers: How many there are.
            tasks: Those under way. Of these each listener is told that has `more_workers`.
        """
        least = self._least
        if least is None or workers <= least:
            return
        with self._lock:
            self._least = None
        # Only now, as a map sends what it can, and then looks how many workers there are.
        for listener in {task.chunk.listener for task in list(tasks.values())}:
            more: Any = getattr(listener, "more_workers", None)
            if more is not None:
                more()
