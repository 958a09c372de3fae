"""A thread that looks after tasks on Dask: those that failed, and those whose result is to fetch.

Dask tells such things to who waits for a future. To wait for each costs more than to look at all of
them ten times a second, which takes about a microsecond for each.
"""

from __future__ import annotations

from collections.abc import Sequence

from procession.backends.cluster.cluster_task import Task
from procession.backends.cluster.dask_connection import Connection
from procession.backends.cluster.engine_connection import missing_procession
from procession.backends.cluster.task_watch import TaskWatch
from procession.contract import End
from procession.errors import PoolClosed
from procession.hints import Any
from procession.system.pristine import monotonic, threading
from procession.system.wakeup import Wakeup

_LOOK = 0.1
"""Seconds between two looks, while tasks are under way."""

_SOON = 0.002
"""Seconds until the first look after a task has said that its result is to be fetched."""

_HURRIED = 10
"""How many such looks, at those tasks alone, follow one another."""

_DATA_LOST = ("already forgotten", "lost dependencies")
"""Why Dask drops tasks when the machines are gone that had what was sent straight to them."""


class DaskWatch(TaskWatch):
    """Looks after the tasks of one client."""

    def __init__(self, connection: Connection, tasks: dict[int, Task]) -> None:
        super().__init__(connection, tasks)
        self._connection = connection
        self._pause = Wakeup()
        self._soon: dict[int, Task] = {}
        self._fetching: set[int] = set()
        self._hurried = 0
        self._next_look = 0.0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def look(self) -> None:
        """There are tasks."""
        if not self._busy.is_set():
            self._busy.set()
            with self._lock:
                if self._thread is None and not self._stopped.is_set():
                    self._thread = threading.Thread(
                        target=self._run, name="procession-dask", daemon=True
                    )
                    self._thread.start()

    def heard(self) -> None:
        """A worker has told something."""
        self._lost.heard()

    def fetch_soon(self, task: Task) -> None:
        """A task has said that its result is to be fetched, which is there in a moment."""
        self._soon[task.handle.number] = task
        self._hurried = _HURRIED
        self._pause.wake()

    def workers(self) -> int:
        """How many threads its workers have."""
        return self._connection.threads()

    def stop(self) -> None:
        """The connection is let go."""
        self._stopped.set()
        self._busy.set()
        self._pause.wake()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self._rests():
                self._connection.ages()
                continue
            try:
                self._look_once()
            except Exception as error:
                self._give_up(PoolClosed(f"Dask's tasks cannot be followed any more: {error!r}"))
            self._hurried -= 1
            self._pause.wait(_SOON if self._hurried >= 0 else _LOOK)

    def _look_once(self) -> None:
        if not self._connection.usable:
            self._give_up(self._connection.lost())
        elif monotonic() < self._next_look:
            self._look_at(list(self._soon.values()))
        else:
            self._next_look = monotonic() + _LOOK
            self._look_at(list(self._tasks.values()))
            self._look_at_workers(self._connection.threads_now())

    def _look_at(self, tasks: Sequence[Task]) -> None:
        connection = self._connection
        finished: list[Task] = []
        for task in tasks:
            future: Any = task.handle and task.handle.future
            status = future.status if future else "pending"
            if status == "finished":
                if not (task.over or task.handle.number in self._fetching):
                    finished.append(task)
            elif status == "error":
                self.end(
                    task.handle.number,
                    task,
                    _failure(future.exception(timeout=2), connection.place),
                )
            elif status == "cancelled":  # what is only "lost" is run again by Dask itself
                self._lose(task)
        self._fetching.update(task.handle.number for task in finished)
        if finished:
            connection.client.loop.add_callback(self._fetch, finished)
        for number, task in list(self._soon.items()):
            if task.over:
                self._soon.pop(number, None)

    def _lose(self, task: Task) -> None:
        """Dask has dropped it, or its machine is gone."""
        future = task.handle.future
        end = _lost(future, self._connection)  # before the reason is another one
        if future.status == "cancelled":
            # After a restart the scheduler may still get it from us, and would run it.
            self._connection.cancel([future])
        self.end(task.handle.number, task, end)

    async def _fetch(self, tasks: list[Task]) -> None:
        """In Dask's thread: fetch the results of tasks whose end no event has told."""
        client = self._connection.client
        for task, content in zip(tasks, await _contents(client, tasks), strict=True):
            try:
                if content is not None:
                    task.arrived(content)
            except Exception as error:
                task.failed(End("refused", error=error))
            if not task.over:  # no event, and no result
                self._lose(task)
            self._fetching.discard(task.handle.number)
            self._tasks.pop(task.handle.number, None)
            task.handle.future = None


async def _contents(client: Any, tasks: Sequence[Task]) -> Sequence[Any]:
    """The results of tasks; `None` for what is lost."""
    futures = [task.handle.future for task in tasks]
    try:
        found: Sequence[Any] = await client.gather(futures, "skip", direct=True, asynchronous=True)
    except Exception:
        found = ()
    if len(found) == len(tasks):
        return found
    return [await _one(client, future) for future in futures]


async def _one(client: Any, future: Any) -> Any:
    try:
        return await client.gather(future, direct=False, asynchronous=True)
    except Exception:
        return None


def _lost(future: Any, connection: Connection) -> End:
    """How a task ends whose result is not there: Dask has dropped it, or its machine is gone."""
    if future.status != "cancelled":
        return End("died", None)
    private: Any = getattr(future, "_state", None)
    reason = getattr(getattr(private, "exception", None), "reason", "")
    if reason in _DATA_LOST and connection.usable:
        return End("died", None)
    if reason != "scheduler-restart":
        return End("refused", error=connection.lost())
    restarted = PoolClosed(
        f"the Dask cluster ({connection.place}) was restarted (Client.restart) while calls ran "
        "there, which drops all that is under way. Call again."
    )
    return End("refused", error=restarted)


def _failure(error: BaseException, place: str) -> End:
    """How a chunk has ended whose task failed."""
    if type(error).__name__ == "KilledWorker":
        return End("died", None)
    if isinstance(error, ModuleNotFoundError):
        return End("refused", error=missing_procession("Dask", place, error))
    return End(
        "refused", error=error if isinstance(error, Exception) else RuntimeError(repr(error))
    )
