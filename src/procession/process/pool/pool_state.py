"""The pool as a state machine: which worker runs what, what waits, and how many workers there are.

It knows no process, pipe, thread or clock. Each event is a method, which changes the state and
returns what is to be done: whom to give a chunk, whom to stop or kill, which ends to tell. The
caller holds the pool's lock, and acts without it (`procession.process.pool.dispatch`).

An exception such as Ctrl-C may strike between any two steps. `PoolState.audit` finds what it has
left half done. A finalizer may call any method amid any other one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice, repeat
from operator import methodcaller

from procession.contract import Load
from procession.hints import Generic, TypeVar
from procession.process.pool.assignment import NO_BLAME, Assignment, Blame, Verdict
from procession.process.pool.worker_state import (
    BUSY,
    DEAD,
    GONE,
    STARTING,
    STAYING,
    WorkerState,
)

TRIES = 3
"""Workers that may die before they are ready, or cannot be started, one after the other, until
waiting work is refused. A guess: once may be the kernel, twice bad luck."""

W = TypeVar("W", bound=WorkerState)

_popleft = methodcaller("popleft")


class PoolState(Generic[W]):
    """The workers of a pool, and the chunks that wait for one.

    Args:
        size: How many workers may run chunks at once.
        most: Items after which a worker is replaced, or `None`.
        single_use: Use each worker for one chunk only, and keep one more warm after the first.

    Attributes:
        workers: Those there are, until their ends were told.
        idle: Those that wait for a chunk; the last one gets the next.
        queue: The chunks that wait.
        busy: How many workers have a chunk.
        closed: Whether no more chunks are taken.
        orders: How many workers are to be started.
        launching: How many are just being started, and are not among `workers` yet.
        failures: How many in a row could not be started, or died before they were ready.
        made: How many have been set up so far.
        cancelled: Calls that were taken back, and are to be told so.
    """

    def __init__(self, size: int, most: int | None = None, *, single_use: bool = False) -> None:
        self.size = size
        self.most = 1 if single_use else most
        self.single_use = single_use
        self.workers: set[W] = set()
        self.idle: list[W] = []
        self.queue: deque[Assignment] = deque()
        self.busy = 0
        self.closed = False
        self.orders = 0
        self.launching = 0
        self.failures = 0
        self.made = 0
        self.cancelled: list[Assignment] = []

    # -- what can be asked ---------------------------------------------------------------------

    @property
    def coming(self) -> int:
        """How many workers are about to come."""
        return self.orders + self.launching

    @property
    def warm(self) -> bool:
        """Whether a worker is up."""
        return bool(self.idle) or any(worker.up for worker in tuple(self.workers))

    @property
    def load(self) -> Load:
        """Workers, those with a chunk, chunks that wait, and workers so far."""
        there = sum(worker.up for worker in tuple(self.workers))
        waiting = len(self.queue) + sum(len(worker.behind) for worker in tuple(self.workers))
        return Load(there, self.busy, waiting, self.made)

    @property
    def at_work(self) -> bool:
        """Whether a chunk runs or waits, or may still be told how its worker died."""
        return bool(self.busy or self.queue) or any(
            worker.state in (DEAD, GONE) for worker in tuple(self.workers)
        )

    @property
    def empty(self) -> bool:
        """Whether nothing is left, and nothing about to come."""
        return not (self.workers or self.queue or self.coming)

    def starts(self) -> list[tuple[W, Assignment]]:
        """Workers that are being started, and the chunks that they are taken to start for.

        The one that began first starts for the chunk that waits longest, and so on.
        """
        starting = [worker for worker in self.workers if worker.state == STARTING]
        starting.sort(key=lambda worker: worker.since)
        waiting = (assignment for assignment in self.queue if not assignment.over)
        return list(zip(starting, islice(waiting, len(starting)), strict=False))

    # -- chunks ------------------------------------------------------------------------------------

    def match(self, wanted: Assignment | None = None) -> list[tuple[W, Assignment | None]]:
        """Give waiting chunks to idle workers, and order workers for those that wait on.

        Args:
            wanted: One more chunk that wants a worker.

        Returns:
            Who is to be sent what. A worker paired with `None` is to be stopped.
        """
        given: list[tuple[W, Assignment | None]] = []
        if wanted is not None:
            self.queue.append(wanted)
        while self.queue and self.idle and self.busy < self.size:
            try:
                assignment = self.queue.popleft()
            except IndexError:
                break  # a finalizer that struck here has taken it
            if assignment.over:
                continue  # cancelled, half-way
            try:
                worker = self.idle.pop()
            except IndexError:
                self.queue.appendleft(assignment)
                break
            worker.assign(assignment)
            self.busy += 1
            if self.queue and self.most is None and worker.takes_calls(assignment):
                more = assignment.joined_by(self.queue, self.size)
                # In one step of C code: an interrupt loses none of them.
                worker.behind.extend(map(_popleft, repeat(self.queue, more)))
                worker.follow()
            given.append((worker, assignment))
        if self.closed and not self.queue:
            while self.idle:
                worker = self.idle.pop()
                worker.retire()
                given.append((worker, None))
        elif self.queue:
            self._order_for_queue()
        return given

    def take(self, wanted: Assignment) -> W | None:
        """An idle worker for a chunk, if none waits before it; else `match` it."""
        if self.queue or self.busy >= self.size:
            return None
        try:
            worker = self.idle.pop()
        except IndexError:
            return None
        worker.assign(wanted)
        self.busy += 1
        return worker

    def wait_on(self, wanted: Assignment) -> bool:
        """Have a chunk wait where others do, and all workers there may be are. Whether that is."""
        if not self.queue or self.idle or len(self.workers) + self.coming < self.size:
            return False
        self.queue.append(wanted)
        return True

    def withdraw(self, assignment: Assignment) -> bool:
        """Take back a chunk that waits: from here on `match` leaves it out. Whether it waited."""
        if assignment.worker is not None or assignment.over or assignment not in self.queue:
            return False
        assignment.finish()
        return True

    def drop(self, assignment: Assignment) -> None:
        """Forget a chunk that was taken back."""
        if assignment in self.queue:
            self.queue.remove(assignment)

    def drop_all(self) -> list[Assignment]:
        """Take back all that waits; gives what is to be told so."""
        dropped = [assignment for assignment in self.queue if not assignment.over]
        self.queue.clear()
        for assignment in dropped:
            assignment.finish()
        return dropped

    def condemn(self, assignment: Assignment, verdict: Verdict, blame: Blame = NO_BLAME) -> bool:
        """Have a chunk's worker killed. Whether it is to be: not if it is dead or being killed."""
        worker = assignment.worker
        if assignment.over or worker is None or worker.assignment is not assignment:
            return False
        if worker.state == DEAD or (assignment.verdict is not None and not worker.up):
            return False
        assignment.condemn(verdict, blame)
        worker.condemn()
        return True

    def done(
        self, worker: W, now: float, *, cancelled: bool = False
    ) -> Sequence[tuple[W, Assignment | None]] | None:
        """A worker has sent the last reply of its chunk. `None` if it is being killed for that.

        Or if its call was `cancelled`, unless that is known.
        """
        assignment = worker.assignment
        if assignment is None or (assignment.verdict is not None and not cancelled):
            return None
        rests = worker.finish(now, self.most)
        if worker.assignment is not None:
            return ()
        self.busy -= 1
        if rests:
            self.idle.append(worker)
        return self.match() if self.queue or self.closed else ()

    # -- calls behind others -------------------------------------------------------------------

    def cancel_behind(self, assignment: Assignment) -> bool:
        """A call that may be behind another one is not wanted any more. Whether it is there."""
        worker = assignment.worker
        if assignment.over or worker is None or assignment not in worker.behind:
            return False
        if assignment.verdict is None:
            assignment.condemn("cancelled", NO_BLAME)
        return True

    def defer_kill(self, assignment: Assignment) -> bool:
        """A call is to be ended, but not those behind it. Whether it was not before."""
        if assignment.verdict is not None:
            return False
        assignment.condemn("cancelled", NO_BLAME)
        return True

    def return_calls(self, back: Sequence[Assignment]) -> None:
        """Calls that were taken back wait again, before all others, if they are still wanted."""
        for each in back:
            if each.verdict is not None:
                each.finish()
                self.cancelled.append(each)
        self.queue.extendleft([each for each in reversed(back) if each.verdict is None])

    def unbegun(self, worker: W, now: float) -> None:
        """A worker's call, and so all behind it, is taken back, and the worker is idle."""
        back = worker.unbegin()
        self.busy -= 1
        if worker.state == BUSY:
            worker.rest(now)
            self.idle.append(worker)
        self.return_calls(back)

    # -- workers -------------------------------------------------------------------------------

    def order_spare(self) -> None:
        """Order the worker that waits for the next call, after a first one."""
        if not self.single_use or self.queue or self.coming or self.closed:
            return
        if not any(w.assignment is None and not w.stopping for w in self.workers):
            self.orders += 1

    def begin_start(self) -> bool:
        """A worker is about to be started. Whether one is to be."""
        if not self.orders or (self.closed and not self.queue):
            self.orders = 0
            return False
        self.orders -= 1
        self.launching += 1
        return True

    def started(self, worker: W, now: float) -> None:
        """A process was started; it may not be wanted any more, and is condemned then."""
        worker.begin(now)
        self.workers.add(worker)
        if self.closed and not self.queue:
            worker.condemn()

    def end_start(self) -> None:
        """The start has succeeded, as far as is known. (Its worker may have died since.)"""
        self.launching -= 1
        if self.queue:
            self._order_for_queue()

    def start_failed(self, *, again: bool) -> list[Assignment] | None:
        """A process could not be started.

        Args:
            again: Whether the reason may pass.

        Returns:
            What is to be refused for it; `None` if it is tried again.
        """
        self.launching -= 1
        self.failures += 1
        if again and self.failures < TRIES:
            self.orders += 1
            return None
        return [] if self._living() else self.drop_all()

    def ready(self, worker: W, now: float) -> Sequence[tuple[W, Assignment | None]]:
        """A worker is set up."""
        self.failures = 0
        self.made += 1
        if worker.state == STARTING:
            worker.rest(now)
            self.idle.append(worker)
        worker.set_up()
        return self.match()

    def overdue(self, worker: W, assignment: Assignment, verdict: Verdict, blame: Blame) -> bool:
        """A worker takes too long to start, or too much, for the chunk that waits for it.

        If others are up that could do the work, it is condemned and no one blamed.

        Returns:
            Whether it is to be killed.
        """
        if worker.state != STARTING or assignment not in self.queue:
            return False
        if not any(each.up for each in self.workers):
            self.queue.remove(assignment)
            worker.assign(assignment)
            self.busy += 1
            assignment.condemn(verdict, blame)
        worker.condemn()
        return True

    def died(self, worker: W) -> bool:
        """A worker's death was seen. Whether for the first time."""
        if worker.state in (DEAD, GONE):
            return False
        worker.die()
        if worker in self.idle:
            self.idle.remove(worker)
        return True

    def buried(self, worker: W, *, broken: bool) -> tuple[Assignment | None, list[Assignment]]:
        """What a dead worker said last was read: its place is free.

        Args:
            worker: The worker.
            broken: Whether it has said that it cannot be set up, which no other will do better.

        Returns:
            The chunk that ends with it, and those that are to be refused.
        """
        unended = worker.assignment
        if unended is not None and unended.over:
            unended = None  # interrupted just as its end was read, which is told
        if worker.release() is not None:
            self.busy -= 1
        dropped: list[Assignment] = []
        self.return_calls(worker.give_back(-1))
        if not worker.ready:
            self.failures += 1
            hopeless = broken or self.failures >= TRIES
            if hopeless and not any(each.up for each in self.workers):
                dropped = self.drop_all()
        worker.leave()
        return unended, dropped

    def forget(self, worker: W) -> None:
        """All was told."""
        self.workers.discard(worker)

    # -- the whole pool --------------------------------------------------------------------------

    def close(self, *, kill: bool) -> tuple[list[W], list[Assignment]]:
        """Take no more chunks. Who is to be killed, and which chunks are to be told so."""
        self.closed = True
        dropped = self.drop_all() if kill else []
        if not self.queue:
            self.orders = 0  # at the interpreter's end no thread could be started for them
        if not kill:
            return [], []
        killed = [w for w in self.workers if w.assignment is not None or not w.ready]
        for worker in killed:
            assignment = worker.assignment
            if assignment is not None and assignment.verdict is None:
                assignment.condemn("cancelled", NO_BLAME)
            dropped += self._drop(worker)
            worker.condemn()
        return killed, dropped

    def _drop(self, worker: W) -> list[Assignment]:
        """Take back the calls behind a worker's, which are not to run any more."""
        back = worker.give_back(-1)
        for each in back:
            each.finish()
        return back

    def abandon(self) -> tuple[list[W], list[Assignment]]:
        """No one watches the workers any more: who is to be killed, and what to be refused."""
        dropped = self.drop_all()
        self.idle.clear()
        workers = list(self.workers)
        for worker in workers:
            dropped += self._drop(worker)
            worker.condemn()
        return workers, dropped

    def audit(self, now: float, idle_for: float) -> tuple[list[W], list[W]]:
        """Let idle workers go; find what an interrupt has left half done.

        Returns:
            Who is to be stopped, and who to be killed.
        """
        old = [worker for worker in self.idle if now - worker.since >= idle_for]
        for worker in old:
            self.idle.remove(worker)
            worker.retire()
        lost = [worker for worker in self.workers if worker.up and self._is_lost(worker)]
        self.busy = sum(worker.assignment is not None for worker in self.workers)
        return old, lost

    def _is_lost(self, worker: W) -> bool:
        assignment = worker.assignment
        return worker not in self.idle if assignment is None else assignment.look()

    def _living(self) -> int:
        return sum(not worker.stopping for worker in self.workers)

    def _order_for_queue(self) -> None:
        living = up = 0
        for worker in self.workers:
            if worker.state in STAYING:
                living += 1
                up += worker.ready
        if self.failures >= TRIES and up:
            return  # those that are up do the work
        coming = self.orders + self.launching
        starting = living - up + coming
        # A call that has a worker to itself may be one of many. After the first such call, the
        # worker of the next one is begun while this one waits.
        calls = len(self.queue) + (self.single_use and self.made > 0)
        wanted = min(calls - starting, self.size - living - coming)
        if wanted > 0:
            self.orders += wanted
