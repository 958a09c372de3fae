"""Dask as an engine: chunks are its tasks, and run in Procession's own workers on its machines.

A task carries bytes alone: `eval` with a line of text that calls the far side. So the scheduler,
which unpickles tasks, needs neither Procession nor the user's code, and a worker of another version
can still say so. Results come home as Dask's events, and what is large as the task's result.

A thread of Procession's looks after what Dask does not tell: tasks that have failed, a scheduler or
workers that are gone. Dask's own thread, which others wait for, never waits for it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from procession.backends.cluster.cluster_backend import ClusterBackend
from procession.backends.cluster.cluster_task import Task
from procession.backends.cluster.dask_connection import Connection, connect
from procession.backends.cluster.dask_sending import Broadcast, scatter
from procession.backends.cluster.dask_watch import DaskWatch
from procession.backends.cluster.engine_connection import OpenClusters
from procession.backends.pool_choice import Choice
from procession.configuration import Options
from procession.contract import Costs, End
from procession.hints import Any
from procession.system import after_fork

_RUN = (
    "__import__('procession.backends.cluster.dask_far_side', fromlist=['run'])"
    ".run(order, topic, number, header, puts)"
)
_GRANT = (
    "__import__('procession.backends.cluster.dask_far_side', fromlist=['run'])"
    ".grant(number, values)"
)

_LARGE = 1 << 20
"""Bytes of an order from which on it goes straight to a worker, and not by way of the scheduler. A
guess; Dask itself warns at 10 MB."""

_TOGETHER = 1e-3
"""Seconds that a task waits for others, to be submitted with them. With two workers 2 ms made
graphs that were hardly larger, and results that came later."""

_COSTS = Costs(handling=1e-3, target=0.2, blind=0.2, floor=0.05, waiting=1)
"""A task takes 1 to 2 ms of the caller's time and 2 to 3 ms of the scheduler's, see
``benchmarks/clusters.py``. A round trip takes some 10 ms, which a chunk of 0.2 s hides."""


class DaskCluster:
    """A connection to a Dask cluster, used by the backends of all options.

    Args:
        connection: The client, and whose it is.

    Attributes:
        connection: That.
    """

    kind = "dask"
    costs = _COSTS

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._client = connection.client
        self._topic = f"procession-{uuid.uuid4().hex}"
        self._tasks: dict[int, Task] = {}
        self._queue: deque[Task] = deque()
        self._told = False
        self._number = 0
        self._lock = after_fork.rlock()
        self._watch = DaskWatch(connection, self._tasks)
        self._heard_by: Any = None

    @property
    def workers(self) -> int:
        """How many tasks can run at once now; 1 where there is no worker yet."""
        return max(1, self._watch.growth.told(self.connection.threads()))

    def release(self) -> None:
        """One backend needs it no more; after the last one a cluster of ours ends."""
        if _clusters.leave(self):
            self._watch.stop()
            self.connection.close(self._topic)

    # -- tasks ---------------------------------------------------------------------------------

    def submit(self, task: Task) -> None:
        """Have a task run.

        Raises:
            PoolClosed: The connection is lost, or the client was closed.
        """
        self.connection.check()
        self._watch.check(task)
        with self._lock:
            if self._heard_by is not self._client.scheduler_comm:  # it may have connected anew
                self._heard_by = self._client.scheduler_comm
                self._client.subscribe_topic(self._topic, self._heard)
            self._number += 1
            task.handle = _Handle(self._number, task.order)
            self._tasks[self._number] = task
        self._queue.append(task)
        if not self._told:
            self._told = True
            self._client.loop.add_callback(self._submit_soon)
        self._watch.look()

    def _submit_soon(self) -> None:
        """In the client's thread: let others join, unless nothing else is under way."""
        if len(self._tasks) == len(self._queue):
            self._submit_queued()
        else:
            self._client.loop.call_later(_TOGETHER, self._submit_queued)

    def _submit_queued(self) -> None:
        """In the client's thread: submit what has come since, in as few graphs as can be.

        Two in a graph cost the client and the scheduler a fifth less each, four cost half.
        """
        self._told = False
        ready: list[Task] = []
        size = 0
        while self._queue:
            task = self._queue.popleft()
            if task.over:  # cancelled meanwhile
                self._tasks.pop(task.handle.number, None)
                continue
            apart = [each for each in task.shared if each is not None]
            if len(task.order) > _LARGE or not all(each.ready for each in apart):
                self._client.loop.add_callback(self._send_first, task)
                continue
            size += len(task.order)
            if ready and size > _LARGE:
                self._submit(ready)
                ready, size = [], len(task.order)
            ready.append(task)
        if ready:
            self._submit(ready)

    def _submit(self, tasks: Sequence[Task]) -> None:
        given = [self._given(task) for task in tasks]
        keys = [f"{task.name}-{self._topic}-{task.handle.number}" for task in tasks]
        try:
            if len(tasks) == 1:
                futures = [self._client.submit(eval, _RUN, *given, key=keys[0], pure=False)]
            else:
                run = [_RUN] * len(tasks)
                futures = self._client.map(eval, run, given, key=keys, pure=False)
        except Exception as error:
            for task in tasks:
                self._watch.end(task.handle.number, task, End("refused", error=error))
            return
        for task, future in zip(tasks, futures, strict=True):
            task.handle.future = future
        if over := [task for task in tasks if task.over]:  # cancelled meanwhile
            self.cancel(over)

    def _given(self, task: Task) -> dict[str, Any]:
        header, *puts = [each and each.future for each in task.shared]
        return {
            "order": task.handle.order,
            "topic": self._topic,
            "number": task.handle.number,
            "header": header,
            "puts": puts,
        }

    async def _send_first(self, task: Task) -> None:
        """In the client's thread: first send what is large, straight to the workers."""
        try:
            for each in task.shared:
                if each is not None:
                    await each.send(self._client)
            if len(task.order) > _LARGE:
                task.handle.order = await scatter(self._client, task.order, broadcast=False)
        except (Exception, asyncio.CancelledError) as error:
            lost = None if self.connection.usable else self.connection.lost()
            self._watch.end(task.handle.number, task, End("refused", error=lost or error))
        if not task.over:
            self._submit([task])

    def cancel(self, tasks: Sequence[Task]) -> None:
        """End tasks that are not wanted any more."""
        handles = [task.handle for task in tasks if task.handle is not None]
        for handle in handles:
            self._tasks.pop(handle.number, None)
        self.connection.cancel([each.future for each in handles if each.future is not None])

    def broadcast(self, content: Callable[[], bytes]) -> Broadcast:
        """What stands for content that goes once to each machine."""
        return Broadcast(content)

    def grant(self, task: Task, values: int) -> None:
        """Let a stream go on by so many values."""
        worker = task.handle.worker
        if worker and self.connection.usable:
            self._client.loop.add_callback(self._grant, worker, task.run, values)

    async def _grant(self, worker: str, number: str, values: int) -> None:
        given = {"number": number, "values": values}
        run = partial(self._client.run, eval, _GRANT, given, workers=[worker])
        with suppress(Exception):  # the connection is lost, of which the stream is told elsewhere
            await run(asynchronous=True, on_error="ignore")

    def _heard(self, event: tuple[float, Any]) -> None:
        """In the client's thread: a task has told something."""
        said = event[1]
        task = self._tasks.get(said["number"])
        if task is None:
            return
        self._watch.heard()
        task.handle.worker = said.get("worker", "")
        if task.arrived(said["content"]).more:
            self._watch.fetch_soon(task)
        if task.over:
            self._tasks.pop(said["number"], None)
            task.handle.future = None  # its result may go


class _Handle:
    """What Dask knows of a task.

    Attributes:
        number: The task's number on this connection.
        order: The task's order, or Dask's future of it.
        future: Dask's future, once it was submitted.
        worker: The address of the worker that runs it, once that is known.
    """

    def __init__(self, number: int, order: Any) -> None:
        self.number = number
        self.order = order
        self.future: Any = None
        self.worker = ""


# -- connections that are open -----------------------------------------------------------------

_clusters = OpenClusters()


def dask_backend(choice: Choice) -> ClusterBackend:
    """The backend for ``backend="dask"``, or for the user's own client.

    Raises:
        BackendUnavailable: Dask is not installed, there is no cluster at the address, or it runs
            other versions of Python or Procession.
    """
    options = choice.options
    ours = isinstance(options.backend, str) and options.address is None
    limit = options.workers if "workers" in options.given and not ours else None
    return ClusterBackend(choice, partial(_cluster, options), limit)


def _cluster(options: Options) -> DaskCluster:
    """The connection to the cluster that the options mean, which others may use already."""
    ours = isinstance(options.backend, str) and options.address is None
    key = (
        options.address or (options.workers if ours else ""),
        "" if isinstance(options.backend, str) else id(options.backend),
    )
    cluster: DaskCluster = _clusters.use(key, lambda: DaskCluster(connect(options)))
    return cluster
