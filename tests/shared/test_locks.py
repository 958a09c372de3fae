"""Lock and RLock: multiprocessing's behaviour, and what happens when the holder dies."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import pytest

from procession import ParallelWarning, shared
from tests.shared import jobs
from tests.shared.jobs import Start
from tests.support.waiting import wait_until

KINDS: list[Any] = [shared.Lock, shared.RLock]


@pytest.mark.parametrize("kind", KINDS)
def test_forty_thousand_increments(start: Start, kind: Any) -> None:
    """The guide's counter: four workers, ten thousand each, none lost."""
    lock, value = kind(), shared.Value("i", 0, lock=False)
    processes = [start(jobs.increment_under, lock, value, 10_000) for _ in range(4)]
    for process in processes:
        process.join(120)
    assert value.value == 40_000


def test_a_lock_is_taken_once() -> None:
    """A second acquire fails, or waits until its time is over."""
    lock = shared.Lock()
    assert lock.acquire()
    assert not lock.acquire(False)
    assert not lock.acquire(block=False)
    assert not lock.acquire(timeout=0.02)
    assert not lock.acquire(True, -1)
    lock.release()
    assert lock.acquire(False)
    lock.release()


def test_releasing_too_often() -> None:
    """Says what multiprocessing says."""
    lock = shared.Lock()
    with pytest.raises(ValueError, match="released too many times"):
        lock.release()
    with lock:
        pass
    with pytest.raises(ValueError, match="released too many times"):
        lock.release()
    assert lock.acquire(False)
    lock.release()


def test_another_process_may_release_a_lock(start: Start) -> None:
    """As in multiprocessing, and it can be taken again afterwards."""
    lock = shared.Lock()
    for _ in range(2):
        assert lock.acquire(timeout=30)
        process = start(lock.release)
        process.join(60)
        assert process.exitcode == 0
    assert lock.acquire(False)
    lock.release()


def test_another_thread_may_release_a_lock() -> None:
    """As in multiprocessing."""
    lock = shared.Lock()
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert lock.acquire(False)
    lock.release()


def test_an_rlock_is_taken_again_by_its_thread_only() -> None:
    """And given back as often."""
    lock = shared.RLock()
    taken: list[bool] = []

    def attempt() -> None:
        taken.append(lock.acquire(False))
        with pytest.raises(AssertionError, match="not owned by thread"):
            lock.release()

    def in_a_thread() -> None:
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()

    with lock, lock:
        assert lock.acquire(False)
        lock.release()
        in_a_thread()
    assert taken == [False]
    with pytest.raises(AssertionError, match="not owned by thread"):
        lock.release()


@pytest.mark.parametrize("kind", KINDS)
def test_the_holder_dies(start: Start, kind: Any) -> None:
    """The next one gets it, and is warned at the line where it did."""
    lock = kind()
    process = start(jobs.die_holding, lock)
    process.join(60)
    said = f"shared.{kind.__name__} died.*half written"
    with pytest.warns(ParallelWarning, match=said) as caught:
        assert lock.acquire(timeout=30)
    assert caught[0].filename == __file__
    assert not lock.acquire(False) if kind is shared.Lock else True
    lock.release()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with lock:
            pass


@pytest.mark.parametrize("kind", KINDS)
def test_the_warning_is_an_error(fork: Start, kind: Any) -> None:
    """Then the lock is not kept."""
    lock = kind()
    fork(jobs.die_holding, lock).join(60)
    with pytest.raises(ParallelWarning):
        lock.acquire(timeout=30)
    assert lock.acquire(timeout=30)
    lock.release()


def test_the_holder_dies_and_others_ask_without_waiting(fork: Start) -> None:
    """They find out, too."""
    lock = shared.Lock()
    fork(jobs.die_holding, lock).join(60)
    with pytest.warns(ParallelWarning):
        wait_until(lambda: lock.acquire(False))
    lock.release()


def test_the_holder_dies_while_many_wait(fork: Start) -> None:
    """One after the other gets it."""
    lock, value = shared.Lock(), shared.Value("i", 0, lock=False)
    lock.acquire()
    waiting = [fork(jobs.increment_in_spite, lock, value, 100) for _ in range(3)]
    lock.release()
    for _ in range(3):
        fork(jobs.die_in_spite, lock)
    for process in waiting:
        process.join(60)
    assert value.value == 300


def test_a_holder_that_waits_is_not_dead(fork: Start) -> None:
    """Only the kernel's word counts, not how long it takes."""
    lock, done = shared.Lock(), shared.Event()
    with lock:
        process = fork(_take_and_tell, lock, done)
        assert not done.wait(2.5)
    assert done.wait(60)
    process.join(60)


def _take_and_tell(lock: Any, done: Any) -> None:
    with lock:
        done.set()


def test_repr() -> None:
    """Says whether this process holds it."""
    lock = shared.Lock()
    assert repr(lock) == "<Lock(not held here)>"
    with lock:
        assert repr(lock) == "<Lock(held here)>"
