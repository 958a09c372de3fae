"""The pool: workers, and the chunks that wait for one.

Nothing is shared between the processes but each worker's own channel, so a worker that dies at any
instant harms no other. A chunk goes to an idle worker only; who reads a worker's last reply sends
it the next chunk before anyone is told. Every change of state happens under one lock and ends in
`match`; system calls and listeners run outside of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from procession.contract import Chunk, End
from procession.errors import PoolClosed
from procession.process.io import messages
from procession.process.io.reactor import reactor
from procession.process.pool import at_exit as cleanup
from procession.process.pool import limits_watch as watch
from procession.process.pool.assignment import Ticket
from procession.process.pool.killing import put_down
from procession.process.pool.replies import AUDIT, look, take
from procession.process.pool.start_limits import watch_starts
from procession.process.pool.worker import Worker
from procession.process.pool.worker_end import condemn, deserted
from procession.process.pool.worker_starts import Hiring
from procession.process.start.worker_spec import WorkerSpec
from procession.system import after_fork, lifeline
from procession.system.pristine import time
from procession.system.wakeup import Wakeups

__all__ = ["WorkerPool"]

IDLE = 30.0
"""Seconds after which a worker without work is let go. A guess: longer than most pauses between
two calls of one program, short beside the life of a server."""

_STOPPING = 5.0
"""Seconds that a worker's exit handlers may take, before it is killed."""

SWEEP = 0.005
"""Seconds between two looks for replies that nobody reads, as long as single calls are made. A
look costs some 20 µs, and whoever reads such a reply late had not asked for it."""

_LOOKS = 10
"""A chunk that the audit has found so often given to a worker, but not sent, is lost."""


class WorkerPool:
    """A pool of worker processes.

    Args:
        spec: What the workers are.
        workers: How many may run chunks at once.
        idle: Seconds after which a worker without work ends.
        single_use: Use each worker for one chunk only, and keep one more warm after the first.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        workers: int,
        *,
        idle: float = IDLE,
        single_use: bool = False,
    ) -> None:
        self.spec = spec
        self.size = workers
        self.single_use = single_use
        self.idle_timeout = idle
        self.hiring = Hiring(self, spec)
        self.most = 1 if single_use else spec.max_tasks_per_worker
        self.closed = False
        self.renew()
        cleanup.register(self)

    def renew(self) -> None:
        """Start with nothing: at first, and in a forked child, whose workers these are not."""
        for worker in getattr(self, "workers", ()):
            worker.abandon()
        self.lock = after_fork.lock()
        self.gone = Wakeups()
        self.workers: set[Worker] = set()
        self.queue: deque[Ticket] = deque()
        self.idle: list[Worker] = []
        self.busy = 0
        self.timer: Any = None
        self.starts: Any = None
        self.sweeper: Any = None
        self.hiring.renew()
        reactor.serve(self)

    # -- what callers ask ----------------------------------------------------------------------

    @property
    def warm(self) -> bool:
        """Whether a worker is up."""
        return bool(self.idle) or any(
            worker.ready and not worker.stopping for worker in tuple(self.workers)
        )

    @property
    def at_work(self) -> bool:
        """Whether a chunk runs or waits, or may still be told how its worker died."""
        return bool(self.busy or self.queue) or any(w.dead for w in tuple(self.workers))

    def start(self, chunk: Chunk, ahead: int = 0) -> Ticket:
        """Run a chunk as soon as a worker is free.

        Raises:
            PoolClosed: The pool was closed.
        """
        if lifeline.broken():
            reactor.lose()
        ticket = Ticket(self, chunk, ahead)
        chunk.handle = ticket
        try:
            with self.lock:
                if self.closed:
                    raise PoolClosed(
                        f"{chunk.job.name}() cannot start: its pool was shut down. Make a new one, "
                        "or shut it down after the last call."
                    )
                self.queue.append(ticket)
                given = self.match()
            if given or self.hiring.count:
                self.hand_out(given)
            job = chunk.job
            if ticket.worker is None and (job.timeout is not None or job.memory_limit is not None):
                watch_starts(self)
        except PoolClosed:
            raise
        except BaseException:
            self.cancel(ticket)  # interrupted half-way: whoever started it never learns of it
            raise
        return ticket

    def cancel(self, ticket: Ticket) -> bool:
        """End a chunk. True if nothing more comes from it but ``End("cancelled")``."""
        try:
            with self.lock:
                if ticket.over:
                    return False
                worker = ticket.worker
                if worker is None:
                    if ticket not in self.queue:
                        return False
                    ticket.over = True  # from here on `match` leaves it out
                elif worker.verdict is not None and worker.verdict != "cancelled":
                    return False
            if worker is None:
                self._take_back(ticket)
                return True
        except Exception:
            raise
        except BaseException:  # Ctrl-C
            if ticket.over and ticket.worker is None:
                reactor.call_soon(lambda: self._take_back(ticket))
            raise
        return condemn(self, ticket, "cancelled", (None, 0.0, 0))

    def _take_back(self, ticket: Ticket) -> None:
        with self.lock:
            if ticket in self.queue:
                self.queue.remove(ticket)
            self.gone.wake()
        ticket.chunk.listener.ended(ticket.chunk, End("cancelled"))

    def hand_over(self, thread: int) -> None:
        """Have the reactor read what this thread was reading: a signal handler keeps it."""
        for worker in tuple(self.workers):
            reader = worker.reader
            if reader is not None and reader[0] == thread:
                worker.handed_over, worker.reader = True, None
                worker.reading.release()
                reactor.call_soon(partial(look, self, worker))

    def warm_up(self, workers: int | None = None) -> None:
        """Begin to start workers, up to the pool's size."""
        with self.lock:
            if self.closed:
                return
            wanted = min(self.size, workers or self.size) - self._living()
        self.hiring.hire(wanted)

    def running(self, ticket: Ticket) -> bool:
        """Whether a worker was given the chunk."""
        return ticket.worker is not None and not ticket.over

    def refuse(self, error: BaseException) -> None:
        """No worker could be started: unless some are up, refuse what waits."""
        with self.lock:
            if any(not worker.stopping for worker in self.workers):
                return
            dropped = list(self.queue)
            self.queue.clear()
            for ticket in dropped:
                ticket.over = True
        for ticket in dropped:
            ticket.chunk.listener.ended(ticket.chunk, End("refused", error=error))

    def fail(self, error: BaseException) -> None:
        """The reactor's thread has died."""
        deserted(self, error, take)

    def drop_abandoned(self) -> None:
        """End the chunks whose listener has an attribute ``abandoned`` that is true."""
        with self.lock:
            tickets = [*self.queue, *(w.ticket for w in self.workers if w.ticket is not None)]
        for ticket in tickets:
            if getattr(ticket.chunk.listener, "abandoned", False):
                self.cancel(ticket)

    def close(self, *, wait: bool = True, kill: bool = False) -> None:
        """Take no more chunks. ``kill`` ends those in flight; ``wait`` returns when all is gone.

        Idle workers end in order in any case: their exit handlers run.
        """
        killed: list[Worker] = []
        dropped: list[Ticket] = []
        with self.lock:
            self.closed = True
            if kill:
                dropped.extend(self.queue)
                self.queue.clear()
                for ticket in dropped:
                    ticket.over = True
                killed.extend(w for w in self.workers if w.ticket is not None or not w.ready)
                for worker in killed:
                    worker.stopping = True
                    if worker.verdict is None:
                        worker.verdict = "cancelled"
            given = self.match()
        for worker in killed:
            worker.kill()
        self.hand_out(given)
        for ticket in dropped:
            ticket.chunk.listener.ended(ticket.chunk, End("cancelled"))
        if wait and not reactor.here:
            self._wait_for_end()

    def _wait_for_end(self) -> None:
        while True:
            with self.lock:
                if not (self.workers or self.queue or self.hiring.count):
                    return
                wakeup = self.gone.add()
            wakeup.wait()

    # -- who gets what (under the lock) --------------------------------------------------------

    def _living(self) -> int:
        return self.hiring.count + sum(not worker.stopping for worker in self.workers)

    def match(self) -> list[tuple[Worker, Ticket | None]]:
        """Give waiting chunks to idle workers; what comes back is to be handed out, lock-free.

        A worker paired with `None` is to be stopped.
        """
        given: list[tuple[Worker, Ticket | None]] = []
        while self.queue and self.idle and self.busy < self.size:
            try:
                ticket = self.queue.popleft()
            except IndexError:
                break  # a finalizer that struck here has taken it
            if ticket.over:
                continue  # cancelled, half-way
            try:
                worker = self.idle.pop()
            except IndexError:
                self.queue.appendleft(ticket)
                break
            worker.ticket, ticket.worker = ticket, worker
            worker.tasks += len(ticket.chunk.items)
            worker.box.chunk += 1
            self.busy += 1
            given.append((worker, ticket))
        if self.closed and not self.queue:
            while self.idle:
                worker = self.idle.pop()
                worker.stopping = True
                given.append((worker, None))
        elif self.queue:
            self.hiring.look()
            for worker in tuple(self.workers):
                if worker.left:  # their next chunk waits already
                    worker.arm()
        return given

    def hand_out(self, given: Sequence[tuple[Worker, Ticket | None]]) -> None:
        """Send what `match` has given out. Call without the lock."""
        left = list(given)
        try:
            while left:
                worker, ticket = left[-1]
                if ticket is None:
                    self.stop(worker)
                else:
                    self._send(worker, ticket)
                left.pop()
        except BaseException:
            for worker, _ in left:
                worker.garbled = True
                worker.kill()
            raise
        self.hiring.act()

    def _send(self, worker: Worker, ticket: Ticket) -> None:
        job = ticket.chunk.job
        if job.timeout is not None or job.memory_limit is not None:
            watch.guard(ticket, worker)
        try:
            sent = worker.send_task(ticket)
        except OSError:
            return  # it has died; its death says the rest
        except Exception as error:
            worker.garbled = True
            worker.failure_to_send = error
            worker.kill()
            return
        worker.unsent = not sent
        worker.left = True
        ticket.sent = True
        if not (sent and ticket.chunk.attended):
            worker.arm()
        elif self.sweeper is None:
            self._begin_to_sweep()

    def notice(self, ticket: Ticket) -> None:
        """Read what comes for a chunk whose replies were left to whoever waits for it."""
        worker = ticket.worker
        if worker is not None and ticket.sent and not ticket.over and worker.left:
            worker.arm()

    def _begin_to_sweep(self) -> None:
        with self.lock:
            if self.sweeper is None:
                self.sweeper = reactor.call_later(SWEEP, self.sweep)

    def sweep(self) -> None:
        """Read the replies that nobody reads; ends when no more single calls are made."""
        with self.lock:
            again = False
            for worker in tuple(self.workers):
                if worker.box.chunk != worker.seen:
                    worker.seen = worker.box.chunk
                    again = True
                elif worker.left and worker.ticket is not None and worker.reader is None:
                    worker.arm()
            self.sweeper = reactor.call_later(SWEEP, self.sweep) if again else None

    def stop(self, worker: Worker) -> None:
        """Ask a worker to end; insist if it does not."""
        # First the clock: it keeps the reactor's thread, which ends with the last worker, and which
        # nothing can start again once the interpreter is ending.
        worker.timers.append(reactor.call_later(_STOPPING, lambda: put_down(worker, dump=False)))
        worker.send(messages.STOP)

    def retire(self, worker: Worker) -> None:
        """End a worker that has done its share, and order the spare one if there is to be one."""
        self.stop(worker)
        with self.lock:
            self.hiring.spare()
        self.hiring.act()

    # -- from time to time ---------------------------------------------------------------------

    def _lost(self, worker: Worker) -> bool:
        ticket = worker.ticket
        if ticket is None:
            return worker not in self.idle
        if ticket.sent:
            return False
        ticket.looks += 1
        return ticket.looks > _LOOKS

    def audit(self) -> None:
        """Let idle workers go; find what an interrupt has left half done."""
        now = time.monotonic()
        with self.lock:
            old = [w for w in self.idle if now - w.idle_since >= self.idle_timeout]
            for worker in old:
                self.idle.remove(worker)
                worker.stopping = True
            lost = [
                w
                for w in self.workers
                if w.ready and not w.dead and not w.stopping and self._lost(w)
            ]
            self.busy = sum(w.ticket is not None for w in self.workers)
            resting = list(self.idle)
            self.timer = reactor.call_later(AUDIT, self.audit) if self.workers else None
        for worker in lost:
            worker.garbled = True
            worker.kill()
        for worker in old:
            self.stop(worker)
        for worker in resting:
            worker.forget_over()
        for worker in tuple(self.workers):
            if not worker.dead and worker.undeserted():
                if worker.receiver.fetched:
                    look(self, worker)
                elif worker.ticket is not None:
                    worker.arm()
            worker.tell()
