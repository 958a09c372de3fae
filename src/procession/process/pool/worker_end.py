"""How workers end: condemned by us, or dead by themselves; and who is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from procession import logger as notices
from procession.contract import End
from procession.errors import PoolClosed
from procession.process.io.channel import Message
from procession.process.io.reactor import guarded, reactor
from procession.process.pool.exit_report import obituary
from procession.process.pool.killing import put_down
from procession.process.pool.worker import Worker
from procession.system.pristine import socket
from procession.user_threads import teller

if TYPE_CHECKING:
    from procession.process.pool.assignment import Ticket
    from procession.process.pool.worker_pool import WorkerPool

    Take = Callable[[WorkerPool, Worker, Sequence[Message]], None]

__all__ = ["condemn", "deserted", "died"]


def condemn(
    pool: WorkerPool, ticket: Ticket, verdict: str, blame: tuple[int | None, float, int]
) -> bool:
    """Kill the worker of a chunk, for the given reason. Whether the chunk was still running."""
    worker = ticket.worker
    try:
        with pool.lock:
            if ticket.over or worker is None or worker.ticket is not ticket or worker.dead:
                return False
            if worker.verdict is not None:
                return worker.verdict == verdict
            worker.verdict, worker.blame, worker.stopping = verdict, blame, True
            given = pool.match()
        ticket.forget_timers()
        put_down(worker, dump=verdict == "timeout")
        pool.hand_out(given)
    except Exception:
        raise
    except BaseException:
        if worker is not None and worker.ticket is ticket and worker.verdict is not None:
            worker.kill()  # Ctrl-C half-way: whoever asked learns of it, and the worker still goes
        raise
    return True


def died(pool: WorkerPool, worker: Worker, take: Take) -> None:
    """A worker is dead: use what it said last, and tell how its chunk ended.

    Args:
        pool: Its pool.
        worker: The worker.
        take: Acts on messages (`listening.take`).
    """
    with pool.lock:
        if worker.dead:
            return
        worker.dead = True
        if worker in pool.idle:
            pool.idle.remove(worker)
    reactor.forget(worker.death)
    reactor.forget(worker.channel)
    try:
        worker.sock.shutdown(socket.SHUT_RDWR)  # wakes who waits to read
    except OSError:
        pass
    # A second is for ever here: then its reader was interrupted and left without a word.
    if worker.reading.acquire(timeout=1.0):
        try:
            if not worker.garbled:
                take(pool, worker, worker.drain())
        except Exception:
            worker.garbled = True
        finally:
            worker.reading.release()
    worker.tell()
    _bury(pool, worker)


def deserted(pool: WorkerPool, error: BaseException, take: Take) -> None:
    """The reactor's thread has died, so nobody has watched the workers: end them, and say why.

    What they have sent is still used; what they had not done, and what waited, fails with the
    reason. The next call starts new workers.
    """
    refusal = PoolClosed(
        "the thread that watches all workers of this process died of "
        f"{type(error).__name__}: {error}. What they ran was ended; the next call starts new ones."
    )
    refusal.__cause__ = error
    with pool.lock:
        workers, dropped = list(pool.workers), list(pool.queue)
        pool.queue.clear()
        pool.idle.clear()
        for ticket in dropped:
            ticket.over = True
        for worker in workers:
            worker.stopping = True
    for worker in workers:
        worker.failure_to_send = worker.failure_to_send or refusal
        if isinstance(error, OSError):
            worker.lose()
        else:
            worker.kill()
        guarded(partial(died, pool, worker, take))
    _refuse(dropped, lambda: refusal)


def _refuse(dropped: Sequence[Ticket], error: Callable[[], BaseException]) -> None:
    end = End("refused", error=error())
    for ticket in dropped:
        ticket.chunk.listener.ended(ticket.chunk, end)


def _bury(pool: WorkerPool, worker: Worker) -> None:
    if not worker.stopping or worker.verdict is not None:
        worker.kill()  # what it started must not outlive it; before its number is free
    code = worker.reap()
    notices.worker_ended(worker.pid, code)
    for timer in worker.timers:
        timer.cancel()
    end = obituary(worker, code)
    with pool.lock:
        ticket, worker.ticket = worker.ticket, None
        if ticket is not None:
            ticket.over = True
            pool.busy -= 1
        refused = None if worker.ready else pool.hiring.failed(worker, code)
        dropped = list(pool.queue) if refused is not None else []
        if dropped:
            pool.queue.clear()
        for each in dropped:
            each.over = True
        worker.stopping = True
        given = pool.match()
    guarded(worker.close)  # whatever fails there, the chunk's end is told
    pool.hand_out(given)
    if ticket is not None:
        ticket.forget_timers()
        ticket.chunk.listener.ended(ticket.chunk, end)
        reactor.let_go(ticket.chunk)
    if refused is not None and dropped:
        teller.tell(partial(_refuse, dropped, refused))
    # Only now: who waits for the pool to be gone is to find that everything was told.
    with pool.lock:
        pool.workers.discard(worker)
        if pool.timer is not None and not pool.workers:
            pool.timer.cancel()
            pool.timer = None
            if pool.starts is not None:
                pool.starts.cancel()
        pool.gone.wake()
