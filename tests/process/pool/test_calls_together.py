"""How many calls go in one message, and what becomes of those that come back."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from procession.contract import Chunk
from procession.items import Item, Job
from procession.process.pool.assignment import Assignment
from procession.process.pool.pool_state import PoolState
from procession.process.pool.worker_state import WorkerState
from tests.process.pool.test_pool_state import Silent


class Knowing(WorkerState):
    """A worker that knows all jobs."""

    def takes_calls(self, assignment: Assignment) -> bool:
        """It does."""
        return True


def call_of(job: Job, number: int = 0, *, short: bool = True) -> Assignment:
    """A single call."""
    chunk = Chunk(job, [Item(number, None)], Silent())
    chunk.given = (number, ()) if short else None
    return Assignment(chunk)


def job_of(pace: float, **limits: Any) -> Job:
    """A job whose calls take so long."""
    job = Job(1, "f", **limits)
    if pace >= 0:
        job.ran(pace)
    return job


@pytest.mark.parametrize(
    ("pace", "waiting", "size", "expected"),
    [
        (1e-5, 10, 1, 10),  # all
        (1e-5, 10, 2, 4),  # each worker its share
        (1e-5, 1000, 1, 127),  # a bound
        (5e-4, 100, 1, 3),  # two milliseconds together
        (0.01, 100, 1, 0),  # long ones go alone
        (-1.0, 100, 1, 0),  # so do those that none is known of
    ],
)
def test_how_many_go_along(pace: float, waiting: int, size: int, expected: int) -> None:
    """By how long they take, how many wait, and how many workers there may be."""
    job = job_of(pace)
    queue = deque(call_of(job, number) for number in range(waiting))
    assert call_of(job).joined_by(queue, size) == expected


def test_who_does_not_go_along() -> None:
    """Another function's, a large one, and those whose time or memory is limited."""
    job, other = job_of(1e-5), job_of(1e-5)
    first = call_of(job)
    for odd in (call_of(other), call_of(job, short=False)):
        assert first.joined_by(deque([call_of(job), odd, call_of(job), call_of(job)]), 1) == 1
    limited = job_of(1e-5, timeout=5.0)
    assert call_of(limited).joined_by(deque(call_of(limited) for _ in range(9)), 1) == 0


def burst(calls: int) -> tuple[PoolState[WorkerState], WorkerState, list[Assignment]]:
    """A pool of one worker, which has these calls."""
    pool: PoolState[WorkerState] = PoolState(1)
    job = job_of(1e-5)
    waiting = [call_of(job, number) for number in range(calls)]
    for each in waiting:
        pool.match(each)
    pool.begin_start()
    worker = Knowing()
    pool.started(worker, 0.0)
    pool.end_start()
    assert pool.ready(worker, 0.0) == [(worker, waiting[0])]
    return pool, worker, waiting


def test_each_has_its_number_and_its_turn() -> None:
    """The next one is the worker's chunk once the one before it is over."""
    pool, worker, waiting = burst(4)
    assert [each.number for each in waiting] == [1, 2, 3, 4]
    assert pool.load.waiting == 3
    for each in waiting:
        assert worker.assignment is each
        assert pool.done(worker, 1.0) == ()
        assert each.over
    assert (pool.busy, pool.idle) == (0, [worker])


def test_those_that_come_back_go_first() -> None:
    """They wait in their order, before all others; but one that was cancelled does not."""
    pool, worker, waiting = burst(5)
    late = call_of(job_of(1e-5))
    pool.match(late)
    assert pool.cancel_behind(waiting[3])
    pool.return_calls(worker.give_back(2))
    assert list(pool.queue) == [waiting[2], waiting[4], late]
    assert pool.cancelled == [waiting[3]]
    assert [each.worker for each in waiting] == [worker, worker, None, None, None]


def test_a_death_returns_those_behind() -> None:
    """Only the worker's chunk ends with it."""
    pool, worker, waiting = burst(3)
    pool.died(worker)
    assert pool.buried(worker, broken=False) == (waiting[0], [])
    assert list(pool.queue) == waiting[1:]


def test_a_call_that_was_not_begun_waits_again() -> None:
    """And the worker is idle."""
    pool, worker, waiting = burst(3)
    pool.done(worker, 1.0)
    pool.unbegun(worker, 2.0)
    assert list(pool.queue) == waiting[1:]
    assert pool.idle == [worker]
    assert pool.busy == 0
