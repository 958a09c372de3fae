"""What the watches over tasks have in common on all engines: whether workers came, or went.

A map looks how many workers there are when it sends something. The cluster may grow while a map
waits for long items, or not have told yet what it has. The new workers would have nothing to do
then. And if all workers are gone, and none comes back, a map would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from procession.backends.cluster.cluster_task import Task
from procession.backends.cluster.engine_connection import EngineConnection
from procession.contract import End
from procession.errors import PoolClosed
from procession.hints import Any
from procession.system import after_fork
from procession.system.pristine import monotonic, threading

GONE_SECONDS = 8.0
"""Seconds without any worker after which tasks are given up, if there were workers before. A guess:
longer than one takes to start again."""

_STEP = 1.0
"""Most seconds between two looks at a clock that count, if one looks twice a second. A guess."""


class TaskWatch:
    """Looks after the tasks of one connection; how it does that is the engine's own matter.

    Args:
        connection: To the engine.
        tasks: Those under way, by number; its owner adds and removes them.

    Attributes:
        growth: Tells maps of more workers.
    """

    def __init__(self, connection: EngineConnection, tasks: dict[int, Task]) -> None:
        self.growth = Growth()
        self._tasks = tasks
        self._clock = RunningClock(monotonic)
        self._lost = LostWorkers(connection, self._clock)
        self._engine = connection
        self._busy = threading.Event()
        self._stopped = threading.Event()

    def workers(self) -> int:
        """How many items can run at once over there, as was told last."""
        raise NotImplementedError

    def check(self, task: Task) -> None:
        """Refuse what a call sends that was told that its workers are lost.

        Raises:
            PoolClosed: It was, and none has come back.
        """
        self._lost.check(self.workers(), task.chunk.listener)

    def _rests(self) -> bool:
        """Whether there were no tasks; returns when there are some."""
        if self._tasks:
            return False
        self._busy.clear()
        self._lost.forget()
        if not self._tasks:
            self._busy.wait()
        return True

    def _look_at_workers(self, known: int | None) -> None:
        """Tell maps of more, and give up if they are lost.

        Args:
            known: How many there are; `None` if that is known from before these calls only.
        """
        error = self._lost.error(known)
        if error is not None:
            self._give_up(error)
        self.growth.look(self.workers(), self._tasks)

    def _give_up(self, error: Exception) -> None:
        self._lost.forget()
        self._engine.tell([task.chunk.listener for task in list(self._tasks.values())])
        for number, task in list(self._tasks.items()):
            self.end(number, task, End("refused", error=error))

    def end(self, number: int, task: Task, end: End) -> None:
        """A task is over, and not looked for any more."""
        self._tasks.pop(number, None)
        task.failed(end)


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


class LostWorkers:
    """Whether all workers of a cluster are gone, and none comes back. Pure, but for the clock.

    It counts from when workers were there during these calls. A cluster that grows and shrinks may
    have had some before, and need more time than this to start the next ones.

    Args:
        connection: To whose cluster.
        clock: Gives seconds.
    """

    def __init__(self, connection: EngineConnection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._seen = 0.0
        self._had = False

    def forget(self) -> None:
        """The next calls wait for workers, as they did before there were any."""
        self._had = False

    def heard(self) -> None:
        """A worker has told something."""
        self._seen, self._had = self._clock(), True

    def error(self, workers: int | None) -> PoolClosed | None:
        """What to say, if that is so now.

        Args:
            workers: How many there are; `None` if that is known from before these calls only.
        """
        if workers is None:
            return None
        now = self._clock()
        if workers:
            self._seen, self._had = now, True
        elif self._had and now - self._seen > GONE_SECONDS:
            self.forget()
            if not self._connection.sent_away():
                return self._lost()
        return None

    def check(self, workers: int, listener: Any) -> None:
        """Refuse what one of these sends later on: it would wait for workers again.

        Args:
            workers: How many there are.
            listener: Who sends.

        Raises:
            PoolClosed: There are none, and it was told so.
        """
        if not workers and self._connection.has_told(listener):
            raise self._lost()

    def _lost(self) -> PoolClosed:
        return PoolClosed(
            f"all workers of the {self._connection.engine} cluster ({self._connection.place}) "
            f"are gone, and for {GONE_SECONDS:.0f} s none has come back. Look at their logs, "
            "start workers, and call again."
        )


class RunningClock:
    """Seconds in which this program ran; one looks at it twice a second at least.

    A program that was stopped for a while (Ctrl-Z, a laptop that slept) has heard nothing
    meanwhile. That says nothing of a cluster.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = after_fork.lock()
        self._looked = clock()
        self._ran = 0.0

    def __call__(self) -> float:
        """The seconds."""
        with self._lock:
            now = self._clock()
            self._ran += min(now - self._looked, _STEP)
            self._looked = now
            return self._ran
