"""The pool: workers, and the chunks that wait for one.

Nothing is shared between the processes but each worker's own channel, so a worker that dies at any
instant harms no other. A chunk goes to an idle worker only; who reads a worker's last reply sends
it the next chunk before anyone is told. Every change of state happens under one lock and ends in
`_match`; system calls and listeners run outside of it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from procession.backends.base import Chunk, End
from procession.errors import PoolClosed
from procession.process import cleanup, messages, watch
from procession.process.channel import Message
from procession.process.hiring import Hiring
from procession.process.obituary import obituary
from procession.process.reactor import READ, WRITE, reactor
from procession.process.spec import WorkerSpec
from procession.process.ticket import Ticket
from procession.process.worker import Worker

__all__ = ["WorkerPool"]

IDLE = 30.0
"""Seconds after which a worker without work is let go. A guess: longer than most pauses between
two calls of one program, short beside the life of a server."""

_STOPPING = 5.0
"""Seconds that a worker's exit handlers may take, before it is killed."""

_AUDIT = 0.5


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
        self._idle_timeout = idle
        self._hiring = Hiring(self, spec)
        self._most = 1 if single_use else spec.max_tasks_per_worker
        self._closed = False
        self._renew()
        cleanup.register(self)

    def _renew(self) -> None:
        """Start with nothing: at first, and in a forked child, whose workers these are not."""
        for worker in getattr(self, "workers", ()):
            worker.abandon()
        self.lock = threading.Lock()
        self.gone = threading.Condition(self.lock)
        self.workers: set[Worker] = set()
        self.queue: deque[Ticket] = deque()
        self._idle: list[Worker] = []
        self._busy = 0
        self._timer: Any = None
        self._hiring.renew()

    # -- what callers ask ----------------------------------------------------------------------

    @property
    def warm(self) -> bool:
        """Whether a worker is up."""
        return bool(self._idle) or any(worker.ready for worker in tuple(self.workers))

    @property
    def at_work(self) -> bool:
        """Whether a chunk runs or waits."""
        return bool(self._busy or self.queue)

    def start(self, chunk: Chunk, ahead: int = 0) -> Ticket:
        """Run a chunk as soon as a worker is free.

        Raises:
            PoolClosed: The pool was closed.
        """
        ticket = Ticket(self, chunk, ahead)
        chunk.handle = ticket
        try:
            with self.lock:
                if self._closed:
                    raise PoolClosed(
                        f"{chunk.job.name}() cannot start: its pool was shut down. Make a new one, "
                        "or shut it down after the last call."
                    )
                self.queue.append(ticket)
                given = self._match()
            self._hand_out(given)
        except PoolClosed:
            raise
        except BaseException:
            self.cancel(ticket)  # interrupted half-way: whoever started it never learns of it
            raise
        return ticket

    def cancel(self, ticket: Ticket) -> bool:
        """End a chunk. True if nothing more comes from it but ``End("cancelled")``."""
        with self.lock:
            if ticket.over:
                return False
            worker = ticket.worker
            if worker is None:
                try:
                    self.queue.remove(ticket)
                except ValueError:
                    return False
                ticket.over = True
            elif worker.verdict is not None and worker.verdict != "cancelled":
                return False
        if worker is None:
            ticket.chunk.listener.ended(ticket.chunk, End("cancelled"))
            return True
        return self.condemn(ticket, "cancelled", (None, 0.0, 0))

    def warm_up(self, workers: int | None = None) -> None:
        """Begin to start workers, up to the pool's size."""
        with self.lock:
            if self._closed:
                return
            wanted = min(self.size, workers or self.size) - self._living()
        self._hiring.hire(wanted)

    @property
    def closed(self) -> bool:
        """Whether it takes no more chunks."""
        return self._closed

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

    def drop_abandoned(self) -> None:
        """End the chunks whose listener has an attribute ``abandoned`` that is true."""
        with self.lock:
            tickets = [*self.queue, *(w.ticket for w in self.workers if w.ticket is not None)]
        for ticket in tickets:
            if getattr(ticket.chunk.listener, "abandoned", False):
                self.cancel(ticket)

    def close(self, *, wait: bool = True, kill: bool = False) -> None:
        """Take no more chunks. ``kill`` ends those in flight; ``wait`` returns when all is gone."""
        dropped: list[Ticket] = []
        with self.lock:
            self._closed = True
            if kill:
                dropped.extend(self.queue)
                self.queue.clear()
                for ticket in dropped:
                    ticket.over = True
                for worker in self.workers:
                    worker.stopping = True
                    if worker.verdict is None:
                        worker.verdict = "cancelled"
            given = self._match()
            killed = list(self.workers) if kill else []
        for worker in killed:
            worker.kill()
        self._hand_out(given)
        for ticket in dropped:
            ticket.chunk.listener.ended(ticket.chunk, End("cancelled"))
        if wait and not reactor.here:
            with self.lock:
                self.gone.wait_for(lambda: not (self.workers or self.queue or self._hiring.count))

    # -- who gets what (under the lock) --------------------------------------------------------

    def _living(self) -> int:
        return self._hiring.count + sum(not worker.stopping for worker in self.workers)

    def _match(self) -> list[tuple[Worker, Ticket | None]]:
        """Give waiting chunks to idle workers; what comes back is to be handed out, lock-free.

        A worker paired with `None` is to be stopped.
        """
        given: list[tuple[Worker, Ticket | None]] = []
        while self.queue and self._idle and self._busy < self.size:
            worker, ticket = self._idle.pop(), self.queue.popleft()
            worker.ticket, ticket.worker = ticket, worker
            worker.tasks += len(ticket.chunk.items)
            self._busy += 1
            given.append((worker, ticket))
        if self._closed and not self.queue:
            while self._idle:
                worker = self._idle.pop()
                worker.stopping = True
                given.append((worker, None))
        elif self.queue:
            self._hiring.look()
        return given

    def _hand_out(self, given: Sequence[tuple[Worker, Ticket | None]]) -> None:
        for worker, ticket in given:
            if ticket is None:
                self._stop(worker)
            else:
                self._send(worker, ticket)
        self._hiring.act()

    def _send(self, worker: Worker, ticket: Ticket) -> None:
        try:
            sent = worker.send_task(ticket)
        except OSError:
            return  # it has died; its death says the rest
        except Exception as error:
            worker.garbled = True
            worker.failure_to_send = error
            worker.kill()
            return
        except BaseException:
            worker.garbled = True
            worker.kill()
            raise
        worker.unsent = not sent
        job = ticket.chunk.job
        if job.timeout is not None or job.memory_limit is not None:
            watch.guard(ticket, worker)
        reactor.arm(worker.channel, READ if sent else READ | WRITE)

    def _stop(self, worker: Worker) -> None:
        worker.send(messages.STOP)
        worker.timers.append(
            reactor.call_later(_STOPPING, lambda: watch.put_down(worker, dump=False))
        )

    # -- what workers say ----------------------------------------------------------------------

    def welcome(self, worker: Worker) -> None:
        """Watch a process that was just started."""
        with self.lock:
            self.workers.add(worker)
            if self._closed and not self.queue:
                worker.stopping = True
            if self._timer is None:
                self._timer = reactor.call_later(_AUDIT, self._audit)
        reactor.watch(worker.death, lambda: self._died(worker))
        reactor.watch(worker.channel, lambda: self._channel_ready(worker))
        reactor.arm(worker.death, READ)
        reactor.arm(worker.channel, READ)
        if worker.stopping:
            worker.kill()

    def _channel_ready(self, worker: Worker) -> None:
        if worker.unsent and not worker.dead:
            worker.unsent = not worker.flush()
        if not worker.reading.acquire(blocking=False):
            return  # who reads it arms it again
        finals: list[Callable[[], None]] = []
        try:
            if worker.dead:
                return
            self.take(worker, worker.read(), finals)
            if worker.ticket is not None or not worker.ready or worker.receiver.amid:
                reactor.arm(worker.channel, READ | WRITE if worker.unsent else READ)
        except EOFError:
            # Dead, or its own code closed the channel: then it is of no use any more.
            if not worker.stopping:
                worker.kill()
        except Exception:
            worker.garbled = True
            worker.kill()
        finally:
            worker.reading.release()
        for final in finals:
            final()

    def take(
        self, worker: Worker, received: Sequence[Message], finals: list[Callable[[], None]]
    ) -> None:
        """Act on messages of a worker. Call with its `reading` lock held.

        Args:
            worker: Who sent them.
            received: The messages.
            finals: Gets the calls that tell a chunk's end; make them after `reading` is released.
        """
        for message, segments in received:
            kind = message[0]
            if kind == messages.DONE:
                self._done(worker, message, segments, finals)
            elif kind == messages.REPLIES:
                self._replies(worker, message, segments)
            elif kind == messages.HELLO:
                self._ready(worker)
            elif kind == messages.FAILED:
                worker.failure = message[1]

    def _ready(self, worker: Worker) -> None:
        from procession.process.memory import private_bytes

        if worker.method == "fork":
            # What it shares with us until one of both writes to it is not its own.
            worker.base_memory = private_bytes(worker.pid)
        with self.lock:
            worker.ready = True
            self._hiring.succeeded()
            if not worker.stopping:
                worker.idle_since = time.monotonic()
                self._idle.append(worker)
            given = self._match()
        self._hand_out(given)

    def _replies(self, worker: Worker, message: Any, segments: Sequence[Any]) -> None:
        ticket = worker.ticket
        if ticket is None or worker.verdict == "cancelled":
            return
        replies = messages.unpack_replies(message, segments)
        if worker.verdict is not None:
            replies = [reply for reply in replies if reply.index != worker.blame[0]]
        ticket.replied.update([reply.index for reply in replies])
        if replies:
            ticket.chunk.listener.replied(ticket.chunk, replies)

    def _done(
        self, worker: Worker, message: Any, segments: Sequence[Any], finals: list[Any]
    ) -> None:
        ticket = worker.ticket
        with self.lock:
            if ticket is None or worker.verdict is not None:
                given = None
            else:
                ticket.over = True
                worker.ticket = None
                self._busy -= 1
                if (self._most is not None and worker.tasks >= self._most) or worker.stopping:
                    worker.stopping = True
                    given = [(worker, None), *self._match()]
                    self._hiring.spare()
                else:
                    worker.idle_since = time.monotonic()
                    self._idle.append(worker)
                    given = self._match()
        if ticket is None:
            return
        if given is None:  # condemned: its end comes with its death
            self._replies(worker, message, segments)
            return
        ticket.forget_timers()
        self._hand_out(given)
        replies = messages.unpack_replies(message, segments)
        chunk = ticket.chunk

        def tell() -> None:
            if replies:
                chunk.listener.replied(chunk, replies)
            chunk.listener.ended(chunk, _DONE)

        finals.append(tell)

    # -- ends ----------------------------------------------------------------------------------

    def condemn(self, ticket: Ticket, verdict: str, blame: tuple[int | None, float, int]) -> bool:
        """Kill the worker of a chunk, for the given reason. Whether the chunk was still running."""
        with self.lock:
            worker = ticket.worker
            if ticket.over or worker is None or worker.ticket is not ticket or worker.dead:
                return False
            if worker.verdict is not None:
                return worker.verdict == verdict
            worker.verdict, worker.blame, worker.stopping = verdict, blame, True
            given = self._match()
        ticket.forget_timers()
        watch.put_down(worker, dump=verdict == "timeout")
        self._hand_out(given)
        return True

    def _died(self, worker: Worker) -> None:
        with self.lock:
            if worker.dead:
                return
            worker.dead = True
        reactor.forget(worker.death)
        reactor.forget(worker.channel)
        try:
            worker.sock.shutdown(socket.SHUT_RDWR)  # wakes who waits to read
        except OSError:
            pass
        finals: list[Callable[[], None]] = []
        # A second is for ever here: then its reader was interrupted and left without a word.
        if worker.reading.acquire(timeout=1.0):
            try:
                if not worker.garbled:
                    self.take(worker, worker.drain(), finals)
            except Exception:
                worker.garbled = True
            finally:
                worker.reading.release()
        for final in finals:
            final()
        self._bury(worker)

    def _bury(self, worker: Worker) -> None:
        if not worker.stopping or worker.verdict is not None:
            worker.kill()  # what it started must not outlive it; before its number is free
        code = worker.reap()
        for timer in worker.timers:
            timer.cancel()
        end = obituary(worker, code)
        with self.lock:
            self.workers.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)
            ticket, worker.ticket = worker.ticket, None
            if ticket is not None:
                ticket.over = True
                self._busy -= 1
            refused = self._hiring.failed(worker, code) if not worker.ready else None
            dropped = list(self.queue) if refused is not None else []
            if dropped:
                self.queue.clear()
            for each in dropped:
                each.over = True
            given = self._match()
            if self._timer is not None and not self.workers:
                self._timer.cancel()
                self._timer = None
        worker.close()
        self._hand_out(given)
        if ticket is not None:
            ticket.forget_timers()
            ticket.chunk.listener.ended(ticket.chunk, end)
        for each in dropped:
            each.chunk.listener.ended(each.chunk, End("refused", error=refused))
        with self.lock:
            self.gone.notify_all()

    # -- from time to time ---------------------------------------------------------------------

    def _audit(self) -> None:
        """Let idle workers go; find what an interrupt has left half done."""
        now = time.monotonic()
        with self.lock:
            old = [w for w in self._idle if now - w.idle_since >= self._idle_timeout]
            for worker in old:
                self._idle.remove(worker)
                worker.stopping = True
            lost = [
                w
                for w in self.workers
                if w.ready and w.ticket is None and not w.stopping and w not in self._idle
            ]
            self._busy = sum(w.ticket is not None for w in self.workers)
            self._timer = reactor.call_later(_AUDIT, self._audit) if self.workers else None
        for worker in lost:
            worker.kill()
        for worker in old:
            self._stop(worker)
        for worker in tuple(self.workers):
            if worker.deserted():
                worker.garbled = True
                worker.kill()


_DONE = End("done")
