"""The threads that look after tasks on Ray: one takes what comes, one sees whether Ray is there.

Ray tells of results in a thread of its own, which must not wait for Ray. So that one only passes
them on. And Ray does not tell that its head is gone: results just never come. Asking it may last as
long, so the one who asks is not the one who judges. Each stream has one more, which takes its
messages when the consumer has room for them.
"""

from __future__ import annotations

import os
from functools import partial
from queue import Empty, SimpleQueue

from procession.backends.cluster.cluster_backend import AHEAD
from procession.backends.cluster.cluster_task import Task
from procession.backends.cluster.engine_connection import missing_procession
from procession.backends.cluster.ray_connection import Connection
from procession.backends.cluster.ray_use import ray_use
from procession.backends.cluster.task_watch import TaskWatch
from procession.backends.cluster.wire import open_message
from procession.contract import End
from procession.errors import PoolClosed, ProcessionError
from procession.hints import Any
from procession.system import after_fork
from procession.system.pristine import threading
from procession.system.wakeup import Wakeup

_LOOK = 0.5
"""Seconds between two looks, while tasks are under way."""

_SILENT_SECONDS = 5.0
"""Seconds without a sign of life from the head, or from Ray on this machine, after which both count
as gone. A guess: a busy machine answers a connection within one."""

_LOST = frozenset(
    {
        "LocalRayletDiedError",
        "NodeDiedError",
        "ObjectFetchTimedOutError",
        "ObjectLostError",
        "ObjectReconstructionFailedError",
        "OutOfMemoryError",
        "OwnerDiedError",
        "TaskCancelledError",
        "WorkerCrashedError",
    }
)
"""Ray's errors that mean that the task's process or machine was lost, or was taken from it."""


class RayWatch(TaskWatch):
    """Looks after the tasks of one connection."""

    def __init__(self, connection: Connection, tasks: dict[int, Task]) -> None:
        super().__init__(connection, tasks)
        self._connection = connection
        self._came: SimpleQueue[Any] = SimpleQueue()
        self._started = False
        self._lock = threading.Lock()
        self._alive = 0.0
        self._asked = False

    # -- what it is told, in any thread ------------------------------------------------------------

    def look(self) -> None:
        """There are tasks."""
        if self._busy.is_set():
            return
        with self._lock:
            self._alive = self._clock()
            self._busy.set()
            if not self._started and not self._stopped.is_set():
                self._started = True
                for work in (self._take, self._ask):
                    threading.Thread(target=work, name="procession-ray", daemon=True).start()
        self._came.put(lambda: None)  # from now on it looks at the time, too

    def done(self, number: int, future: Any) -> None:
        """A task is over; `future` has its result."""
        error = future.exception()
        if error is None:
            self.came(number, future.result())
        else:
            self.failed(number, error)

    def came(self, number: int, content: Any) -> None:
        """A message has come; `None` if nothing more comes."""
        self._came.put(partial(self._arrived, number, content))

    def failed(self, number: int, error: BaseException) -> None:
        """A task has failed."""
        self._came.put(partial(self._failed, number, error))

    def workers(self) -> int:
        """How many processors its machines have for this."""
        return self._connection.cpus

    def stop(self) -> None:
        """The connection is let go."""
        self._stopped.set()
        self._busy.set()
        self._came.put(lambda: None)

    # -- what it does --------------------------------------------------------------------------

    def _take(self) -> None:
        while not self._stopped.is_set():
            try:
                busy = self._tasks or self._busy.is_set()
                happened = self._came.get(timeout=_LOOK if busy else None)
            except Empty:
                self._judge()
                continue
            try:
                with ray_use.shared():  # references of Ray's go with what has ended
                    happened()
            except Exception as error:
                self._give_up(PoolClosed(f"Ray's tasks cannot be followed any more: {error!r}"))

    def _arrived(self, number: int, content: Any) -> None:
        task = self._tasks.get(number)
        if task is None:
            return
        if content is not None:
            self._lost.heard()
            task.arrived(content)
            if task.streams and not task.over:
                return  # more comes
        self._tasks.pop(number, None)
        if not task.over:
            task.failed(End("died", None))

    def _failed(self, number: int, error: BaseException) -> None:
        task = self._tasks.pop(number, None)
        if task is not None:
            task.failed(how_it_ended(error, self._connection.place))

    def _ask(self) -> None:
        """See whether the head and Ray on this machine are there, and what workers there are."""
        while not self._stopped.is_set():
            if self._rests():
                self._asked = False
                continue
            if self._connection.answers():
                self._alive = self._clock()
                self._asked = True
            self._came.put(self._judge)
            self._stopped.wait(_LOOK)

    def _judge(self) -> None:
        if not self._tasks or os.getpid() != self._connection.process:
            return
        if not self._connection.usable:
            self._give_up(self._connection.lost())
        elif self._clock() - self._alive > _SILENT_SECONDS:
            self._connection.forsake()
            self._give_up(self._connection.lost())
        else:
            self._look_at_workers(self.workers() if self._asked else None)


def how_it_ended(error: BaseException, place: str) -> End:
    """How a chunk has ended whose task failed.

    Args:
        error: What Ray says.
        place: What the cluster is called.
    """
    if type(error).__name__ in _LOST:
        return End("died", None)
    cause: Any = getattr(error, "cause", None) or error
    if isinstance(cause, ModuleNotFoundError) and (cause.name or "").startswith("procession"):
        return End("refused", error=missing_procession("Ray", place, cause))
    if isinstance(cause, ProcessionError):
        return End("refused", error=cause)
    if not isinstance(error, Exception):
        error = RuntimeError(repr(error))
    return End("refused", error=error)


class StreamReader:
    """A thread that waits for a stream's messages.

    Args:
        connection: To Ray.
        watch: Is told what has come.
        number: The task's number there.
        task: The stream's.
        messages: Ray's generator.
    """

    def __init__(
        self, connection: Connection, watch: RayWatch, number: int, task: Task, messages: Any
    ) -> None:
        self._connection = connection
        self._watch = watch
        self._number = number
        self._task = task
        self._messages = messages
        self._came = 0
        self._granted = AHEAD
        self._lock = after_fork.lock()
        self._stopped = False
        self._changed = Wakeup()

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="procession-ray-stream", daemon=True).start()

    def grant(self, values: int) -> None:
        """The consumer has taken so many values."""
        with self._lock:
            self._granted += values
        self._changed.wake()

    def stop(self) -> None:
        """Nothing more is wanted."""
        self._stopped = True
        self._changed.wake()

    def _read(self) -> None:
        ray = self._connection.ray
        try:
            while self._wanted():
                with self._connection.held():
                    ready, _ = ray.wait([self._messages], timeout=_LOOK)
                    if not ready:
                        continue
                    content = ray.get(next(self._messages))
                self._came += len(open_message(content).replies)
                self._watch.came(self._number, content)
        except StopIteration:
            self._watch.came(self._number, None)
        except BaseException as error:
            self._watch.failed(self._number, error)

    def _wanted(self) -> bool:
        while not (self._stopped or self._task.over):
            if self._came <= self._granted:
                return True
            self._changed.wait(_LOOK)
        return False
