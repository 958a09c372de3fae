"""On a machine of the cluster: a task of the engine's, which runs an order in a local pool.

The task waits for the pool, sends home what has come, and looks whether it is still wanted. If not,
the worker that runs the order is ended.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from procession.backends.cluster.far_pools import far_pools, host_name, laid_down
from procession.backends.cluster.wire import Message, Order, open_order, pack_message
from procession.contract import Chunk, End
from procession.hints import Any
from procession.items import Reply, Results
from procession.pickling.out_of_band import with_tickets
from procession.process.io import messages
from procession.process.pool.worker_pool import WorkerPool
from procession.system import NamedTuple, after_fork
from procession.system.pristine import perf_counter
from procession.system.resources import check_available
from procession.system.wakeup import Wakeup

_LOOK = 0.05
"""Seconds between two looks whether the task is still wanted."""

_SEND_EVERY = 0.25
"""Seconds for which results are kept back at most, so that they travel together. A guess: a message
costs milliseconds on its way."""


class Home(NamedTuple):
    """The way home for one task.

    Attributes:
        send: Sends a message to the caller.
        wanted: Whether the caller still wants the task.
        inline: Most bytes of a message that `send` takes; the rest is the task's result.
    """

    send: Callable[[bytes], None]
    wanted: Callable[[], bool]
    inline: int


def run_order(packed: Any, header: Any, puts: Sequence[Any], workers: int, home: Home) -> Any:
    """Run an order; all that comes of it goes home.

    Args:
        packed: The order.
        header: The job's header, if it came apart; else empty.
        puts: The content of what was put, in the order of its keys.
        workers: How many chunks may run at once in this process.
        home: The way home.

    Returns:
        What is too large for a message; else `None`.

    Raises:
        BackendUnavailable: The caller has another version of Python or Procession.
    """
    came = perf_counter()
    order = open_order(packed)
    if order.memory_limit is not None:
        check_available()
    with laid_down(order.puts, puts) as tickets:
        pool = far_pools.pool(order.workers, workers)
        job = far_pools.job(order, header, tickets)
        arrivals = _Arrivals(stream=order.ahead > 0)
        content = order.content(lambda blob: with_tickets(blob, tickets))
        chunk = Chunk(job, content, arrivals, attended=not order.ahead)
        pool.start(chunk, order.ahead)
        task = _Task(order, came, home, pool, chunk, arrivals)
        if not order.ahead:
            return task.run()
        with streams.open(task.number, pool, chunk):
            task.begin()
            return task.run()


class _Task:
    """Sends home what comes of one order."""

    def __init__(
        self,
        order: Order,
        came: float,
        home: Home,
        pool: WorkerPool,
        chunk: Chunk,
        arrivals: _Arrivals,
    ) -> None:
        self.number = uuid.uuid4().hex
        self._came = came
        self._home = home
        self._pool = pool
        self._chunk = chunk
        self._arrivals = arrivals
        self._host = host_name()
        self._sent = order.sent
        self._stream = order.ahead > 0

    def begin(self) -> None:
        """Tell the caller of a stream how to call this run of it."""
        self._home.send(self._packed(_NOTHING))

    def run(self) -> Any:
        """Send home what comes until the end; what is too large is returned."""
        sent = self._came
        while True:
            if not self._stream:
                self._pool.attend(self._chunk, _LOOK)  # reads the worker's channel itself
            self._arrivals.changed.wait(_LOOK)
            if not self._home.wanted():
                self._pool.cancel(self._chunk)
                return None
            came = self._arrivals.take(everything=self._stream or self._due(sent))
            if not any(came):
                continue
            sent = perf_counter()
            content = self._packed(came)
            if came.end is None and (len(content) <= self._home.inline or self._stream):
                self._home.send(content)
            elif came.end is None:
                self._arrivals.put_back(came)
            elif len(content) <= self._home.inline:
                self._home.send(content)
                return None
            else:
                self._home.send(self._packed(_NOTHING, more=True))
                return content

    def _due(self, sent: float) -> bool:
        return perf_counter() - sent >= _SEND_EVERY

    def _packed(self, came: _Came, *, more: bool = False) -> bytes:
        clock = self._came, perf_counter()
        starts = far_pools.starts.take(self._came)
        return pack_message(
            Message(*came, self._host, clock, more, self.number, self._sent, starts)
        )


class _Came(NamedTuple):
    """What has come of an order since it was looked at last, as in a `Message`."""

    replies: Sequence[Reply] = ()
    results: Sequence[tuple[int, Results]] = ()
    end: End | None = None


_NOTHING = _Came()


class _Arrivals:
    """The listener: keeps what has come until the task sends it home."""

    def __init__(self, *, stream: bool) -> None:
        self.changed = Wakeup()
        self._stream = stream
        self._lock = after_fork.lock()
        self._replies: list[Reply] = []
        self._results: list[tuple[int, Results]] = []
        self._end: End | None = None
        self._large = False

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """Keep replies; a stream's go on at once."""
        with self._lock:
            self._replies.extend(replies)
        if self._stream:
            self.changed.wake()

    def returned(self, chunk: Chunk, position: int, results: Results) -> None:
        """Keep results; with those before them, if there is no gap."""
        with self._lock:
            if self._results:
                first, before = self._results[-1]
                if first + len(before.payloads) == position:
                    self._results[-1] = first, before.then(results)
                    return
            self._results.append((position, results))

    def ended(self, chunk: Chunk, end: End) -> None:
        """Keep the end, and wake the task."""
        with self._lock:
            self._end = end._replace(host=host_name())
        self.changed.wake()

    def take(self, *, everything: bool) -> _Came:
        """What has come; nothing before the end, unless `everything`."""
        with self._lock:
            if self._end is None and (not everything or self._large):
                return _NOTHING
            came = _Came(self._replies, self._results, self._end)
            self._replies, self._results, self._end = [], [], None
            return came

    def put_back(self, came: _Came) -> None:
        """These are too large to travel before the end."""
        with self._lock:
            self._large = True
            self._replies[:0] = came.replies
            self._results[:0] = came.results


class Streams:
    """The streams that run in this process, by number, for those who grant them values."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[WorkerPool, Chunk]] = {}

    @contextmanager
    def open(self, number: str, pool: WorkerPool, chunk: Chunk) -> Generator[None]:
        """Have a stream found by its number within a ``with`` block."""
        self._open[number] = pool, chunk
        try:
            yield
        finally:
            self._open.pop(number, None)

    def grant(self, number: str, values: int) -> None:
        """Let a stream go on by so many values."""
        found = self._open.get(number)
        if found is not None:
            pool, chunk = found
            pool.say(chunk, messages.CREDIT, values)


streams = Streams()
"""This process's."""
