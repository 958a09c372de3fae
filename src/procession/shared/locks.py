"""Lock, RLock, Semaphore, BoundedSemaphore: as multiprocessing's, but not lost with who dies.

For each process a semaphore's row counts the permits it took by ``with`` and those it took by
``acquire()``. What a dead process had taken by ``with`` is given back. What it had taken by
``acquire()`` may have been meant for another to release. So it is not given back, but those who
would wait for it learn of it. The counts of a row are valid for one incarnation of the row: see
`procession.shared.memory.segment`.
"""

from __future__ import annotations

import os
from operator import index
from typing import Any

from procession.errors import warn_user
from procession.shared.memory.layout import BODY, FIRST_ROW, INCARNATION, ROW_WORDS
from procession.shared.memory.monitor import Monitor, Patience
from procession.shared.memory.mutex import TOO_MANY, Mutex
from procession.shared.memory.segment import Segment
from procession.system.pristine import threading


class Lock(Mutex):
    """A lock between processes and threads, to be passed as an ordinary argument.

        @parallel
        def append(line: str, lock: shared.Lock) -> None:
            with lock: ...

        append.map(lines, shared.Lock())

    Like `multiprocessing.Lock`: not reentrant, and any process or thread may release it. If its
    holder dies, the next one that acquires it gets it within about a second. A
    `procession.ParallelWarning` says then that what the lock protects may be half written.
    """

    def __init__(self) -> None:
        self._create("lock")

    def _release_fully(self) -> int:
        """Release it as often as it was acquired; returns how often that was."""
        self.release()
        return 1

    def _must_be_held(self, what: str) -> None:
        assert self._held_here(), f"must acquire() condition before using {what}"

    def _prepare(self, segment: Segment) -> None:
        self.prepare(segment)

    def _on_orphaned(self) -> None:
        name = type(self).__name__
        warn_user(
            f"The process that held this shared.{name} died, and the {name} was taken over: what "
            "it protects may be half written. Check or reset that before you rely on it."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({'held here' if self._held_here() else 'not held here'})>"


class RLock(Lock):
    """A lock that the thread which holds it may acquire again; it releases as often.

        with lock, lock: ...

    Like `multiprocessing.RLock`. If its holder dies, the next one that acquires it gets it within
    about a second. A `procession.ParallelWarning` says then that what the lock protects may be half
    written.
    """

    def _open(self, segment: Segment, *arguments: Any) -> None:
        super()._open(segment)
        self._owner: int | None = None
        self._depth = 0

    def _after_fork(self) -> None:
        super()._after_fork()
        self._owner = None
        self._depth = 0

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take the lock, or take it once more.

        Args:
            block: Whether to wait for it.
            timeout: Seconds to wait at most; ``None`` waits without end.

        Returns:
            Whether it was taken.
        """
        me = threading.get_ident()
        if self._owner == me:
            self._depth += 1
            return True
        if Mutex.acquire(self, block, timeout):
            self._owner = me
            self._depth = 1
            return True
        return False

    __enter__ = acquire

    def release(self) -> None:
        """Give the lock back once.

        Raises:
            AssertionError: If this thread does not hold it.
        """
        if self._owner != threading.get_ident():
            raise AssertionError(
                f"attempt to release recursive lock not owned by thread (process {os.getpid()})"
            )
        self._depth -= 1
        if self._depth:
            return
        self._owner = None
        try:
            Mutex.release(self)
        except BaseException:
            if self._held_here() and not self._depth:
                Mutex.release(self)  # an interrupt came before it was given back
            raise

    def _release_fully(self) -> int:
        times = self._depth
        for _ in range(times):
            self.release()
        return times

    def _must_be_held(self, what: str) -> None:
        assert self._owner == threading.get_ident(), f"must acquire() condition before using {what}"


# -- semaphores -----------------------------------------------------------------------------------

_VALUE, _INITIAL, _LOST = BODY, BODY + 1, BODY + 2
_WAITING = 0

# In the rows:
_WITH, _BARE, _OF = 3, 4, 5


class Semaphore(Monitor):
    """A number of permits; who finds none left waits.

        permits = shared.Semaphore(2)
        with permits: ...    # two at a time, in all processes

    Like `multiprocessing.Semaphore`. Permits taken by ``with`` come back when their process dies.
    After a plain ``acquire()`` in a process that died, those who wait get `procession.WorkerDied`
    within about a second; one ``release()`` in its stead makes up for the lost permit.

    Args:
        value: How many permits there are at first.

    Raises:
        ValueError: It is below 0.
    """

    def __init__(self, value: int = 1) -> None:
        value = index(value)
        if value < 0:
            raise ValueError(f"a semaphore starts with 0 permits or more, not {value}")
        self._create("semaphore")
        self._words[_VALUE] = self._words[_INITIAL] = value

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take a permit.

        Args:
            block: Whether to wait for one.
            timeout: Seconds to wait at most; ``None`` waits without end.

        Returns:
            Whether one was taken.

        Raises:
            WorkerDied: If there is none left because a process died that had taken one.
        """
        return self._acquire(_BARE, Patience(timeout if block else 0))

    def release(self) -> None:
        """Give a permit back, or add one."""
        with self._mutex:
            words = self._words
            if words[_LOST]:
                self._write(_VALUE, words[_VALUE] + 1, _LOST, words[_LOST] - 1)
            else:
                self._check_bound()
                bare = self._row() + _BARE
                self._write(_VALUE, words[_VALUE] + 1, bare, words[bare] - 1)
            self._waiters.call(_WAITING, 1)

    def get_value(self) -> int:
        """How many permits are left just now."""
        return self._words[_VALUE]

    def __enter__(self) -> bool:
        return self._acquire(_WITH, Patience(None))

    def __exit__(self, *error: object) -> None:
        with self._mutex:
            words, mine = self._words, self._row() + _WITH
            self._check_bound()
            self._write(_VALUE, words[_VALUE] + 1, mine, max(0, words[mine] - 1))
            self._waiters.call(_WAITING, 1)

    def _check_bound(self) -> None:
        """Nothing: permits can be added without end."""

    def _acquire(self, how: int, patience: Patience) -> bool:
        words = self._words
        with self._mutex:
            while not words[_VALUE]:
                self._settle_the_dead()
                if words[_VALUE]:
                    break
                rest = patience.rest()
                if rest <= 0:
                    return False
                if words[_LOST]:
                    raise self._permit_lost()
                self._sleep(_WAITING, rest)
            mine = self._row() + how
            self._write(_VALUE, words[_VALUE] - 1, mine, words[mine] + 1)
        return True

    def _row(self) -> int:
        """This process's row, with counts of its own."""
        segment, words = self._segment, self._words
        row = segment.row or segment.claim()
        at = FIRST_ROW + row * ROW_WORDS
        if words[at + _OF] != words[at + INCARNATION]:
            self._settle(at)
        return at

    def _settle_the_dead(self) -> None:
        """Give back, or count as lost, what dead processes have."""
        for row in self._segment.rows():
            at = FIRST_ROW + row * ROW_WORDS
            if self._words[at + _WITH] or self._words[at + _BARE]:
                current = self._words[at + _OF] == self._words[at + INCARNATION]
                if not (current and self._segment.occupied(row)):
                    self._settle(at)

    def _settle(self, at: int) -> None:
        """Settle what a row's dead process has, and make the row ready for its successor."""
        words = self._words
        given_back, lost = words[at + _WITH], max(0, words[at + _BARE])
        self._write(
            *(_VALUE, words[_VALUE] + given_back),
            *(_LOST, words[_LOST] + lost),
            *(at + _WITH, 0),
            *(at + _BARE, 0),
            *(at + _OF, words[at + INCARNATION]),
        )
        if given_back or lost:
            self._waiters.call(_WAITING)

    def _leave(self) -> None:
        # A process that ends in order has consumed what it acquired: that is how a semaphore is
        # used as a signal. Only one that dies leaves a permit that others wait for in vain.
        at = FIRST_ROW + self._segment.row * ROW_WORDS
        if self._words[at + _BARE] and self._words[at + _OF] == self._words[at + INCARNATION]:
            self._words[at + _BARE] = 0

    def __del__(self) -> None:
        try:
            self._leave()
        except Exception:  # it was never made, or the interpreter is going down
            pass

    def _permit_lost(self) -> Exception:
        from procession.errors import WorkerDied

        return WorkerDied(
            "A process that had taken a permit of this semaphore by acquire() died, and there is "
            "none left. Take permits by 'with semaphore:', which gives them back; or call "
            "release() once in its stead."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()})>"


class BoundedSemaphore(Semaphore):
    """A semaphore that refuses to be released more often than it was acquired.

        permits = shared.BoundedSemaphore(2)
        permits.release()    # ValueError: both are there already

    Like `multiprocessing.BoundedSemaphore`; see `Semaphore` for what happens when a process dies.

    Args:
        value: How many permits there are, and never more.

    Raises:
        ValueError: It is below 0.
    """

    def release(self) -> None:
        """Give a permit back.

        Raises:
            ValueError: If all permits are there already.
        """
        super().release()

    def _check_bound(self) -> None:
        if self._words[_VALUE] >= self._words[_INITIAL]:
            raise ValueError(TOO_MANY)
