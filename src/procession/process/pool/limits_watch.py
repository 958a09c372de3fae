"""Limits on time and memory, watched from outside.

A worker's black box says which item runs and since when. So a limit holds for each item, however
large the chunk, and nothing depends on the worker's cooperation. An item that passes its limit ends
its worker. It is never late once it has ended, however late its reply is read: this process may
have been stopped, or its GIL held by C code, for longer than the limit.

The first item of a chunk counts from the moment when the worker was given it: it may hang while it
loads the function's module or the arguments, or may have been stopped before.

What comes before that moment is the start of a worker for it. A worker that is not ready yet runs
what the user brought along all the same: the initializer, and for an isolated call the import of
the function's module. So the limits of the call that waits for it hold there as well: its time
counts from the moment when the process was up (or the call made, if that was later). A process that
does not come up has `_BOOT` seconds at least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from procession.hints import Any
from procession.process.io.black_box import Running
from procession.process.io.reactor import reactor
from procession.process.pool.assignment import Assignment, Blame, Verdict
from procession.process.pool.worker import Worker
from procession.system.pristine import time

_MEMORY_EVERY = 0.025
"""Seconds between two looks at a worker's memory. API.md promises 50 ms; a look costs 20 µs."""

_BREATH = 0.02
"""Seconds to wait for what lies unread in a channel. A guess: its reader only needs the GIL."""

_STILL = 0.1
"""Seconds by which a look must be late until this process counts as having stood still. A guess:
more than a busy machine's delay."""

_BOOT = 5.0
"""Seconds for an interpreter to start and to load what a worker is made of: 0.1 is usual."""

Condemn = Callable[[Assignment, Verdict, Blame], object]
Strike = Callable[[Worker, Assignment, Verdict, Blame], object]


def guard(assignment: Assignment, worker: Worker, condemn: Condemn) -> None:
    """Watch a chunk that is just being sent, if its job has limits; `condemn` ends what passes."""
    job = assignment.chunk.job
    if job.timeout is not None:
        _TimeLimit(assignment, worker, condemn, job.timeout).look_in(job.timeout)
    if job.memory_limit is not None:
        _MemoryLimit(assignment, worker, condemn, job.memory_limit).look()


class _Limit:
    def __init__(self, assignment: Assignment, worker: Worker, condemn: Condemn) -> None:
        self._assignment = assignment
        self._worker = worker
        self._condemn = condemn
        self._given = time.monotonic()

    def _is_over(self) -> bool:
        worker, assignment = self._worker, self._assignment
        return assignment.over or worker.assignment is not assignment or worker.channel.ended


class _TimeLimit(_Limit):
    def __init__(
        self, assignment: Assignment, worker: Worker, condemn: Condemn, limit: float
    ) -> None:
        super().__init__(assignment, worker, condemn)
        self._limit = limit
        self._due = 0.0
        self._seen: Running | None = None
        self._excused: list[Running | None] = []

    def look_in(self, seconds: float) -> None:
        self._due = time.monotonic() + seconds
        self._assignment.watch(reactor.call_later(seconds, self._look))

    def _look(self) -> None:
        if self._is_over():
            return
        now = time.monotonic()
        running = self._worker.running()
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
        self._condemn(self._assignment, "timeout", Blame(item, now - since))

    def _begun(self, running: Running | None) -> tuple[int, float]:
        """Which item takes the worker's time, and since when."""
        first = self._assignment.missing()
        if running is None:
            return first, self._given
        if running.over:
            return first, running.since
        alone = running.item == self._assignment.chunk.index(0)
        return running.item, self._given if alone else running.since

    def _excuse(self, running: Running | None, now: float) -> float:
        """Seconds to wait all the same: for what is just being read, and once for what ran while
        this process stood still, perhaps with all others (as in a container that was paused)."""
        if self._worker.channel.unread:
            return _BREATH
        late = now - self._due
        if late < _STILL or running in self._excused:
            return 0.0
        self._excused = [running]
        return min(late, self._limit)


class _MemoryLimit(_Limit):
    def __init__(
        self, assignment: Assignment, worker: Worker, condemn: Condemn, limit: int
    ) -> None:
        super().__init__(assignment, worker, condemn)
        self._limit = limit
        self._first = True

    def look(self) -> None:
        if self._is_over():
            return
        first, self._first = self._first, False
        running = self._worker.running()
        taken = self._worker.process.memory_taken()
        # One that was just given the chunk may not have put the last one's results away yet.
        counts = not first if running is None else not running.over
        if counts and taken > self._limit:
            item = self._assignment.missing() if running is None else running.item
            since = self._given if running is None else running.since
            blame = Blame(item, time.monotonic() - since, taken)
            self._condemn(self._assignment, "memory", blame)
            return
        self._assignment.watch(reactor.call_later(_MEMORY_EVERY, self.look))


class StartLimits:
    """The limits of calls that wait for workers which are being started.

    Args:
        lock: The pool's.
        starts: Gives workers that start, and what they start for; called with the lock.
        strike: Ends one that passes a limit; called without it.
    """

    def __init__(
        self, lock: Any, starts: Callable[[], Sequence[tuple[Worker, Assignment]]], strike: Strike
    ) -> None:
        self._lock = lock
        self._starts = starts
        self._strike = strike
        self._timer: Any = None

    def look(self) -> None:
        """Look at them, and again when the next limit may be passed."""
        with self._lock:
            pairs = self._starts()
        soonest: float | None = None
        for worker, assignment in pairs:
            verdict, left, blame = _judge(worker, assignment)
            if verdict is not None:
                self._strike(worker, assignment, verdict, blame)
            elif left is not None:
                soonest = left if soonest is None else min(left, soonest)
        if soonest is not None:
            self.cancel(reactor.call_later(soonest, self.look))

    def cancel(self, instead: Any = None) -> None:
        """Do not look again, or another time."""
        with self._lock:
            before, self._timer = self._timer, instead
        if before is not None:
            before.cancel()


def _judge(worker: Worker, assignment: Assignment) -> tuple[Verdict | None, float | None, Blame]:
    """Which limit is passed, if any; when to look again, if at all; what was taken."""
    job = assignment.chunk.job
    left: float | None = None
    seconds = 0.0
    if job.timeout is not None:
        now = time.monotonic()
        up = worker.box.since_up()
        since = max(assignment.since, worker.began if up is None else up)
        seconds = now - since
        left = job.timeout - seconds
        if up is None:  # it may be in an instant
            left = min(max(job.timeout, _BOOT) - seconds, max(job.timeout, _BREATH))
        if left <= 0:
            if not worker.channel.unread:
                return "timeout", None, Blame(assignment.missing(), seconds)
            left = _BREATH
    if job.memory_limit is not None:
        taken = worker.process.memory_taken()
        if taken > job.memory_limit:
            return "memory", None, Blame(assignment.missing(), seconds, taken)
        left = _MEMORY_EVERY if left is None else min(left, _MEMORY_EVERY)
    return None, left, Blame()
