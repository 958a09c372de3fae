"""Semaphore, Event, Condition and Barrier."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from procession import WorkerDied, shared
from tests.shared import jobs
from tests.shared.jobs import Start
from tests.support.waiting import wait_until


def hold_permit(semaphore: Any, inside: Any, most: Any, times: int) -> None:
    """Count how many are inside at a time."""
    for _ in range(times):
        with semaphore:
            with inside.get_lock():
                inside.value += 1
                most.value = max(most.value, inside.value)
            with inside.get_lock():
                inside.value -= 1


def test_a_semaphore_is_never_exceeded(start: Start) -> None:
    """The guide's Semaphore(2): four workers, two inside at most."""
    semaphore, inside, most = shared.Semaphore(2), shared.Value("i"), shared.Value("i")
    for process in [start(hold_permit, semaphore, inside, most, 200) for _ in range(4)]:
        process.join(60)
    assert 1 <= most.value <= 2
    assert semaphore.get_value() == 2


def test_a_semaphore_counts() -> None:
    """Acquire, release, and what it does when there is none."""
    semaphore = shared.Semaphore(1)
    assert semaphore.acquire()
    assert not semaphore.acquire(False)
    assert not semaphore.acquire(timeout=0.02)
    semaphore.release()
    semaphore.release()
    assert semaphore.get_value() == 2
    assert repr(semaphore) == "<Semaphore(value=2)>"
    with pytest.raises(ValueError, match="not -1"):
        shared.Semaphore(-1)


def test_a_bounded_semaphore_refuses() -> None:
    """One release too many says what multiprocessing says."""
    semaphore = shared.BoundedSemaphore(2)
    with semaphore:
        pass
    with pytest.raises(ValueError, match="released too many times"):
        semaphore.release()
    assert semaphore.get_value() == 2


@pytest.mark.parametrize("kind", [shared.Semaphore, shared.BoundedSemaphore])
def test_permits_taken_by_with_come_back(start: Start, kind: Any) -> None:
    """After the process that had them died."""
    semaphore = kind(2)
    for _ in range(2):
        start(jobs.die_within, semaphore).join(60)
    assert semaphore.acquire(timeout=30)
    assert semaphore.acquire(timeout=30)
    assert not semaphore.acquire(False)
    semaphore.release()
    semaphore.release()


def test_a_permit_is_lost(start: Start) -> None:
    """Who waits for it learns so; one release makes up for it."""
    semaphore = shared.Semaphore(1)
    start(jobs.die_holding, semaphore).join(60)
    for _ in range(2):
        with pytest.raises(WorkerDied, match=r"acquire\(\) died.*release\(\) once in its stead"):
            semaphore.acquire()
    assert not semaphore.acquire(False)
    semaphore.release()
    assert semaphore.acquire(timeout=30)


def test_a_consumer_of_permits_may_end(start: Start) -> None:
    """What a process acquired that ended in order is no loss: that is how signals are used."""
    semaphore = shared.Semaphore(1)
    start(semaphore.acquire).join(60)
    assert not semaphore.acquire(timeout=0.02)
    semaphore.release()
    assert semaphore.acquire(timeout=30)


def test_an_event(start: Start) -> None:
    """Set in one process, it wakes the others, even if it is cleared at once."""
    event, woken = shared.Event(), shared.Value("i")
    assert not event.is_set()
    assert not event.wait(0.02)
    processes = [start(wait_and_count, event, woken) for _ in range(3)]
    event.set()
    for process in processes:
        process.join(60)
    assert woken.value == 3
    assert event.is_set()
    assert repr(event) == "<Event(set)>"
    event.clear()
    assert not event.is_set()


def wait_and_count(event: Any, woken: Any) -> None:
    """Wait, and say that it was set."""
    if event.wait(60):
        with woken.get_lock():
            woken.value += 1


def sleepers(thing: Any) -> Callable[[], int]:
    """How many wait in the first room of an object."""
    return lambda: len(thing._waiters._waiting(0))


def test_a_killed_waiter_of_an_event_is_passed_over(fork: Start) -> None:
    """The others are woken all the same."""
    event, woken = shared.Event(), shared.Value("i")
    doomed = fork(event.wait)
    wait_until(lambda: sleepers(event)() == 1)
    other = fork(wait_and_count, event, woken)
    wait_until(lambda: sleepers(event)() == 2)
    doomed.kill()
    doomed.join()
    event.set()
    other.join(60)
    assert woken.value == 1


def test_a_condition_wakes_as_many_as_it_says(start: Start) -> None:
    """Two of three, then the last."""
    condition, waiting = shared.Condition(), shared.Value("i")
    processes = [start(jobs.wait_in, condition, waiting) for _ in range(3)]
    wait_until(lambda: sleepers(condition)() == 3)
    with condition:
        condition.notify(2)
    wait_until(lambda: waiting.value == 1)
    with condition:
        condition.notify_all()
    for process in processes:
        process.join(60)
    assert waiting.value == 0


def test_a_condition_calls_another_for_a_waiter_that_dies(fork: Start) -> None:
    """One that was killed does not use up a notification."""
    condition, waiting = shared.Condition(), shared.Value("i")
    doomed = fork(jobs.wait_in, condition, waiting)
    wait_until(lambda: sleepers(condition)() == 1)
    other = fork(jobs.wait_in, condition, waiting)
    wait_until(lambda: sleepers(condition)() == 2)
    doomed.kill()
    doomed.join()
    with condition:
        condition.notify()
    other.join(60)
    assert waiting.value == 1


def test_a_notified_waiter_dies_before_it_wakes(fork: Start) -> None:
    """Its call goes to the next."""
    condition, waiting = shared.Condition(shared.Lock()), shared.Value("i")
    doomed = fork(jobs.wait_in, condition, waiting)
    wait_until(lambda: sleepers(condition)() == 1)
    other = fork(jobs.wait_in, condition, waiting)
    wait_until(lambda: sleepers(condition)() == 2)
    with condition:
        condition.notify()
        doomed.kill()  # it needs the lock to come back, and we have it
        doomed.join()
    other.join(60)
    assert waiting.value == 1


@pytest.mark.parametrize("lock", [None, shared.Lock, shared.RLock])
def test_a_condition_in_one_process(lock: Any) -> None:
    """The lock is needed; time runs out; a predicate is waited for; depth is kept."""
    condition = shared.Condition(lock and lock())
    for call in (condition.wait, condition.notify, condition.notify_all):
        with pytest.raises(AssertionError, match="must acquire"):
            call()
    with condition:
        assert not condition.wait(0.02)
        assert not condition.wait_for(lambda: False, 0.02)
        assert condition.wait_for(lambda: "yes") == "yes"
    if lock is not shared.Lock:
        with condition, condition:
            assert not condition.wait(0.02)
            condition.notify()
    assert condition.acquire(False)
    condition.release()


def test_a_condition_wants_a_lock_that_can_travel() -> None:
    """Others are refused."""
    with pytest.raises(TypeError, match=r"needs a shared\.Lock or shared\.RLock"):
        shared.Condition(threading.Lock())  # type: ignore[arg-type]


def wait_at(barrier: Any, indices: Any, rounds: int) -> None:
    """Pass a barrier, and report the index."""
    for _ in range(rounds):
        indices.append(barrier.wait(60))


def test_a_barrier(start: Start) -> None:
    """Three pass together, again and again, each with another index."""
    barrier, indices = shared.Barrier(3), shared.List[int]()
    processes = [start(wait_at, barrier, indices, 5) for _ in range(2)]
    wait_at(barrier, indices, 5)
    for process in processes:
        process.join(60)
    assert sorted(indices) == sorted([0, 1, 2] * 5)
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)


def test_a_barrier_acts_once() -> None:
    """The action runs once per pass, in one of them."""
    acted: list[int] = []
    barrier = shared.Barrier(2, action=lambda: acted.append(1), timeout=60)
    threads = [threading.Thread(target=barrier.wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert acted == [1]


def test_a_barrier_breaks_and_is_reset() -> None:
    """By a timeout, an abort, a failing action."""
    barrier = shared.Barrier(2)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.02)
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    assert repr(barrier) == "<Barrier(0/2 waiting)>"
    barrier.abort()
    assert repr(barrier) == "<Barrier(broken)>"
    alone = shared.Barrier(1, action=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        alone.wait()
    assert alone.broken
    with pytest.raises(ValueError, match="not 0"):
        shared.Barrier(0)


def test_a_reset_sends_waiters_away() -> None:
    """They get BrokenBarrierError, and the barrier is new."""
    barrier = shared.Barrier(2)
    sent_away: list[bool] = []

    def wait() -> None:
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            sent_away.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: barrier.n_waiting == 1)
    barrier.reset()
    thread.join()
    assert sent_away == [True]
    assert not barrier.broken


def test_a_participant_dies_while_it_waits(start: Start) -> None:
    """The others get BrokenBarrierError."""
    barrier = shared.Barrier(3)
    doomed = start(barrier.wait)
    wait_until(lambda: barrier.n_waiting == 1)
    doomed.kill()
    doomed.join()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(60)
    assert barrier.broken


def pass_then_die(barrier: Any) -> None:
    """Take part once, and never again."""
    barrier.wait(60)
    jobs.die()


def test_a_participant_dies_before_it_waits(start: Start) -> None:
    """One that took part before is missed in the next round."""
    barrier = shared.Barrier(2)
    process = start(pass_then_die, barrier)
    barrier.wait(60)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(60)
    process.join(60)
