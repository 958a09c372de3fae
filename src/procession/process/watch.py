"""Limits on the item that a worker runs: time and memory, watched from outside.

The worker's black box says which item runs and since when, so the limit holds for each item
whatever the chunk, and nothing depends on the worker's cooperation. An item that passes its limit
ends its worker: the stacks of its threads are asked for, then SIGTERM, a short grace, SIGKILL, each
to the whole process group.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from procession.process.environment import DUMP_SIGNAL
from procession.process.memory import private_bytes
from procession.process.reactor import reactor

if TYPE_CHECKING:
    from procession.process.ticket import Ticket
    from procession.process.worker import Worker

__all__ = ["GRACE", "guard", "put_down"]

GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL: enough to close files, short for someone who waits."""

MEMORY_EVERY = 0.025
"""Seconds between two looks at a worker's memory; a look costs some 20 µs. API.md promises 50 ms."""

_DUMP_EVERY, _DUMP_LOOKS = 0.004, 15
"""A stack is written within a millisecond, unless the process is stopped or starved."""


def guard(ticket: Ticket, worker: Worker) -> None:
    """Watch a chunk that was just sent, if its job has limits."""
    job = ticket.chunk.job
    if job.timeout is not None:
        _Clock(ticket, worker, job.timeout).look_in(job.timeout)
    if job.memory_limit is not None:
        _Scale(ticket, worker, job.memory_limit).look()


class _Clock:
    def __init__(self, ticket: Ticket, worker: Worker, limit: float) -> None:
        self._ticket, self._worker, self._limit = ticket, worker, limit

    def look_in(self, seconds: float) -> None:
        self._ticket.timers = [t for t in self._ticket.timers if t.call is not None]
        self._ticket.timers.append(reactor.call_later(seconds, self.look))

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
        ticket.pool.condemn(ticket, "timeout", (running.index, seconds, 0))


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
            ticket.pool.condemn(ticket, "memory", (running.index, seconds, taken))
            return
        ticket.timers = [t for t in ticket.timers if t.call is not None]
        ticket.timers.append(reactor.call_later(MEMORY_EVERY, self.look))


def put_down(worker: Worker, *, dump: bool) -> None:
    """End a worker that must go: its stacks if they are wanted, SIGTERM, grace, SIGKILL."""
    if not dump:
        _terminate(worker)
        return
    worker.signal(DUMP_SIGNAL, group=False)
    _await_dump(worker, 0, _DUMP_LOOKS)


def _await_dump(worker: Worker, size: int, looks: int) -> None:
    if worker.dead:
        return
    now = worker.box.stack_size()
    if looks == 0 or (now and now == size):
        _terminate(worker)
    else:
        reactor.call_later(_DUMP_EVERY, lambda: _await_dump(worker, now, looks - 1))


def _terminate(worker: Worker) -> None:
    worker.signal(signal.SIGTERM)
    worker.timers.append(reactor.call_later(GRACE, worker.kill))
