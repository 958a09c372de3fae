"""Chunks as tasks of a cluster: what is the same for every engine that runs tasks elsewhere.

The engine places tasks, carries bytes, and deals with the failure of machines. The far side is in
`far_side`.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from weakref import WeakKeyDictionary

from procession.backends.cluster.cluster_task import Cluster, Task
from procession.backends.cluster.far_pools import Shape
from procession.backends.cluster.wire import (
    Clocks,
    Message,
    Order,
    column_of,
    items_of,
    pack_order,
    puts_of,
)
from procession.backends.pool_choice import Choice, packed_initializer
from procession.contract import Chunk, Costs, End, Load, PlainBackend, Tally
from procession.errors import PoolClosed
from procession.hints import Any
from procession.items import Job, Reply
from procession.observer import observers
from procession.process.pool import at_exit
from procession.system import after_fork
from procession.system.identity import process_token
from procession.system.pristine import perf_counter, start_new_thread
from procession.system.wakeup import Wakeups
from procession.user_threads import user_threads

AHEAD = 64
"""Values that a generator may be ahead of its consumer, who is some milliseconds away. A guess."""

_IN_MESSAGE = 64 * 1024
"""Bytes of a job's header up to which it travels with each chunk; a guess, as on one machine."""

_LOOK = 0.1
"""Seconds between two looks whether the last chunk is over, besides being told so."""


class ClusterBackend(PlainBackend):
    """Runs chunks on a cluster.

    Args:
        choice: The call's options.
        connect: Connects to the engine.
        limit: Most chunks that may be in its hands at once; `None`: as many as come.
    """

    kills = True
    warm = True
    ahead = AHEAD

    def __init__(
        self, choice: Choice, connect: Callable[[], Cluster], limit: int | None = None
    ) -> None:
        options = choice.options
        self._released = False
        self._process = os.getpid()
        self._connect = connect
        self._cluster = connect()
        self.kind = self._cluster.kind
        self.costs: Costs | None = self._cluster.costs
        self.tally = Tally()
        given = "threads_per_worker" in options.given
        self._shape = Shape(
            packed_initializer(options),
            options.max_tasks_per_worker,
            options.threads_per_worker if given else None,
            choice.isolated,
            choice.module,
        ).pack()
        self._limit = limit
        self._lock = after_fork.rlock()
        self._connecting = after_fork.rlock()
        self._gone = Wakeups()
        self._tasks: dict[int, Task] = {}
        self._waiting: OrderedDict[int, Task] = OrderedDict()
        self._given = 0
        self._number = 0
        self._closed = False
        self._clocks = Clocks()
        self._headers: WeakKeyDictionary[Job, Any] = WeakKeyDictionary()
        self._puts: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        at_exit.register(self)

    # -- what it does --------------------------------------------------------------------------

    @property
    def workers(self) -> int:
        """How many chunks can run at once now."""
        there = self._cluster.workers
        return there if self._limit is None else max(1, min(there, self._limit))

    @property
    def load(self) -> Load:
        """What it does now, as far as is known here."""
        workers, given = self.workers, len(self._tasks)
        busy = min(workers, given)
        return Load(workers, busy, given - busy, workers)

    @property
    def at_work(self) -> bool:
        """Whether a chunk runs or waits."""
        return bool(self._tasks)

    def running(self, chunk: Chunk) -> bool:
        """Whether a worker may have begun with the chunk: no more are before it than can run."""
        with self._lock:
            return any(task.chunk is chunk for task in islice(self._tasks.values(), self.workers))

    # -- chunks --------------------------------------------------------------------------------

    def start(self, chunk: Chunk, ahead: int = 0) -> None:
        """Give a chunk to the engine.

        Args:
            chunk: The chunk.
            ahead: Values that its generator may produce before one is taken; 0 if it is none.

        Raises:
            PoolClosed: The backend was closed.
        """
        self._submit(self._task(chunk, ahead))

    def say(self, chunk: Chunk, *message: Any) -> None:
        """Let a stream go on: nothing else is said to one."""
        _, values = message
        task: Task = chunk.handle
        task.cluster.grant(task, values)

    def _connected(self, listener: Any) -> Cluster:
        """The engine; connected to anew if that was lost meanwhile, unless this one was told so."""
        if self._cluster.connection.usable or self._closed:
            return self._cluster
        with self._connecting:  # not the other lock: the engine's own threads need that meanwhile
            if not self._cluster.connection.usable:
                self._cluster.connection.check_anew(listener)
                try:
                    lost, self._cluster = self._cluster, self._connect()
                except Exception:
                    self._cluster.connection.tell([listener])  # its next chunks need not try, too
                    raise
                self._headers.clear()
                self._puts.clear()
                lost.release()
        return self._cluster

    def _task(self, chunk: Chunk, ahead: int) -> Task:
        cluster = self._connected(chunk.listener)
        job = chunk.job
        header, apart = job.header, None
        if len(header) > _IN_MESSAGE:
            apart = self._kept(self._headers, job, lambda: job.header)
            header = b""
        shared, own = puts_of(chunk)
        puts = [*shared, *(put for put in own if put not in shared)]
        refs = [self._kept(self._puts, put, partial(getattr, put, "content")) for put in puts]
        order = Order(
            self._shape,
            (process_token(), job.key),
            job.name,
            job.timeout,
            job.memory_limit,
            items_of(chunk),
            column_of(chunk),
            ahead,
            header,
            [put.key for put in puts],
            len(shared),
            perf_counter(),
        )
        with self._lock:
            self._number += 1
            number = self._number
        packed, streams = pack_order(order), ahead > 0
        return Task(self, cluster, chunk, number, [apart, *refs], packed, streams=streams)

    def _kept(self, kept: Any, key: Any, content: Callable[[], bytes]) -> Any:
        with self._lock:
            found = kept.get(key)
            if found is None:
                found = kept[key] = self._cluster.broadcast(content)
            return found

    def _submit(self, task: Task) -> None:
        with self._lock:
            if self._closed:
                raise PoolClosed(f"the {self.kind} pool was shut down")
            self._tasks[task.number] = task
            task.chunk.handle = task
            if self._limit is not None and self._given >= self._limit:
                self._waiting[task.number] = task
                return
            self._given += 1
        try:
            task.cluster.submit(task)
        except BaseException:
            self.forget(task)
            raise
        at_exit.end_with_threads(self, self.kind)

    def forget(self, task: Task) -> bool:
        """A task is over, and another may go. Whether it was not over before."""
        with self._lock:
            if not task.closes():
                return False
            self._tasks.pop(task.number, None)
            following = None
            if self._waiting.pop(task.number, None) is None:  # it was given to the engine
                self._given -= 1
                if self._waiting:
                    _, following = self._waiting.popitem(last=False)
                    self._given += 1
        if following is not None:
            try:
                following.cluster.submit(following)
            except Exception as error:
                following.failed(End("refused", error=error))
        if not self._tasks:
            with self._lock:
                self._gone.wake()
            if self._closed:  # perhaps in the engine's own thread, which it takes to be let go
                start_new_thread(self._release, ())
        return True

    def timed(self, message: Message, replies: Sequence[Reply]) -> Sequence[Reply]:
        """Replies, with their times by the clock of this machine; a profile hears of starts."""
        replies = self._clocks.here(message, replies)
        ahead = self._clocks.ahead(message.host) if message.starts else 0.0
        for pid, began, ended in message.starts:
            observers.worker_started(pid, began - ahead, ended - ahead, message.host)
        return replies

    def cancel(self, chunk: Chunk) -> bool:
        """End a chunk. True if it will not deliver."""
        task = chunk.handle
        if task is None or not self.forget(task):
            return False
        task.cluster.cancel([task])
        chunk.listener.ended(chunk, End("cancelled"))
        return True

    def stop(self, chunk: Chunk, *, wanted: bool) -> None:
        """End a chunk: over there the item that runs is ended, too."""
        self.abandon((chunk,))

    def abandon(self, chunks: Sequence[Chunk]) -> None:
        """End chunks that are not wanted any more."""
        tasks: list[Task] = [chunk.handle for chunk in chunks if chunk.handle is not None]
        ended = [task for task in tasks if self.forget(task)]
        for cluster in {task.cluster for task in ended}:
            cluster.cancel([task for task in ended if task.cluster is cluster])
        for task in ended:
            task.chunk.listener.ended(task.chunk, End("cancelled"))

    # -- its end -------------------------------------------------------------------------------

    def drop_abandoned(self) -> None:
        """End the chunks whose listener has an attribute ``abandoned`` that is true."""
        tasks = list(self._tasks.values())
        chunks = [task.chunk for task in tasks]
        self.abandon([c for c in chunks if getattr(c.listener, "abandoned", False)])

    def close(self, *, wait: bool = True, kill: bool = False) -> None:
        """Take no more chunks. ``kill`` ends those in flight; ``wait`` returns when all is gone."""
        with self._lock:
            self._closed = True
        if kill:
            self.abandon([task.chunk for task in list(self._tasks.values())])
        while wait and self._tasks:
            with self._lock:
                wakeup = self._gone.add()
            wakeup.wait(_LOOK)
        if not self._tasks:
            self._release()

    def _release(self) -> None:
        with self._lock:
            if self._released or os.getpid() != self._process:
                return
            self._released = True
        self._headers.clear()
        self._puts.clear()
        self._cluster.release()

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # Retired, as workers from before are not to be used any more, and let go by the last map.
        cluster: Cluster | None = getattr(self, "_cluster", None)
        if ending() or cluster is None or self._released:
            return
        if os.getpid() == self._process:
            self._released = True
            user_threads.defer(cluster.release)

    def renew(self) -> None:
        """In a forked child: all this is the parent's."""
        self._tasks.clear()
        self._waiting.clear()
        self._closed = True
