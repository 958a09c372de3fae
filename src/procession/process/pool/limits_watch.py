"""Limits on the item that a worker runs: time and memory, watched from outside.

The worker's black box says which item runs and since when, so the limit holds for each item
whatever the chunk, and nothing depends on the worker's cooperation. An item that passes its limit
ends its worker (see `ending`).

The first item of a chunk counts from the moment when the worker was given it: it may hang while it
loads the function's module or the arguments, or may have been stopped before. (What comes before
that moment, the start of a worker for it, is watched by `starts`.)

An item that has ended is never late, however late its reply is read: this process may have been
stopped, or its GIL held by C code, for longer than the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from procession.process.io.flight_recorder import Running
from procession.process.io.reactor import reactor
from procession.process.pool.worker_end import condemn
from procession.system.pristine import time
from procession.system.resources import private_bytes

if TYPE_CHECKING:
    from procession.process.pool.assignment import Ticket
    from procession.process.pool.worker import Worker

__all__ = ["BREATH", "MEMORY_EVERY", "guard"]

MEMORY_EVERY = 0.025
"""Seconds between two looks at a worker's memory. API.md promises 50 ms; a look costs 20 µs."""

BREATH = 0.02
"""Seconds to wait for what lies unread in a channel. A guess: its reader only needs the GIL."""

_STILL = 0.1
"""Seconds by which a look must be late until this process counts as having stood still. A guess:
more than a busy machine's delay."""


def guard(ticket: Ticket, worker: Worker) -> None:
    """Watch a chunk that is just being sent, if its job has limits."""
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
        self._given = time.monotonic()
        self._due = 0.0
        self._seen: Running | None = None
        self._excused: list[Running | None] = []

    def look_in(self, seconds: float) -> None:
        self._due = time.monotonic() + seconds
        _look_in(self._ticket, seconds, self.look)

    def look(self) -> None:
        ticket, worker = self._ticket, self._worker
        if ticket.over or worker.ticket is not ticket or worker.dead:
            return
        now = time.monotonic()
        running = worker.box.running()
        seen, self._seen = self._seen, running
        if running is not None and running.over and running != seen:
            # It is between two items, and can be late no sooner; unless it stands still there.
            self.look_in(self._limit)
            return
        item, since = self._begun(running)
        left = since + self._limit - now
        if left <= 0:
            left = self._excuse(running, now)
        if left > 0:
            self.look_in(left)
            return
        condemn(ticket.pool, ticket, "timeout", (item, now - since, 0))

    def _begun(self, running: Running | None) -> tuple[int, float]:
        """Which item takes the worker's time, and since when."""
        first = self._ticket.missing()
        if running is None:
            return first, self._given
        if running.over:
            return first, running.since
        alone = running.item == self._ticket.chunk.items[0].index
        return running.item, self._given if alone else running.since

    def _excuse(self, running: Running | None, now: float) -> float:
        """Seconds to wait all the same: for what is just being read, and once for what ran while
        this process stood still, perhaps with all others (as in a container that was paused)."""
        if self._worker.unread:
            return BREATH
        late = now - self._due
        if late < _STILL or running in self._excused:
            return 0.0
        self._excused = [running]
        return min(late, self._limit)


class _Scale:
    def __init__(self, ticket: Ticket, worker: Worker, limit: int) -> None:
        self._ticket, self._worker, self._limit = ticket, worker, limit
        self._given = time.monotonic()
        self._first = True

    def look(self) -> None:
        ticket, worker = self._ticket, self._worker
        if ticket.over or worker.ticket is not ticket or worker.dead:
            return
        first, self._first = self._first, False
        running = worker.box.running()
        taken = private_bytes(worker.pid) - worker.base_memory
        # One that was just given the chunk may not have put the last one's results away yet.
        counts = not first if running is None else not running.over
        if counts and taken > self._limit:
            item = ticket.missing() if running is None else running.item
            since = self._given if running is None else running.since
            condemn(ticket.pool, ticket, "memory", (item, time.monotonic() - since, taken))
            return
        _look_in(ticket, MEMORY_EVERY, self.look)
