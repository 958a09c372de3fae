"""The pool's state machine: every event by a table, and random ones; no process, no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from procession.contract import Chunk, OneByOne
from procession.items import Item, Job, Reply
from procession.process.pool import worker_state as states
from procession.process.pool.assignment import Assignment, Blame
from procession.process.pool.pool_state import TRIES, PoolState
from procession.process.pool.worker_state import WorkerState

Pool = PoolState[WorkerState]


class Silent(OneByOne):
    """A listener that hears nothing."""

    def replied(self, chunk: Chunk, replies: Any) -> None:
        """Some items are done."""

    def ended(self, chunk: Chunk, end: Any) -> None:
        """The chunk is over."""


def assignment_of(items: int = 1) -> Assignment:
    """What a pool is asked for."""
    job = Job(1, "f")
    return Assignment(Chunk(job, [Item(index, None) for index in range(items)], Silent()))


def pool_of(size: int = 2, **options: Any) -> Pool:
    """A pool that no one has asked for anything."""
    return PoolState(size, **options)


def start(pool: Pool, *, ready: bool = True) -> WorkerState:
    """Start one worker that was ordered."""
    assert pool.begin_start()
    worker = WorkerState()
    pool.started(worker, 0.0)
    pool.end_start()
    if ready:
        for given, assignment in pool.ready(worker, 0.0):
            if assignment is not None:
                assert given.assignment is assignment
                assignment.mark_sent()
    return worker


def started(pool: Pool, state: str) -> WorkerState:
    """A worker in this state."""
    pool.orders += 1
    worker = start(pool, ready=state != states.STARTING)
    if state in (states.BUSY, states.CONDEMNED):
        pool.match(assignment_of())
    if state == states.CONDEMNED:
        assert worker.assignment is not None
        pool.condemn(worker.assignment, "timeout")
    if state == states.RETIRING:
        pool.audit(100.0, 1.0)
    if state in (states.DEAD, states.GONE):
        pool.died(worker)
    if state == states.GONE:
        pool.buried(worker, broken=False)
    assert worker.state == state
    return worker


EVENTS: dict[str, Callable[[Pool, WorkerState], object]] = {
    "hello": lambda pool, worker: pool.ready(worker, 1.0),
    "wanted": lambda pool, worker: pool.match(assignment_of()),
    "over": lambda pool, worker: pool.done(worker, 1.0),
    "cancelled": lambda pool, worker: (
        worker.assignment and pool.condemn(worker.assignment, "cancelled")
    ),
    "died": lambda pool, worker: pool.died(worker),
    "idle for long": lambda pool, worker: pool.audit(100.0, 1.0),
    "closed": lambda pool, worker: (pool.close(kill=False), pool.match()),
    "killed": lambda pool, worker: (pool.close(kill=True), pool.match()),
    "abandoned": lambda pool, worker: pool.abandon(),
}

S, I, B, R, C, D, G = (  # noqa: E741 - a table
    states.STARTING,
    states.IDLE,
    states.BUSY,
    states.RETIRING,
    states.CONDEMNED,
    states.DEAD,
    states.GONE,
)
TABLE: dict[str, dict[str, str]] = {
    "hello": {S: I, R: R, C: C, D: D},
    "wanted": {S: S, I: B, B: B, R: R, C: C, D: D, G: G},
    "over": {S: S, I: I, B: I, R: R, C: C, D: D, G: G},
    "cancelled": {S: S, I: I, B: C, R: R, C: C, D: D, G: G},
    "died": {S: D, I: D, B: D, R: D, C: D, D: D, G: G},
    "idle for long": {S: S, I: R, B: B, R: R, C: C, D: D, G: G},
    "closed": {S: S, I: R, B: B, R: R, C: C, D: D, G: G},
    "killed": {S: C, I: R, B: C, R: R, C: C, D: D, G: G},
    "abandoned": {S: C, I: C, B: C, R: C, C: C, D: D, G: G},
}


@pytest.mark.parametrize(
    ("event", "before", "after"),
    [(event, before, after) for event, row in TABLE.items() for before, after in row.items()],
)
def test_what_an_event_makes_of_a_worker(event: str, before: str, after: str) -> None:
    """Each event in each state."""
    pool = pool_of(1)
    worker = started(pool, before)
    EVENTS[event](pool, worker)
    assert worker.state == after


def test_the_way_of_an_assignment() -> None:
    """Waiting, assigned, running, over."""
    pool = pool_of(1)
    assignment = assignment_of()
    seen = [assignment.state]
    pool.match(assignment)
    assert pool.orders == 1
    pool.begin_start()
    worker = WorkerState()
    pool.started(worker, 0.0)
    pool.end_start()
    assert pool.ready(worker, 0.0) == [(worker, assignment)]
    seen.append(assignment.state)
    assignment.mark_sent()
    seen.append(assignment.state)
    assert pool.done(worker, 0.0) == ()
    seen.append(assignment.state)
    assert seen == ["waiting", "assigned", "running", "over"]


def test_the_way_of_one_that_is_condemned() -> None:
    """It is over when its worker is buried, and its verdict stays; a later one has no effect."""
    pool = pool_of(1)
    worker = started(pool, states.BUSY)
    assignment = worker.assignment
    assert assignment is not None
    blame = Blame(0, 1.5)
    assert pool.condemn(assignment, "timeout", blame)
    assert not pool.condemn(assignment, "cancelled")
    assert assignment.state == "condemned"
    assert pool.done(worker, 1.0) is None
    assert pool.died(worker)
    assert not pool.died(worker)
    assert pool.buried(worker, broken=False) == (assignment, [])
    assert (assignment.state, assignment.verdict, assignment.blame) == ("over", "timeout", blame)
    assert pool.busy == 0


def test_a_waiting_chunk_is_taken_back() -> None:
    """Once, and no worker gets it."""
    pool = pool_of(1)
    one, other = assignment_of(), assignment_of()
    pool.match(one)
    pool.match(other)
    assert pool.withdraw(one)
    assert not pool.withdraw(one)
    worker = start(pool)
    assert worker.assignment is other
    pool.drop(one)
    assert not pool.queue


def test_as_many_workers_are_ordered_as_chunks_wait() -> None:
    """And never more than there may be."""
    pool = pool_of(2)
    for expected in (1, 2, 2, 2):
        pool.match(assignment_of())
        assert pool.orders == expected


def test_a_condemned_worker_is_replaced_and_its_place_kept() -> None:
    """Its successor starts at once; it gets a chunk when the condemned one is gone."""
    pool = pool_of(1)
    old = started(pool, states.BUSY)
    waiting = assignment_of()
    pool.match(waiting)
    assert pool.orders == 0
    assert old.assignment is not None
    pool.condemn(old.assignment, "cancelled")
    pool.match()
    assert pool.orders == 1
    new = start(pool)
    assert (new.state, waiting.state) == ("idle", "waiting")
    pool.died(old)
    pool.buried(old, broken=False)
    assert pool.match() == [(new, waiting)]


def test_a_start_is_tried_again() -> None:
    """Until so many have failed in a row that what waits is refused."""
    pool = pool_of(1)
    waiting = assignment_of()
    pool.match(waiting)
    for _ in range(TRIES - 1):
        assert pool.begin_start()
        assert pool.start_failed(again=True) is None
    assert pool.begin_start()
    assert pool.start_failed(again=True) == [waiting]
    assert waiting.over
    assert pool.empty


def test_what_cannot_pass_is_not_tried_again() -> None:
    """What waits is refused at once, unless workers live."""
    pool = pool_of(2)
    waiting = assignment_of()
    pool.match(waiting)
    pool.begin_start()
    assert pool.start_failed(again=False) == [waiting]
    pool = pool_of(2)
    started(pool, states.BUSY)
    pool.match(assignment_of())
    pool.begin_start()
    assert pool.start_failed(again=False) == []
    assert len(pool.queue) == 1


@pytest.mark.parametrize("broken", [False, True])
def test_workers_that_die_before_they_are_ready(broken: bool) -> None:
    """What waits is refused after three, or at once if the set-up has said why."""
    pool = pool_of(1)
    waiting = assignment_of()
    pool.match(waiting)
    refused: list[Assignment] = []
    deaths = 0
    while not refused:
        deaths += 1
        worker = start(pool, ready=False)
        pool.died(worker)
        unended, refused = pool.buried(worker, broken=broken)
        assert unended is None
        pool.forget(worker)
        pool.match()
    assert deaths == (1 if broken else TRIES)
    assert refused == [waiting]


def test_a_worker_that_dies_before_its_start_has_returned() -> None:
    """Another one is ordered, though the pool counted on that start when it was seen to be dead."""
    pool = pool_of(1)
    pool.match(assignment_of())
    assert pool.begin_start()
    worker = WorkerState()
    pool.started(worker, 0.0)
    pool.died(worker)
    pool.buried(worker, broken=False)
    pool.match()
    pool.forget(worker)
    pool.end_start()
    assert pool.begin_start()


def test_no_more_starts_if_they_fail_and_others_do_the_work() -> None:
    """A worker that is up does what waits; none is refused."""
    pool = pool_of(2)
    started(pool, states.BUSY)
    pool.match(assignment_of())
    while pool.orders:
        worker = start(pool, ready=False)
        pool.died(worker)
        assert pool.buried(worker, broken=False) == (None, [])
        pool.forget(worker)
        pool.match()
    assert pool.failures == TRIES
    assert len(pool.queue) == 1


def test_a_start_that_is_overdue() -> None:
    """The chunk that waits for it is blamed; not if another worker is up."""
    pool = pool_of(2)
    waiting = assignment_of()
    pool.match(waiting)
    worker = start(pool, ready=False)
    assert pool.starts() == [(worker, waiting)]
    assert pool.overdue(worker, waiting, "timeout", Blame(0, 9.0))
    assert worker.assignment is waiting
    assert (worker.state, waiting.state) == ("condemned", "condemned")
    assert not pool.overdue(worker, waiting, "timeout", Blame(0, 9.0))

    pool = pool_of(2)
    started(pool, states.BUSY)
    waiting = assignment_of()
    pool.match(waiting)
    worker = start(pool, ready=False)
    assert pool.overdue(worker, waiting, "timeout", Blame(0, 9.0))
    assert (worker.state, waiting.state) == ("condemned", "waiting")


def test_a_used_up_worker_retires() -> None:
    """After so many items, with the chunk that reaches the number."""
    pool = pool_of(1, most=3)
    pool.match(assignment_of(2))
    worker = start(pool)
    seen = []
    for _ in range(2):
        pool.done(worker, 0.0)
        seen.append(worker.state)
        pool.match(assignment_of(2))
    assert seen == ["idle", "retiring"]


def test_a_single_use_pool_keeps_a_spare() -> None:
    """One, once the first was used; not if one is coming."""
    pool = pool_of(2, single_use=True)
    pool.match(assignment_of())
    worker = start(pool)
    pool.done(worker, 0.0)
    assert worker.state == "retiring"
    pool.order_spare()
    pool.order_spare()
    assert pool.orders == 1
    start(pool)
    pool.order_spare()
    assert pool.orders == 0


def test_a_call_that_waits_for_a_spare_orders_the_next_one() -> None:
    """Not the first call of all, which may be the only one."""
    pool = pool_of(4, single_use=True)
    pool.match(assignment_of())
    assert pool.orders == 1
    pool.done(start(pool), 0.0)
    pool.order_spare()
    assert pool.begin_start()
    pool.match(assignment_of())
    assert pool.orders == 1
    pool.match(assignment_of())
    assert pool.orders == 2


def test_a_closed_pool_finishes_what_waits() -> None:
    """Idle workers are stopped when nothing waits any more; a start that comes late is killed."""
    pool = pool_of(1)
    worker = started(pool, states.BUSY)
    waiting = assignment_of()
    pool.match(waiting)
    assert pool.close(kill=False) == ([], [])
    assert pool.match() == []
    assert pool.done(worker, 0.0) == [(worker, waiting)]
    assert pool.done(worker, 0.0) == [(worker, None)]
    assert worker.in_order
    late = WorkerState()
    pool.started(late, 0.0)
    assert late.state == "condemned"


@pytest.mark.parametrize("kill", [False, True])
def test_a_closed_pool_starts_nothing_for_no_one(kill: bool) -> None:
    """Workers that were ordered are not wanted if nothing waits: no thread is started for them."""
    pool = pool_of()
    pool.orders += 1
    assert pool.orders == 1
    assert pool.close(kill=kill) == ([], [])
    assert not pool.match()
    assert not pool.orders


def test_a_pool_that_is_killed_starts_nothing_more() -> None:
    """What was ordered for chunks that are dropped is not wanted."""
    pool = pool_of()
    waiting = assignment_of()
    pool.match(waiting)
    assert pool.orders == 1
    assert pool.close(kill=True) == ([], [waiting])
    assert not pool.match()
    assert not pool.orders


def test_the_audit_finds_what_an_interrupt_left() -> None:
    """A worker that is neither idle nor busy, one that was never sent its chunk, a wrong count."""
    pool = pool_of(3)
    between = started(pool, states.IDLE)
    pool.idle.remove(between)
    unsent = started(pool, states.BUSY)
    assert unsent.assignment is not None
    assert not unsent.assignment.sent
    pool.busy = 7
    assert pool.audit(0.0, 30.0) == ([], [between])
    assert pool.busy == 1
    between.condemn()
    looks = 1
    while not pool.audit(0.0, 30.0)[1]:
        looks += 1
    assert looks == 10


def test_an_end_that_was_read_is_not_told_as_a_death() -> None:
    """Interrupted between the two halves of the release, the chunk is over and told as done."""
    pool = pool_of(1)
    worker = started(pool, states.BUSY)
    assert worker.assignment is not None
    worker.assignment.finish()
    pool.died(worker)
    assert pool.buried(worker, broken=False) == (None, [])
    assert pool.busy == 0


def test_shared_memory_is_free_once_its_item_has_a_result() -> None:
    """Not that of an item which failed: it may run again."""
    chunk = Chunk(Job(1, "f"), [Item(n, None, buffers=(n,)) for n in range(3)], Silent())
    assignment = Assignment(chunk)
    assignment.mark_replied([Reply(0, True, 0), Reply(1, False, b"")])
    assert [item.buffers for item in chunk.items] == [(), (1,), (2,)]
    assert assignment.missing() == 2
    assert assignment.lacks(2)
    assert not assignment.lacks(1)


class Machine(RuleBasedStateMachine):
    """Whatever happens in whatever order, each chunk ends once and no place is used twice."""

    chunks = Bundle("chunks")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pool = pool_of(2, most=5)
        self.submitted: list[Assignment] = []
        self.ended: list[Assignment] = []
        self.returning = False  # the start of a worker that is there already

    def _act(self, given: Any) -> None:
        for worker, assignment in given or ():
            if assignment is None:
                assert worker.in_order
            else:
                assert worker.assignment is assignment
                assert assignment.worker is worker
                assert not assignment.sent
                assignment.mark_sent()

    def _end(self, *assignments: Assignment) -> None:
        for assignment in assignments:
            assert assignment.over
            self.ended.append(assignment)

    def _worker(self, number: int, *phases: str) -> WorkerState | None:
        found = [worker for worker in self.pool.workers if worker.state in phases]
        found.sort(key=lambda worker: (worker.since, worker.chunks))
        return found[number % len(found)] if found else None

    @rule(target=chunks, items=st.integers(1, 3))
    def wanted(self, items: int) -> Assignment:
        """A chunk is submitted, if the pool takes any."""
        assignment = assignment_of(items)
        if not self.pool.closed:
            self.submitted.append(assignment)
            self._act(self.pool.match(assignment))
        return assignment

    @rule(outcome=st.sampled_from(["up", "up", "fails", "fails for good"]))
    def start(self, outcome: str) -> None:
        """A start that was ordered; there is one at a time."""
        if self.returning or not self.pool.begin_start():
            return
        self.now += 1
        if outcome == "up":
            self.pool.started(WorkerState(), self.now)
            self.returning = True
        else:
            self._end(*(self.pool.start_failed(again=outcome == "fails") or ()))

    @rule()
    def start_returns(self) -> None:
        """Its worker may be ready by now, or dead."""
        if self.returning:
            self.pool.end_start()
            self.returning = False

    @rule(number=st.integers(0, 9))
    def hello(self, number: int) -> None:
        """A worker is ready."""
        worker = self._worker(number, "starting")
        if worker is not None:
            self._act(self.pool.ready(worker, self.now))

    @rule(number=st.integers(0, 9))
    def over(self, number: int) -> None:
        """A worker's last reply is read, also of one that is condemned or dead."""
        worker = self._worker(number, "busy", "condemned", "dead")
        if worker is None or worker.assignment is None:
            return
        assignment = worker.assignment
        given = self.pool.done(worker, self.now)
        assert (given is None) == (assignment.verdict is not None)
        if given is not None:
            self._end(assignment)
            self._act(given)

    @rule(assignment=chunks, verdict=st.sampled_from(["cancelled", "timeout", "memory"]))
    def condemned(self, assignment: Assignment, verdict: Any) -> None:
        """A chunk is taken back, or passes a limit."""
        if verdict == "cancelled" and self.pool.withdraw(assignment):
            self._end(assignment)
            self.pool.drop(assignment)
        elif self.pool.condemn(assignment, verdict):
            self._act(self.pool.match())

    @rule(number=st.integers(0, 9))
    def overdue(self, number: int) -> None:
        """A start passes the limit of the chunk that waits for it."""
        pairs = self.pool.starts()
        if pairs:
            worker, assignment = pairs[number % len(pairs)]
            assert self.pool.overdue(worker, assignment, "timeout", Blame())
            self._act(self.pool.match())

    @rule(number=st.integers(0, 9))
    def died(self, number: int) -> None:
        """A worker ends."""
        worker = self._worker(number, "starting", "idle", "busy", "retiring", "condemned")
        if worker is not None:
            assert self.pool.died(worker)

    @rule(number=st.integers(0, 9), broken=st.booleans())
    def buried(self, number: int, broken: bool) -> None:
        """What a dead worker said last was read."""
        worker = self._worker(number, "dead")
        if worker is None:
            return
        unended, refused = self.pool.buried(worker, broken=broken)
        if unended is not None:
            self._end(unended)
        self._end(*refused)
        self._act(self.pool.match())
        self.pool.forget(worker)

    @rule(idle_for=st.sampled_from([0.0, 30.0]))
    def audit(self, idle_for: float) -> None:
        """The pool is looked after; nothing is lost here."""
        busy = self.pool.busy
        old, lost = self.pool.audit(self.now, idle_for)
        assert not lost
        assert self.pool.busy == busy
        assert all(worker.state == "retiring" for worker in old)

    @rule(kill=st.booleans(), chance=st.integers(0, 5))
    def close(self, kill: bool, chance: int) -> None:
        """Now and then, the pool is shut down."""
        if chance == 0:
            killed, dropped = self.pool.close(kill=kill)
            assert all(w.state in ("condemned", "dead") for w in killed)
            self._end(*dropped)
            self._act(self.pool.match())

    @rule(chance=st.integers(0, 9))
    def abandoned(self, chance: int) -> None:
        """Now and then, the thread that watches the workers dies."""
        if chance == 0:
            _, dropped = self.pool.abandon()
            self._end(*dropped)

    @invariant()
    def none_lost_none_twice(self) -> None:
        """Each chunk waits, or one worker has it, or its end was told, once."""
        held = [w.assignment for w in self.pool.workers if w.assignment is not None]
        places = [*self.pool.queue, *held, *self.ended]
        assert sorted(map(id, places)) == sorted(map(id, self.submitted))
        assert not any(each.over for each in (*self.pool.queue, *held))

    @invariant()
    def counts_are_right(self) -> None:
        """Busy workers are counted, and idle ones are in the list."""
        pool = self.pool
        assert pool.busy == sum(w.assignment is not None for w in pool.workers)
        assert sum(w.state == "busy" for w in pool.workers) <= pool.size
        assert sorted(map(id, pool.idle)) == sorted(
            id(worker) for worker in pool.workers if worker.state == "idle"
        )
        assert all(w.assignment is not None for w in pool.workers if w.state == "busy")

    @invariant()
    def never_more_than_allowed(self) -> None:
        """Those that stay, and those that come, have a place each."""
        staying = sum(not worker.stopping for worker in self.pool.workers)
        assert staying + self.pool.coming - self.returning <= self.pool.size

    @invariant()
    def what_waits_is_waited_for(self) -> None:
        """If a chunk waits, a worker is coming, ending or at work: it cannot wait for ever."""
        pool = self.pool
        if pool.queue:
            assert pool.coming or pool.workers

    def teardown(self) -> None:
        """Left alone, all comes to an end."""
        pool = self.pool
        pool.close(kill=False)
        self._act(pool.match())
        for _ in range(1000):
            if pool.empty:
                break
            self.start("up")
            self.start_returns()
            self.hello(0)
            self.over(0)
            self.died_if_ending()
            self.buried(0, broken=False)
        assert pool.empty
        self.none_lost_none_twice()

    def died_if_ending(self) -> None:
        """What was told to end, or killed, does."""
        worker = self._worker(0, "retiring", "condemned")
        if worker is not None:
            self.pool.died(worker)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
