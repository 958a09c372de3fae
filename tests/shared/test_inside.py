"""What lies under the objects: interrupts, the journal, rows and cells of dead processes."""

from __future__ import annotations

import random
import signal
import threading
from typing import Any

import pytest

from procession import shared
from procession.shared.memory.layout import BODY, JOURNAL, write_together
from tests.shared import jobs
from tests.shared.jobs import Start


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
@pytest.mark.parametrize("kind", [shared.Lock, shared.RLock])
def test_interrupts_lose_no_lock(kind: Any) -> None:
    """Ctrl-C between any two steps leaves the lock held or free, never in between."""
    lock, chance = kind(), random.Random(1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(300):
            try:
                # And again after a second: a strike in somebody's finalizer is ignored by Python.
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + chance.random() * 3e-4, 1.0)
                while True:
                    assert lock.acquire(timeout=30)
                    lock.release()
            except KeyboardInterrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
                if lock._held_here():
                    lock.release()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert lock.acquire(False)
    lock.release()


def leave_half_written(event: Any, at: int) -> None:
    """Die after the journal was written, and before its words were."""
    event._mutex.acquire()
    words = event._segment.words
    words[JOURNAL + 1], words[JOURNAL + 2] = at, 5
    words[JOURNAL + 3], words[JOURNAL + 4] = at + 1, 6
    words[JOURNAL] = 2
    words[at] = 5
    jobs.die()


def test_the_next_one_finishes_what_was_half_written(fork: Start) -> None:
    """All words of the journal, or none."""
    event, at = shared.Event(), BODY + 40
    fork(leave_half_written, event, at).join(60)
    words = event._segment.words
    assert (words[at], words[at + 1]) == (5, 0)
    with event._mutex:
        assert (words[at], words[at + 1], words[JOURNAL]) == (5, 6, 0)
        write_together(words, at, 7, at + 1, 8)
    assert (words[at], words[at + 1], words[JOURNAL]) == (7, 8, 0)


def test_rows_of_dead_processes_are_used_again(fork: Start) -> None:
    """However many come and go."""
    lock = shared.Lock()
    for _ in range(10):
        fork(jobs.die_holding, lock).join(60)
        with pytest.warns(match="half written"):
            assert lock.acquire(timeout=30)
        lock.release()
    assert len(lock._segment.rows()) <= 3


def test_cells_of_dead_waiters_are_used_again(fork: Start) -> None:
    """They are passed over when somebody is called, and free then."""
    event = shared.Event()
    for _ in range(3):
        doomed = fork(event.wait)
        while not event._waiters._waiting(0):
            pass
        doomed.kill()
        doomed.join()
        event.set()
        event.clear()
    assert not event._waiters._waiting(0)
    assert len(event._waiters._cells()) == 1


def test_a_dead_process_is_not_its_successor(fork: Start) -> None:
    """The same row, another incarnation."""
    lock, identities = shared.Lock(), shared.List[int]()
    for _ in range(2):
        fork(report_identity, lock, identities).join(60)
    first, second = identities
    assert first & 0xFFFF == second & 0xFFFF
    assert first != second
    assert not lock._segment.alive(first)
    assert lock._segment.alive(lock._segment.identity())


def report_identity(lock: Any, identities: Any) -> None:
    """Who one is, to the lock's segment."""
    identities.append(lock._segment.identity())
