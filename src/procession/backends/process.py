"""Our own worker processes as a backend: workers that can be killed, in a pool that cannot break.

Beyond the protocol of `contract`, `ProcessBackend` has

* ``attend(chunk, timeout)``: the calling thread waits for a chunk by reading the worker's pipe
  itself, which saves a thread switch. It may return early; then wait in the ordinary way.
* ``notice(chunk)``: somebody looks at a chunk that was ``attended``, but not by ``attend``.
* ``warm_up()``: start workers before they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from procession.buffers.housekeeping import housekeeper
from procession.contract import Chunk, Job
from procession.pickling.out_of_band import BroadcastBuffers
from procession.process.io.reactor import reactor
from procession.process.pool.worker_pool import IDLE, WorkerPool
from procession.process.start.starting import method_of
from procession.process.start.worker_spec import WorkerSpec
from procession.system.resources import check_available

__all__ = ["ProcessBackend", "WorkerSpec"]


class ProcessBackend:
    """A pool of our own worker processes.

    Args:
        spec: What shapes the workers.
        workers: How many chunks may run at once.
        idle: Seconds after which a worker without work ends.
        single_use: Run each chunk in a worker of its own that ends with it; after the first, one
            is kept warm for the next call (see `procession.backends.isolated`).

    Raises:
        OptionError: The context is unknown.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        workers: int,
        *,
        idle: float = IDLE,
        single_use: bool = False,
    ) -> None:
        method_of(spec.context)  # refuses it now, and not in the thread that starts workers
        housekeeper.later = reactor.call_later
        self._pool = WorkerPool(spec, workers, idle=idle, single_use=single_use)

    @property
    def workers(self) -> int:
        """How many chunks can run at once."""
        return self._pool.size

    @property
    def warm(self) -> bool:
        """Whether at least one worker is up."""
        return self._pool.warm

    kills = True

    @property
    def at_work(self) -> bool:
        """Whether a chunk runs or waits."""
        return self._pool.at_work

    def hand_over(self, thread: int) -> None:
        """Have the reactor read what this thread was reading, and cannot just now."""
        self._pool.hand_over(thread)

    def start(self, chunk: Chunk) -> None:
        """Run a chunk as soon as a worker is free.

        Raises:
            PoolClosed: The backend was closed.
            BackendUnavailable: The job has a memory limit, and this system cannot tell memory.
        """
        if chunk.job.memory_limit is not None:
            check_available()
        self.pack(chunk.job)
        self._pool.start(chunk)

    @staticmethod
    def pack(job: Job) -> None:
        """Pickle what goes to all items now, in this thread: that runs code of the user's."""
        _ = job.header
        if isinstance(job.buffers, BroadcastBuffers):
            job.buffers.sendable()  # copied, which takes its time

    def cancel(self, chunk: Chunk) -> bool:
        """End a chunk: take it back, or kill its worker. True if it will not deliver."""
        ticket = chunk.handle
        return ticket is not None and self._pool.cancel(ticket)

    def abandon(self, chunks: Sequence[Chunk]) -> None:
        """End chunks that nobody wants any more."""
        for chunk in chunks:
            self.cancel(chunk)

    def running(self, chunk: Chunk) -> bool:
        """Whether a worker was given the chunk."""
        ticket = chunk.handle
        return ticket is not None and self._pool.running(ticket)

    def attend(self, chunk: Chunk, timeout: float | None = None) -> None:
        """Wait for a chunk by reading its worker's pipe in this thread.

        Returns when the chunk is over, when `timeout` seconds have passed, or at once if it waits
        for a worker or another thread reads already. Its listener is told by whoever reads.
        """
        ticket = chunk.handle
        if ticket is not None:
            ticket.wait(timeout)

    def notice(self, chunk: Chunk) -> None:
        """Read the chunk's replies as they come: nobody is known to `attend` to it any more."""
        ticket = chunk.handle
        if ticket is not None:
            self._pool.notice(ticket)

    def warm_up(self, workers: int | None = None) -> None:
        """Begin to start workers, at most as many as the pool may have."""
        self._pool.warm_up(workers)

    def retire(self) -> None:
        """Let workers go as soon as they are idle."""
        self._pool.idle_timeout = 0.0

    def apart(self) -> ProcessBackend:
        """A backend like this one with a single worker (never needed: we know who is to blame)."""
        return ProcessBackend(self._pool.spec, 1)

    def close(self, *, wait: bool = True, kill: bool = False) -> None:
        """Take no more chunks. ``kill`` ends those in flight; ``wait`` returns when all is gone."""
        self._pool.close(wait=wait, kill=kill)
