"""Limits on the item that a worker runs: time and memory, watched from outside.

The worker's black box says which item runs and since when, so the limit holds for each item
whatever the chunk, and nothing depends on the worker's cooperation. An item that passes its limit
ends its worker (see `ending`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from procession.process.ending import condemn
from procession.process.memory import private_bytes
from procession.process.reactor import reactor
from procession.system.pristine import time

if TYPE_CHECKING:
    from procession.process.ticket import Ticket
    from procession.process.worker import Worker

__all__ = ["guard"]

MEMORY_EVERY = 0.025
"""Seconds between two looks at a worker's memory. API.md promises 50 ms; a look costs 20 µs."""


def guard(ticket: Ticket, worker: Worker) -> None:
    """Watch a chunk that was just sent, if its job has limits."""
    job = ticket.chunk.job
    if job.timeout is not None:
        _Clock(ticket, worker, job.timeout).look_in(job.timeout)
    if job.memory_limit is not None:
        _Scale(ticket, worker, job.memory_limit).look()


def _look_in(ticket: Ticket, seconds: float, look: Callable[[], None]) -> None:
    ticket.timers = [timer for timer in ticket.timers if timer.call is not None]
    ticket.timers.append(reactor.call_later(seconds, look))
    if ticket.over:  # meanwhile: nobody else takes it back
        ticket.forget_timers()


class _Clock:
    def __init__(self, ticket: Ticket, worker: Worker, limit: float) -> None:
        self._ticket, self._worker, self._limit = ticket, worker, limit

    def look_in(self, seconds: float) -> None:
        _look_in(self._ticket, seconds, self.look)

    def look(self) -> None:
        ticket, worker = self._ticket, self._worker
        if ticket.over or worker.ticket is not ticket or worker.dead:
            return
        running = worker.box.running()
        if running is None:
            # The worker has not begun, or is between two items: no item of it can be late sooner.
            self.look_in(self._limit)
            return
        seconds = time.monotonic() - running.since
        if seconds < self._limit:
            self.look_in(self._limit - seconds)
            return
        condemn(ticket.pool, ticket, "timeout", (running.item, seconds, 0))


class _Scale:
    def __init__(self, ticket: Ticket, worker: Worker, limit: int) -> None:
        self._ticket, self._worker, self._limit = ticket, worker, limit

    def look(self) -> None:
        ticket, worker = self._ticket, self._worker
        if ticket.over or worker.ticket is not ticket or worker.dead:
            return
        running = worker.box.running()
        taken = private_bytes(worker.pid) - worker.base_memory
        if running is not None and taken > self._limit:
            seconds = time.monotonic() - running.since
            condemn(ticket.pool, ticket, "memory", (running.item, seconds, taken))
            return
        _look_in(ticket, MEMORY_EVERY, self.look)
