"""Ray as an engine: chunks are its tasks, and run in Procession's own workers on its machines.

A task carries bytes alone, and a function of two lines that goes by value. So a machine without
Procession can still say so. All that comes of a chunk is its task's result. Ray does not run a task
again itself: it does not know which items are done, and the engine does.

A stream is a task whose results come one by one. Ray holds it up when they are not taken, and a
thread takes them when the stream's consumer has room.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from procession.backends.cluster.cluster_backend import ClusterBackend
from procession.backends.cluster.cluster_task import Task
from procession.backends.cluster.engine_connection import OpenClusters
from procession.backends.cluster.ray_connection import Connection, connect
from procession.backends.cluster.ray_use import ray_use
from procession.backends.cluster.ray_watch import RayWatch, StreamReader
from procession.backends.pool_choice import Choice
from procession.configuration import Options
from procession.contract import Costs
from procession.hints import Any
from procession.system import after_fork

_FAR_SIDE = """
def run(order, header, *puts):
    from procession.backends.cluster import ray_far_side
    return ray_far_side.run(order, header, puts)

def stream(order, header, *puts):
    from procession.backends.cluster import ray_far_side
    yield from ray_far_side.stream(order, header, puts)
"""

_NAMES = 64
"""Functions whose name is looked up, and not checked by Ray each time."""

_UNREAD = 2
"""Messages of a stream that may wait for its reader."""

_COSTS = Costs(handling=1.2e-3, target=0.2, blind=0.2, floor=0.05, waiting=1)
"""A chunk takes 1.2 ms of the caller's time, 0.5 of them in Ray: see ``benchmarks/clusters.py``. A
round trip takes some 3 ms, which a chunk of 0.2 s hides."""


class _Handle:
    """What Ray knows of a task.

    Attributes:
        number: The task's number on this connection.
        ref: Ray's reference to its result, or to what a stream gives.
        reader: Of a stream.
    """

    def __init__(self, number: int, ref: Any, reader: StreamReader | None = None) -> None:
        self.number = number
        self.ref = ref
        self.reader = reader


class RayCluster:
    """A connection to a Ray cluster, used by the backends of all options.

    Args:
        connection: What is known of it.

    Attributes:
        connection: That.
    """

    kind = "ray"
    costs = _COSTS

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._ray = connection.ray
        self._tasks: dict[int, Task] = {}
        self._number = 0
        self._lock = after_fork.rlock()
        self._watch = RayWatch(connection, self._tasks)
        far: dict[str, Any] = {"__name__": "__far__"}  # no module, so that Ray sends it by value
        exec(_FAR_SIDE, far)
        fixed = {"num_cpus": 1, "max_retries": 0}
        self._run = self._ray.remote(**fixed)(far["run"])
        self._named = lru_cache(_NAMES)(self._with_name)
        self._stream = self._ray.remote(**fixed)(far["stream"]).options(
            num_returns="streaming", _generator_backpressure_num_objects=_UNREAD
        )

    def _with_name(self, name: str) -> Any:
        return self._run.options(name=name)

    @property
    def workers(self) -> int:
        """How many tasks can run at once now; 1 where there is no worker yet."""
        return max(1, self._watch.growth.told(self.connection.cpus))

    def release(self) -> None:
        """One backend needs it no more; after the last one a connection of ours ends."""
        with ray_use.alone():  # who connects meanwhile would find this connection
            if _clusters.leave(self):
                self._watch.stop()
                self.connection.close()

    def submit(self, task: Task) -> None:
        """Have a task run.

        Raises:
            PoolClosed: The connection is lost, or was closed.
        """
        with self.connection.held():
            self._submit(task)

    def _submit(self, task: Task) -> None:
        self._watch.check(task)
        header, *puts = [each and each.ref() for each in task.shared]
        with self._lock:
            self._number += 1
            number = self._number
            self._tasks[number] = task
        self._watch.look()
        try:
            if task.streams:
                reference = self._stream.remote(task.order, header, *puts)
                reader = StreamReader(self.connection, self._watch, number, task, reference)
                task.handle = _Handle(number, reference, reader)
                reader.start()
            else:
                reference = self._named(task.name).remote(task.order, header, *puts)
                task.handle = _Handle(number, reference)
                reference.future().add_done_callback(partial(self._watch.done, number))
        except BaseException:
            self._tasks.pop(number, None)
            raise
        if task.over:  # cancelled meanwhile
            self.cancel([task])

    def cancel(self, tasks: Sequence[Task]) -> None:
        """End tasks that are not wanted any more."""
        handles: list[_Handle] = [task.handle for task in tasks if task.handle is not None]
        with ray_use.shared():
            for handle in handles:
                self._tasks.pop(handle.number, None)
                if self.connection.usable:
                    self._ray.cancel(handle.ref, recursive=False)
                if handle.reader is not None:
                    handle.reader.stop()

    def broadcast(self, content: Callable[[], bytes]) -> _Broadcast:
        """What stands for content that goes once to each machine."""
        return _Broadcast(self._ray, content)

    def grant(self, task: Task, values: int) -> None:
        """Let a stream go on by so many values."""
        task.handle.reader.grant(values)


class _Broadcast:
    """Content that Ray keeps on each machine that needs it."""

    def __init__(self, ray: Any, content: Callable[[], bytes]) -> None:
        self._ray = ray
        self._content = content
        self._ref: Any = None

    def ref(self) -> Any:
        """Ray's reference to it; now it is put there, if it was not before."""
        if self._ref is None:
            # Out of band, so that each task over there maps it, and makes no copy.
            self._ref = self._ray.put(pickle.PickleBuffer(self._content()))
        return self._ref


# -- connections that are open -----------------------------------------------------------------

_clusters = OpenClusters()


def ray_backend(choice: Choice) -> ClusterBackend:
    """The backend for ``backend="ray"``.

    Raises:
        BackendUnavailable: Ray is not installed, there is no cluster at the address, or it runs
            other versions of Python, Ray or Procession.
    """
    options = choice.options
    known = _clusters.get(options.address or "")
    limited = "workers" in options.given
    if options.address is None and (known is None or known.workers <= options.workers):
        limited = False  # a cluster of our own has no more
    return ClusterBackend(choice, partial(_cluster, options), options.workers if limited else None)


def _cluster(options: Options) -> RayCluster:
    """The connection to the cluster that the options mean, which others may use already."""
    key = options.address or ""
    with ray_use.shared():
        cluster: RayCluster = _clusters.use(key, lambda: RayCluster(connect(options)))
    return cluster
