"""Acts on what the pool's state asks for: sends, stops, kills, starts, tells, looks after.

Every change of state happens under one lock and ends in `PoolState.match`. System calls and
listeners run outside of it. Who reads a worker's last reply sends it the next chunk before any
listener is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from weakref import ref

from procession.contract import End
from procession.hints import Any
from procession.items import Job
from procession.process.io.reactor import reactor
from procession.process.pool.assignment import Assignment, Blame, Verdict
from procession.process.pool.calls_behind import CallsBehind
from procession.process.pool.limits_watch import StartLimits, guard
from procession.process.pool.pool_state import PoolState
from procession.process.pool.worker import Worker
from procession.process.pool.worker_starts import Starter, WorkerSpec
from procession.system import after_fork
from procession.system.pristine import time
from procession.system.wakeup import Wakeups

_AUDIT = 0.5
"""Seconds between two looks for idle workers and for what an interrupt left half done."""

_SWEEP = 0.005
"""Seconds between two looks for replies that no thread reads, as long as single calls are made. A
look costs some 20 µs, and who reads such a reply late had not asked for it."""

_LONG_SWEEP = 0.04
"""The same when none was made for a while; after that it ends. To begin again wakes the reactor's
thread amid a call, so a pause of 10 ms is not to end it."""

_LATER = 0.001
"""Seconds between a worker's last reply and its replacement: the thread that waits for the reply is
to have it first. Starting a process in another thread at once made it 2 to 5 ms later."""

_IN_A_ROW = 4
"""Workers that may have started between two calls in a row: spares, and some for calls that
wait."""

_GRACE, _SHORT_GRACE = 0.5, 0.1
"""Seconds that an item which is not wanted any more may go on, and if others wait for its worker:
less than it takes to start another one. A killed worker has lost what it had loaded."""


def _none() -> None:
    pass


Given = Sequence[tuple[Worker, Assignment | None]]


class Dispatch:
    """A pool's state, and what acts on it.

    Args:
        spec: What the workers are.
        size: How many may run chunks at once.
        idle: Seconds after which a worker without work ends.
        single_use: As in `PoolState`.
        welcome: Takes a process that was just started.

    Attributes:
        spec: What the workers are.
        state: Who runs what; guarded by `lock`.
        behind: Looks after calls that stand behind others.
        gone: Rung when a worker, or what waits, has gone.
        idle_timeout: See `idle`.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        size: int,
        *,
        idle: float,
        single_use: bool,
        welcome: Callable[[Dispatch, Worker], None],
    ) -> None:
        self.idle_timeout = idle
        self.spec = spec
        self._size = size
        self._single_use = single_use
        self._welcome = welcome
        self._begin()

    def _begin(self) -> None:
        self.lock = after_fork.lock()
        self.gone = Wakeups()
        self.state: PoolState[Worker] = PoolState(
            self._size, self.spec.max_tasks_per_worker, single_use=self._single_use
        )
        self._starter = Starter(
            self.spec,
            self.lock,
            self.state,
            self.gone,
            lambda worker: self._welcome(self, worker),
            self.refuse,
        )
        self._start_limits = StartLimits(self.lock, self.state.starts, self._strike)
        self.behind = CallsBehind(
            self.lock, self.state, self.hand_out, partial(self.condemn, verdict="cancelled")
        )
        self._last_job: Callable[[], Job | None] = _none
        self._usual: tuple[str, ...] = ()
        self._imported: tuple[int, Sequence[str]] = 0, ()
        self._auditor: Any = None
        self._sweeper: Any = None
        self._pause = _SWEEP

    def renew(self) -> None:
        """In a forked child, whose workers these are not: start with nothing."""
        closed = self.state.closed
        for worker in self.state.workers:
            worker.abandon()
        self._begin()
        if closed:
            self.state.close(kill=False)

    # -- who gets what -------------------------------------------------------------------------

    def hand_out(self, given: Given) -> None:
        """Do what `PoolState.match` has asked for. Call without the lock."""
        left = list(given)
        try:
            while left:
                worker, assignment = left[-1]
                if assignment is None:
                    worker.stop()
                else:
                    self.send(worker, assignment)
                left.pop()
        except BaseException:
            for worker, _ in left:
                worker.distrust()
            raise
        if self.state.orders:
            self._starter.start()
        while self.state.cancelled:
            try:
                chunk = self.state.cancelled.pop().chunk
            except IndexError:
                return  # another thread tells it
            chunk.listener.ended(chunk, End("cancelled"))

    def read_on(self) -> None:
        """Chunks wait: have the replies read that are left to threads which wait for them."""
        for worker in tuple(self.state.workers):
            if worker.channel.left:
                worker.channel.arm()

    def send(self, worker: Worker, assignment: Assignment) -> None:
        """Send a worker what it was given."""
        job = assignment.chunk.job
        if self._single_use:
            self._last_job = ref(job)
        if job.timeout is not None or job.memory_limit is not None:
            guard(assignment, worker, self.condemn)
        try:
            left = worker.send_task(assignment)
        except OSError:
            return  # it has died; its death says the rest
        except Exception as error:
            worker.channel.spoil()
            worker.refuse(error)
            return
        except BaseException:
            worker.distrust()
            raise
        if worker.behind:
            self.behind.watch()
        elif left and self.state.queue:
            worker.channel.arm()
        if left and self._sweeper is None:
            with self.lock:
                if self._sweeper is None:
                    self._pause = _SWEEP
                    self._sweeper = reactor.call_later(_SWEEP, self._sweep)

    def teach(self, worker: Worker) -> None:
        """A worker is set up: if it is a spare, it learns the job of the last call meanwhile."""
        job = self._last_job()
        if job is not None and not self.state.queue:
            worker.learn_ahead(job, self._usual)

    def notice_imports(self, modules: Sequence[str]) -> None:
        """A spare's call has imported these. What two calls in a row do, later spares do first."""
        made, (when, before) = self.state.made, self._imported
        if made - when <= _IN_A_ROW:
            new = set(before).intersection(modules).difference(self._usual)
            self._usual = (*self._usual, *[name for name in modules if name in new])
        self._imported = made, modules

    def look_at_starts(self) -> None:
        """Watch the limits of what waits for a start."""
        self._start_limits.look()

    def replace(self, worker: Worker) -> None:
        """Soon end a worker that has done its share, and order the spare if there is to be one."""

        def end() -> None:
            worker.stop()
            with self.lock:
                self.state.order_spare()
            self._starter.start()

        reactor.call_later(_LATER, end)

    # -- who is to end -------------------------------------------------------------------------

    def condemn(self, assignment: Assignment, verdict: Verdict, blame: Blame | None = None) -> bool:
        """Kill the worker of a chunk. Whether the chunk ends by that."""
        worker = assignment.worker
        if self.behind.defer_kill(assignment):
            return True
        try:
            with self.lock:
                if not self.state.condemn(assignment, verdict, blame or Blame()):
                    return assignment.verdict == verdict and not assignment.over
                given = self.state.match()
            self._put_down(worker, assignment)
            self.hand_out(given)
        except Exception:
            raise
        except BaseException:
            if assignment.verdict is not None and worker.assignment is assignment:
                worker.kill()  # Ctrl-C half-way: who asked learns of it, and the worker still goes
            raise
        return True

    def stop(self, assignment: Assignment, *, wanted: bool) -> None:
        """Have a worker end its chunk after the item that runs; kill it if that is not wanted."""
        worker = assignment.worker
        if worker is None or assignment.over or assignment.unwanted:
            return
        worker.stop_after_item(assignment, at_once=not wanted)
        if wanted:
            return
        assignment.mark_unwanted()
        self._end_within(assignment, _GRACE)
        if self.state.queue:
            self.hurry()

    def hurry(self) -> None:
        """Chunks wait: soon kill workers that go on with an item that is not wanted."""
        with self.lock:
            running = [worker.assignment for worker in self.state.workers]
        for assignment in running:
            if assignment is not None and assignment.unwanted:
                self._end_within(assignment, _SHORT_GRACE)

    def _end_within(self, assignment: Assignment, seconds: float) -> None:
        end = partial(self.condemn, assignment, "cancelled")
        assignment.watch(reactor.call_later(seconds, end))

    def _strike(
        self, worker: Worker, assignment: Assignment, verdict: Verdict, blame: Blame
    ) -> None:
        with self.lock:
            if not self.state.overdue(worker, assignment, verdict, blame):
                return
            given = self.state.match()
        if assignment.worker is worker:
            self._put_down(worker, assignment)
        else:
            worker.kill()
        self.hand_out(given)

    @staticmethod
    def _put_down(worker: Worker, assignment: Assignment) -> None:
        assignment.forget_timers()
        worker.put_down(dump=assignment.verdict == "timeout")

    # -- who is told ---------------------------------------------------------------------------

    @staticmethod
    def refuse(dropped: Sequence[Assignment], error: BaseException) -> None:
        """Tell that these chunks are not started."""
        end = End("refused", error=error)
        for assignment in dropped:
            assignment.chunk.listener.ended(assignment.chunk, end)

    def forget(self, worker: Worker) -> None:
        """All was told of a dead worker. (Who waits for the pool to be gone is woken by this.)"""
        with self.lock:
            self.state.forget(worker)
            if self._auditor is not None and not self.state.workers:
                self._auditor.cancel()
                self._auditor = None
                self._start_limits.cancel()
                if self._sweeper is not None:
                    self._sweeper.cancel()
                    self._sweeper = None
            self.gone.wake()

    # -- from time to time ---------------------------------------------------------------------

    def ensure_audit(self) -> None:
        """Look from time to time, as long as there are workers. Under the lock."""
        if self._auditor is None:
            self._auditor = reactor.call_later(_AUDIT, self._audit)

    def retire(self) -> None:
        """Let workers go as soon as they are idle."""
        self.idle_timeout = 0.0

    def _audit(self) -> None:
        with self.lock:
            old, lost = self.state.audit(time.monotonic(), self.idle_timeout)
            given = self.state.match()  # the interrupted thread may have been about to do so
            resting, workers = tuple(self.state.idle), tuple(self.state.workers)
            self._auditor = reactor.call_later(_AUDIT, self._audit) if workers else None
        for worker in lost:
            worker.distrust()
        for worker in old:
            worker.stop()
        for worker in resting:
            worker.forget_over()
        for worker in workers:
            worker.channel.audit()
        self.hand_out(given)

    def _sweep(self) -> None:
        """Read the replies that no thread reads; ends some time after the last single call."""
        with self.lock:
            again = False
            for worker in tuple(self.state.workers):
                if worker.swept():
                    again = True
                else:
                    worker.channel.arm_left()
            pause = self._pause = _SWEEP if again else 2 * self._pause
            more = bool(self.state.workers) and pause <= _LONG_SWEEP
            self._sweeper = reactor.call_later(pause, self._sweep) if more else None
