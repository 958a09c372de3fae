"""Procession's own worker processes as a backend: each can be ended alone.

For isolated calls each worker is used once. After the first call a spare is kept warm, which has
imported the function's module: so the next call does not wait for a start. There is at most one
for each `WorkerSpec`, so for each module (see `isolated_spec`), and it goes after ten idle seconds.

`IsolatedStream` is for generator functions. The process sends values as they are produced, and is
at most `AHEAD` of them ahead. It is killed when its consumer is closed or forgotten.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence

from procession.buffers.housekeeping import housekeeper
from procession.contract import Chunk, End, OneByOne, PlainBackend, Tally
from procession.hints import Protocol
from procession.items import Item, Job, Reply
from procession.pickling.out_of_band import BroadcastBuffers
from procession.process.io import messages
from procession.process.io.reactor import reactor
from procession.process.pool.worker_pool import IDLE, WorkerPool
from procession.process.pool.worker_starts import WorkerSpec
from procession.process.start.start_methods import method_of
from procession.system import after_fork
from procession.system.resources import check_available
from procession.system.wakeup import Wakeup, Wakeups

SPARE = 10.0
"""Seconds that a spare worker for isolated calls waits for the next one. A guess."""

AHEAD = 16
"""Values that a generator may be ahead of its consumer. A guess: enough to hide a message's way."""


def isolated_spec(spec: WorkerSpec, module: str | None) -> WorkerSpec:
    """The spec whose spare has imported the function's module (``__main__`` goes by value)."""
    if module is None or module == "__main__":
        return spec
    return spec._replace(preload=(*spec.preload, module))


class ProcessBackend(WorkerPool, PlainBackend):
    """A pool of Procession's own worker processes.

    Args:
        spec: What shapes the workers.
        workers: How many chunks may run at once.
        idle: Seconds after which a worker without work ends, if not the usual ones.
        single_use: Run each chunk in a worker of its own that ends with it; after the first, one
            is kept warm as a spare.

    Raises:
        OptionError: The context is unknown.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        workers: int,
        *,
        idle: float | None = None,
        single_use: bool = False,
    ) -> None:
        method_of(spec.context)  # refuses it now, and not in the thread that starts workers
        housekeeper.use_clock(reactor.call_later)
        if idle is None:
            idle = SPARE if single_use else IDLE
        self.kind = "isolated" if single_use else "process"
        self.tally = Tally()
        super().__init__(spec, workers, idle=idle, single_use=single_use)

    kills = short_calls = True
    ahead = AHEAD

    @property
    def divider(self) -> WorkerPool:
        """What ends a chunk that runs before its last item."""
        return self

    def start(self, chunk: Chunk, ahead: int = 0) -> None:
        """As `WorkerPool.start`, after what goes to all items was pickled.

        Raises:
            PoolClosed: The backend was closed.
            BackendUnavailable: The job has a memory limit, and this system cannot tell memory.
        """
        if chunk.job.memory_limit is not None:
            check_available()
        if not chunk.job.ready:
            self.pack(chunk.job)
        super().start(chunk, ahead)

    @staticmethod
    def pack(job: Job) -> None:
        """Pickle what goes to all items now, in this thread: that runs code of the user's."""
        _ = job.header
        if isinstance(job.buffers, BroadcastBuffers):
            job.buffers.sendable()  # copied, which takes its time
        job.mark_ready()


class StreamPool(Protocol):
    """Where a stream runs.

    Attributes:
        ahead: Values that a generator may be ahead of its consumer.
    """

    ahead: int

    def start(self, chunk: Chunk, ahead: int = ..., /) -> None:
        """Run its call."""
        ...

    def say(self, chunk: Chunk, /, *message: object) -> None:
        """Tell its worker something."""
        ...

    def cancel(self, chunk: Chunk, /) -> bool:
        """End it."""
        ...


class IsolatedStream:
    """What a generator in another process yields, as `Reply` objects; then its `End`.

    A reply with ``ok`` false is the exception that the generator raised; its end follows. The job's
    timeout is for the whole call, from its start to the last value.

    Args:
        pool: Where it runs.
        job: The job.
        item: The call.
        ahead: Values that it may produce before one is taken, if not as many as usual there.

    Attributes:
        chunk: The call, as its backend knows it.

    Raises:
        PoolClosed: The backend was closed.
    """

    def __init__(self, pool: StreamPool, job: Job, item: Item, ahead: int | None = None) -> None:
        ahead = max(1, pool.ahead if ahead is None else ahead)
        self._arrived = _Arrived(ahead)
        self._pool = pool
        self.chunk = Chunk(job, [item], self._arrived, home=pool)
        # First: what interrupts the start, or the close, leaves the rest to it.
        self._finalizer = weakref.finalize(self, _forget, pool, self.chunk)
        self._finalizer.atexit = False
        pool.start(self.chunk, ahead)
        after_fork.register(self)

    def take(self) -> Reply | End:
        """The next value, waiting for it; the `End` once there are no more, again and again."""
        while True:
            found = self._arrived.next()
            if not isinstance(found, Wakeup):
                break
            found.wait()
        taken = self._arrived.credit()
        if taken:
            self._pool.say(self.chunk, messages.CREDIT, taken)
        return found

    def close(self) -> None:
        """End the process if it still runs; what was not taken is dropped."""
        self._pool.cancel(self.chunk)
        self._finalizer.detach()
        self._arrived.clear()

    def renew(self) -> None:
        """In a forked child: the values go to the parent."""
        self._arrived.refuse(after_fork.call_of_parent(self.chunk.job.name))


class _Arrived(OneByOne):
    """The listener; does not refer to the stream, so that a forgotten stream can be collected."""

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._changed = after_fork.lock()
        self._wakeups = Wakeups()
        self._replies: deque[Reply] = deque()
        self._end: End | None = None
        self._taken = 0

    abandoned = True
    """The end of the program waits for no rest of a stream."""

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        with self._changed:
            self._replies.extend(replies)
            self._wakeups.wake()

    def ended(self, chunk: Chunk, end: End) -> None:
        with self._changed:
            self._end = end
            self._wakeups.wake()

    def next(self) -> Reply | End | Wakeup:
        """The next value, or the end; or what to wait for."""
        with self._changed:
            if self._replies:
                self._taken += 1
                return self._replies.popleft()
            return self._end or self._wakeups.add()

    def credit(self) -> int:
        """How far the generator may go on, in steps of half of what it may be ahead; or 0."""
        if self._taken * 2 < self._ahead or self._end is not None:
            return 0
        with self._changed:
            taken, self._taken = self._taken, 0
        return taken

    def clear(self) -> None:
        """Drop what was not taken."""
        with self._changed:
            self._replies.clear()

    def refuse(self, error: BaseException) -> None:
        """There are no more values here, unless the end has come already."""
        if self._end is None:
            self._end = End("refused", error=error)


def _forget(pool: StreamPool, chunk: Chunk) -> None:
    """The stream was collected. In a finalizer: take no lock here."""
    reactor.defer(lambda: pool.cancel(chunk))
