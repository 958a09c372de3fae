"""What workers say, and what the pool does about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from procession import logger as notices
from procession.contract import End, Reply
from procession.process.io import messages
from procession.process.io.channel import Message, Passed
from procession.process.io.reactor import READ, reactor
from procession.process.pool.start_limits import watch_starts
from procession.process.pool.worker import Worker
from procession.process.pool.worker_end import died
from procession.recording.observer import observers
from procession.system.pristine import time
from procession.system.resources import private_bytes

if TYPE_CHECKING:
    from procession.process.pool.assignment import Ticket
    from procession.process.pool.worker_pool import WorkerPool

__all__ = ["AUDIT", "look", "take", "welcome"]

AUDIT = 0.5
"""Seconds between two looks for idle workers and for what an interrupt left half done."""

_LATER = 0.001
"""Seconds between a worker's last reply and its replacement: whoever waits for the reply is to have
it first. Starting a process in another thread at once made it 2 to 5 ms later."""

_DONE = End("done")

_ANSWERS = (messages.DONE, messages.REPLIES)


def welcome(pool: WorkerPool, worker: Worker) -> None:
    """Watch a process that was just started."""
    with pool.lock:
        pool.workers.add(worker)
        if pool.closed and not pool.queue:
            worker.stopping = True
        if pool.timer is None:
            pool.timer = reactor.call_later(AUDIT, pool.audit)
    if worker.method == "fork":
        worker.base_memory = private_bytes(worker.pid)  # what its set-up takes is its own
    worker.receiver.passed = Passed()
    worker.give_over = lambda: died(pool, worker, take)
    reactor.watch(worker.death, worker.give_over)
    reactor.watch(worker.channel, lambda: look(pool, worker))
    reactor.arm(worker.death, READ)
    worker.arm()
    if worker.stopping:
        worker.kill()
    elif pool.queue:
        watch_starts(pool)


def look(pool: WorkerPool, worker: Worker) -> None:
    """Something can be read from a worker, or written to it. In the reactor's thread."""
    worker.armed = False
    if worker.unsent and not worker.dead:
        worker.unsent = not worker.flush()
    if not worker.reading.acquire(blocking=False):
        return  # who reads it arms it again
    try:
        if worker.dead:
            return
        take(pool, worker, worker.read())
        if worker.ticket is not None or not worker.ready or worker.receiver.amid:
            worker.arm()
    except EOFError:
        if not worker.stopping:
            worker.give_up()
    except Exception:
        worker.garbled = True
        worker.kill()
    finally:
        worker.reading.release()
    worker.tell()


def take(pool: WorkerPool, worker: Worker, received: Sequence[Message]) -> None:
    """Act on messages of a worker. Call with its `reading` lock held, and `Worker.tell` after that.

    Args:
        pool: Its pool.
        worker: Who sent them.
        received: The messages.
    """
    for message, segments in received:
        kind = message[0]
        if kind in _ANSWERS and message[2] != worker.box.chunk:
            _strange(worker, message[2])
            return
        if kind == messages.DONE:
            _done(pool, worker, message, segments)
        elif kind == messages.REPLIES:
            _replies(pool, worker, message, segments)
        elif kind == messages.HELLO:
            _ready(pool, worker)
        elif kind == messages.FAILED:
            worker.failure = message[1]


def _strange(worker: Worker, chunk: int) -> None:
    """It answers for another chunk than it runs: nothing that it says can be trusted any more."""
    worker.garbled = True
    worker.reason = (
        f"It was ended because it answered for chunk {chunk} while it ran chunk "
        f"{worker.box.chunk}: look for code that writes to descriptors which are not its own."
    )
    worker.kill()


def _ready(pool: WorkerPool, worker: Worker) -> None:
    notices.worker_started(worker.pid, worker.method)
    observers.worker_started(worker.pid, worker.since)
    if worker.method == "fork":
        # What it shares with us until one of both writes to it is not its own.
        worker.base_memory = private_bytes(worker.pid)
    with pool.lock:
        worker.ready = True
        pool.hiring.succeeded()
        if not worker.stopping:
            _rest(pool, worker)
        given = pool.match()
    pool.hand_out(given)


def _rest(pool: WorkerPool, worker: Worker) -> None:
    """Under the lock: the worker waits for its next chunk, unless it died meanwhile."""
    if not worker.dead:
        worker.idle_since = time.monotonic()
        pool.idle.append(worker)


def _replies(pool: WorkerPool, worker: Worker, message: Any, segments: Sequence[Any]) -> None:
    ticket = worker.ticket
    if ticket is None or worker.verdict == "cancelled":
        return
    replies = messages.unpack_replies(message, segments, worker.receiver.passed)
    if not ticket.ahead:  # the indexes in a stream count its values
        if worker.verdict is not None:
            replies = [reply for reply in replies if reply.index != worker.blame[0]]
        ticket.replied = (ticket.replied or set()).union([reply.index for reply in replies])
        ticket.let_go(replies)
    if replies:
        ticket.chunk.listener.replied(ticket.chunk, replies)


def _done(pool: WorkerPool, worker: Worker, message: Any, segments: Sequence[Any]) -> None:
    ticket = worker.ticket
    if ticket is None:
        return
    if worker.verdict is not None:  # its end comes with its death
        _replies(pool, worker, message, segments)
        return
    # Before anything changes: an interrupt from here on loses neither the replies nor the end.
    replies = messages.unpack_replies(message, segments, worker.receiver.passed)
    final = _Final(worker, ticket, replies)
    worker.finals.append(final)
    if ticket.beside is not None:
        ticket.let_go(replies)
    with pool.lock:
        if worker.condemned():  # meanwhile
            worker.finals.remove(final)
            return
        ticket.over = True
        worker.ticket = None
        pool.busy -= 1
        used_up = pool.most is not None and worker.tasks >= pool.most
        if used_up:
            worker.stopping = True
        else:
            _rest(pool, worker)
        given = pool.match() if pool.queue or pool.closed else ()
    if ticket.timers:
        ticket.forget_timers()
    if used_up:
        reactor.call_later(_LATER, lambda: pool.retire(worker))
    if given or pool.hiring.count:
        pool.hand_out(given)


class _Final:
    """Tells a chunk's last replies and its end, once, whoever calls it and is interrupted."""

    def __init__(self, worker: Worker, ticket: Ticket, replies: Sequence[Reply]) -> None:
        self._worker = worker
        self._ticket = ticket
        self._replies = replies
        self._untold = [True]

    def __call__(self) -> None:
        try:
            if not self._ticket.over:
                return  # it is just being read, or was condemned at the last instant
            try:
                self._untold.pop()
            except IndexError:
                return  # another thread tells it
            self._tell()
            if self in self._worker.finals:  # it is not if an interrupt came just after this
                self._worker.finals.remove(self)
        except Exception:
            raise
        except BaseException:
            self._untold[:] = [True]
            reactor.call_soon(self)
            raise

    def _tell(self) -> None:
        chunk = self._ticket.chunk
        if self._replies:
            chunk.listener.replied(chunk, self._replies)
            self._replies = ()
        chunk.listener.ended(chunk, _DONE)
        if not chunk.plain:
            reactor.let_go(chunk)
        chunk.handle = None  # it and its ticket hold each other, and what was sent
