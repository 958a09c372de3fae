"""A chunk in the pool's hands: where it is, and how to wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from procession.contract import Chunk, Item, Reply
from procession.process.io.reactor import reactor
from procession.process.pool.replies import look, take
from procession.system.pristine import threading, time

if TYPE_CHECKING:
    from procession.process.io.reactor import Timer
    from procession.process.pool.worker import Worker
    from procession.process.pool.worker_pool import WorkerPool

__all__ = ["Ticket"]


class Ticket:
    """One chunk's way through a pool.

    Attributes:
        pool: Where it was started.
        chunk: The chunk.
        worker: Who it was given to.
        sent: Whether it was sent, or begun to be.
        looks: How often the pool's audit has found it given but not sent.
        over: Whether its end was, or is about to be, told.
        replied: Which of its items have replied before the last ones, if any.
        timers: What watches its limits.
        ahead: How many values its generator may be ahead; 0 if it is an ordinary chunk.
        beside: Those of its items that have buffers in shared memory, by index.
        since: When it was made, if its items' time is limited.
    """

    __slots__ = (
        "ahead",
        "beside",
        "chunk",
        "looks",
        "over",
        "pool",
        "replied",
        "sent",
        "since",
        "timers",
        "worker",
    )

    def __init__(self, pool: WorkerPool, chunk: Chunk, ahead: int = 0) -> None:
        self.pool = pool
        self.chunk = chunk
        self.worker: Worker | None = None
        self.over = False
        self.sent = False
        self.looks = 0
        self.replied: set[int] | None = None
        self.timers: list[Timer] = []
        self.ahead = ahead
        self.beside: dict[int, Item] | None = None
        self.since = 0.0 if chunk.job.timeout is None else time.monotonic()
        for item in chunk.items:
            if item.buffers:
                self.beside = self.beside or {}
                self.beside[item.index] = item

    def let_go(self, replies: Sequence[Reply]) -> None:
        """Items that have results are not sent again: their shared memory is free for others."""
        if self.beside is not None:
            for reply in replies:
                item = self.beside.pop(reply.index, None)
                if item is not None and reply.ok:
                    item.buffers = ()

    def missing(self) -> int:
        """The first of its items that has not replied."""
        items, replied = self.chunk.items, self.replied or ()
        return next((item.index for item in items if item.index not in replied), items[0].index)

    def wait(self, timeout: float | None) -> None:
        """Read the worker's channel in this thread until the chunk is over, or time is.

        Returns at once if the chunk waits for a worker, or somebody else reads: the reactor then
        does the work, and the caller waits for the listener to be told, as it must after this in
        any case. An interrupt (Ctrl-C) that strikes while bytes are being taken out of the channel
        makes the stream unknown: that worker is killed, and its chunk ends as ``"died"``.
        """
        worker = self.worker
        if worker is None or self.over or worker.unsent:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        mine = (threading.get_ident(), self)
        # A signal handler may raise anywhere, also between two steps here. What then is left
        # undone (the lock, the arming, the telling) the pool's audit does within a second.
        try:
            if worker.reading.acquire(blocking=False):
                worker.reader = mine
                self._read(worker, deadline)
        finally:
            if worker.reader is mine:
                worker.reader = None
                worker.reading.release()
                # Only now, in this order: an event that came meanwhile was dropped by the reactor.
                if worker.receiver.fetched:
                    reactor.call_soon(lambda: look(self.pool, worker))
                elif worker.ticket is not None and not worker.dead:
                    worker.arm()
            elif worker.handed_over:
                self._come_back(worker)
            worker.tell()

    def _come_back(self, worker: Worker) -> None:
        """Others read in this thread's place since a signal handler kept it."""
        worker.handed_over = False
        if worker.closed:
            worker.sock.close()
        elif worker.receiver.fetched:
            reactor.call_soon(lambda: look(self.pool, worker))

    def _read(self, worker: Worker, deadline: float | None) -> None:
        worker.disarm()
        while worker.ticket is self and not worker.dead:
            if deadline is None:
                worker.fetch()
            elif not (
                worker.receiver.fetched
                or worker.wait_readable(max(0.0, deadline - time.monotonic()))
            ):
                return
            if worker.handed_over:
                return
            try:
                take(self.pool, worker, worker.read())
            except EOFError:
                worker.give_up()
                return
            except BaseException:
                worker.garbled = True
                worker.kill()
                raise

    def forget_timers(self) -> None:
        """Watch its limits no more."""
        if self.timers:
            for timer in self.timers:
                timer.cancel()
            self.timers = []
