"""A mutex between processes that is not lost when its holder dies.

Taking it is one step on a semaphore in shared memory, which cannot tell who took it. So each
process raises a flag in its own row before it tries, and lowers it after it failed or has released.
A process that has the semaphore has its flag up, from before until after. From that follows the
rule for a dead holder: **if the semaphore is taken, and no live process has its flag up, then no
process has it.**

Reading the flags takes a moment. Meanwhile the mutex may go from a process whose flag was not yet
read to one whose flag was. So a waiter looks `_LOOKS` times, and each look would have to be
deceived in this way. Waiters look once a second. An uncontended acquire and release cost two stores
more than the semaphore itself.

Where semaphores do not work in shared memory, a word says who holds the mutex. It is read and
written under the segment's guard, which the kernel releases when a process dies, and those who wait
ask again and again: slower, with the same meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from procession.shared.memory import posix_semaphores as semaphores
from procession.shared.memory.layout import (
    BUSY,
    FIRST_ROW,
    GATE,
    POLLED_OWNER,
    ROW_WORDS,
    UNIT,
    WAITED_FOR,
    WORD,
)
from procession.shared.memory.segment import Flag, Segment, Shared
from procession.system.pristine import time

TOO_MANY = "semaphore or lock released too many times"
"""What multiprocessing says when something is released that is not held."""

_SPINS = 20
"""Attempts before a waiter sleeps. Not measured closely: about what one sleep and wake-up cost."""
_FIRST_LOOK, _LAST_LOOK = 0.05, 1.0
"""Seconds until a waiter first looks whether the holder is alive, and at most between two looks."""
_LOOKS, _BETWEEN_LOOKS = 20, 0.0005
"""How often it looks before it takes the mutex, and the seconds in between."""
_SHORTEST, _LONGEST = 0.0001, 0.01
"""Seconds between two attempts of one that polls, at first and at most. Not measured."""


class _Releasing(Shared):
    """What both kinds of mutex have in common."""

    def release(self) -> None:
        """Give the lock back."""
        raise NotImplementedError

    def __exit__(self, *error: object) -> None:
        self.release()

    def _on_orphaned(self) -> None:
        """Called with the lock held, which its last holder died with."""


class SemaphoreMutex(_Releasing):
    """The mutex of a segment, on a semaphore. Not reentrant; any process may release it."""

    @staticmethod
    def prepare(segment: Segment) -> None:
        """Set a new segment's mutex up."""
        semaphores.clear(segment.map, UNIT * WORD, 1)
        semaphores.clear(segment.map, GATE * WORD, 0)

    def _open(self, segment: Segment, *arguments: Any) -> None:
        super()._open(segment)
        # Views without dimensions: written and read in two thirds of the time of an indexed one.
        self._waited_for = segment.flag(WAITED_FOR)
        self._unit = semaphores.open_at(segment.map, UNIT * WORD, 1)
        self._gate = semaphores.open_at(segment.map, GATE * WORD)
        self._give: Callable[[], None] = self._unit.release
        self._take: Callable[[bool], bool] = self._unit.acquire
        self._count_idle = 0  # what the semaphore counts in this process while it is idle
        self._next_look = 0.0
        self._idle = True
        self._flag = _flag(segment, segment.claim())

    def _after_fork(self) -> None:
        self._count_idle = self._unit._count()
        self._idle = True
        self._flag = _flag(self._segment, 0)  # no process's row, until the first attempt
        self._take = self._join_and_take

    def _join_and_take(self, block: bool) -> bool:
        self._take = self._unit.acquire
        self._flag = _flag(self._segment, self._segment.claim())
        self._flag[()] = True
        return self._take(block)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take the lock.

        Args:
            block: Whether to wait for it.
            timeout: Seconds to wait at most; ``None`` waits without end.

        Returns:
            Whether it was taken.
        """
        # Other threads of this process can come in after a call only. So `_idle` needs no lock: one
        # thread at a time is in here, or holds it.
        if self._idle:
            self._idle = False
            self._flag[()] = True
            try:
                if self._take(False):
                    return True
            except BaseException:
                self._back_out()
                raise
            self._flag[()] = False
            self._idle = True
        return self._wait(block, timeout)

    def release(self) -> None:
        """Give the lock back.

        Raises:
            ValueError: If it is not held.
        """
        if self._idle:
            return self._release_anothers()
        try:
            self._give()
        finally:
            self._flag[()] = False
            self._idle = True
        if self._waited_for[()]:
            self._wake()
        return None

    __enter__ = acquire

    def _held_here(self) -> bool:
        """Whether this process holds it."""
        return not self._idle and self._flag[()]

    def _attempt(self) -> bool:
        if not self._idle:
            if self._flag[()]:
                return False
            self._count_idle += 1  # we held it, and another released it in our stead
        self._idle = False
        self._flag[()] = True
        try:
            if self._take(False):
                return True
        except BaseException:
            self._back_out()
            raise
        self._flag[()] = False
        self._idle = True
        return False

    def _back_out(self) -> None:
        """An interrupt came while trying, perhaps just after the semaphore was taken: undo that."""
        try:
            if self._unit._count() > self._count_idle:
                self._give()
        finally:
            self._flag[()] = False
            self._idle = True

    def _wait(self, block: bool, timeout: float | None) -> bool:
        if not block:
            return self._attempt() or self._look_at_times()
        if any(self._attempt() for _ in range(_SPINS)):
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_LOOK
        while True:
            # Said before the last attempt, so that a release after it wakes us; and said again once
            # we have it, because more may be asleep. If a wake-up is lost all the same (its
            # receiver was killed), the pause is the longest it can cost.
            self._waited_for[()] = True
            if self._attempt():
                self._waited_for[()] = True
                return True
            rest = pause if deadline is None else min(pause, deadline - time.monotonic())
            if rest <= 0:
                return self._look_at_times()
            if not self._gate.acquire(True, rest):
                if self._take_over():
                    return True
                pause = min(2 * pause, _LAST_LOOK)

    def _look_at_times(self) -> bool:
        """For those who ask again and again, with short patience: also they find a dead holder."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LAST_LOOK / 2
        return self._take_over()

    def _wake(self) -> None:
        self._waited_for[()] = False
        if self._gate._is_zero():
            self._gate.release()

    def _holders(self) -> list[int]:
        """The rows of live processes whose flag is up: the holder, and who tries just now."""
        segment = self._segment
        flags = segment.column(BUSY)
        return [row for row in segment.rows() if flags[row] and segment.occupied(row)]

    def _orphaned(self) -> bool:
        """Whether the semaphore is taken, and by no live process."""
        for _ in range(_LOOKS):
            if self._holders() or not self._unit._is_zero():
                return False
            time.sleep(_BETWEEN_LOOKS)
        return True

    def _take_over(self) -> bool:
        """Take the lock from a holder that is dead."""
        if self._holders():
            return False
        with self._segment.guard():
            if not self._orphaned() or self._flag[()]:
                return False
            self._flag[()] = True
            self._idle = False
            self._count_idle -= 1  # our release will count what the dead process took
            self._waited_for[()] = True
        try:
            self._on_orphaned()
        except BaseException:
            SemaphoreMutex.release(self)
            raise
        return True

    def _release_anothers(self) -> None:
        """Release what another process holds, as multiprocessing allows."""
        with self._segment.guard():
            while True:
                if not self._unit._is_zero():
                    raise ValueError(TOO_MANY)
                holders = self._holders()
                if len(holders) <= 1:
                    break
                time.sleep(0)  # some only try, for a moment; the holder stays
            for row in holders:
                _flag(self._segment, row)[()] = False
            self._give()
            self._count_idle -= 1
        self._wake()


def _flag(segment: Segment, row: int) -> Flag:
    """A row's flag."""
    return segment.flag(FIRST_ROW + row * ROW_WORDS + BUSY)


class PolledMutex(_Releasing):
    """The mutex of a segment, by polling. Not reentrant; any process may release it."""

    @staticmethod
    def prepare(segment: Segment) -> None:
        """Set a new segment's mutex up."""
        segment.words[POLLED_OWNER] = 0

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """As `SemaphoreMutex.acquire`."""
        for pause in pauses(timeout if block else 0):
            if self._attempt():
                return True
            time.sleep(pause)
        return False

    def release(self) -> None:
        """As `SemaphoreMutex.release`."""
        words = self._segment.words
        with self._segment.guard():
            if not words[POLLED_OWNER]:
                raise ValueError(TOO_MANY)
            words[POLLED_OWNER] = 0

    __enter__ = acquire

    def _held_here(self) -> bool:
        """Whether this process holds it."""
        return self._segment.words[POLLED_OWNER] == self._segment.identity()

    def _attempt(self) -> bool:
        segment = self._segment
        me = segment.identity()
        with segment.guard():
            owner = segment.words[POLLED_OWNER]
            if owner and segment.alive(owner):
                return False
            segment.words[POLLED_OWNER] = me
        if owner:
            try:
                self._on_orphaned()
            except BaseException:
                PolledMutex.release(self)
                raise
        return True


def pauses(timeout: float | None) -> Iterator[float]:
    """Seconds to sleep after each attempt, ever longer, until `timeout` seconds are over."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _SHORTEST
    while deadline is None:
        yield pause
        pause = min(2 * pause, _LONGEST)
    while (rest := deadline - time.monotonic()) > 0:
        yield min(pause, rest)
        pause = min(2 * pause, _LONGEST)
    yield 0


if TYPE_CHECKING or semaphores.usable():
    Mutex = SemaphoreMutex
else:
    Mutex = PolledMutex
