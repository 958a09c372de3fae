"""Limits of calls that wait for a worker which is being started for them.

A worker that has not said HELLO runs what the user brought along all the same: the initializer, and
for an isolated call the import of the function's module. So the limits of the call that waits for
it hold: its time counts from the moment when the process was up (or the call made, if that was
later). A process that does not come up has `_BOOT` seconds at least.

The worker that began first is taken to start for the call that waits longest, and so on. If workers
are ready that could do the work, one that hangs is ended and nobody blamed.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from procession.process.io.reactor import reactor
from procession.process.pool.limits_watch import BREATH, MEMORY_EVERY
from procession.process.pool.worker_end import condemn
from procession.system.pristine import time
from procession.system.resources import private_bytes

if TYPE_CHECKING:
    from procession.process.pool.assignment import Ticket
    from procession.process.pool.worker import Worker
    from procession.process.pool.worker_pool import WorkerPool

__all__ = ["watch_starts"]

_BOOT = 5.0
"""Seconds for an interpreter to start and to load what a worker is made of: 0.1 is usual."""


def watch_starts(pool: WorkerPool) -> None:
    """Look at the workers that are being started, and again when the next limit may be passed."""
    with pool.lock:
        pairs = _pairs(pool)
    soonest: float | None = None
    for worker, ticket in pairs:
        verdict, left, seconds, peak = _judge(worker, ticket)
        if verdict is not None:
            _strike(pool, worker, ticket, verdict, (ticket.missing(), seconds, peak))
        elif left is not None:
            soonest = left if soonest is None else min(left, soonest)
    if soonest is None:
        return
    timer = reactor.call_later(soonest, lambda: watch_starts(pool))
    with pool.lock:
        before, pool.starts = pool.starts, timer
    if before is not None:
        before.cancel()


def _pairs(pool: WorkerPool) -> list[tuple[Worker, Ticket]]:
    starting = [w for w in pool.workers if not (w.ready or w.stopping or w.dead)]
    starting.sort(key=lambda worker: worker.began)
    waiting = (ticket for ticket in pool.queue if not ticket.over)
    return list(zip(starting, islice(waiting, len(starting)), strict=False))


def _judge(worker: Worker, ticket: Ticket) -> tuple[str | None, float | None, float, int]:
    """Which limit is passed, if any; when to look again, if at all; what was taken."""
    job = ticket.chunk.job
    left: float | None = None
    seconds = 0.0
    if job.timeout is not None:
        now = time.monotonic()
        up = worker.box.since_up()
        since = max(ticket.since, worker.began if up is None else up)
        seconds = now - since
        left = job.timeout - seconds
        if up is None:  # it may be in an instant
            left = min(max(job.timeout, _BOOT) - seconds, max(job.timeout, BREATH))
        if left <= 0:
            if not worker.unread:
                return "timeout", None, seconds, 0
            left = BREATH
    if job.memory_limit is not None:
        taken = private_bytes(worker.pid) - worker.base_memory
        if taken > job.memory_limit:
            return "memory", None, seconds, taken
        left = MEMORY_EVERY if left is None else min(left, MEMORY_EVERY)
    return None, left, seconds, 0


def _strike(
    pool: WorkerPool,
    worker: Worker,
    ticket: Ticket,
    verdict: str,
    blame: tuple[int | None, float, int],
) -> None:
    with pool.lock:
        if worker.ready or worker.stopping or worker.dead or ticket not in pool.queue:
            return
        helped = any(each.ready and not each.stopping for each in pool.workers)
        if not helped:
            pool.queue.remove(ticket)
            worker.ticket, ticket.worker = ticket, worker
            pool.busy += 1
    if helped:
        worker.kill()
    else:
        condemn(pool, ticket, verdict, blame)
