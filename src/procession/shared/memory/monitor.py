"""Base of the objects whose state lies under a mutex and that one can wait for."""

from __future__ import annotations

from typing import Any

from procession.shared.memory import journal
from procession.shared.memory.layout import BODY, WAITERS, WORD
from procession.shared.memory.mutex import Mutex
from procession.shared.memory.segment import Segment, Shared, attach
from procession.shared.memory.waiters import CALLED, SIZE, Waiters
from procession.system.pristine import time

__all__ = ["DATA", "LONGEST_SLEEP", "Deadline", "Monitor"]

LONGEST_SLEEP = 1.0
"""Seconds after which a waiter looks for itself: whoever was to wake it may have died."""

DATA = (WAITERS - BODY) * WORD + SIZE
"""Bytes that a monitor takes before its own data."""


class InnerMutex(Mutex):
    """The mutex inside an object. Nobody need be warned when its holder died: the journal helps."""

    __enter__ = Mutex.acquire

    def __exit__(self, *error: object) -> None:
        self.release()

    def _on_orphaned(self) -> None:
        journal.redo(self._segment)


class Deadline:
    """How long a wait may still last; without end if `seconds` is ``None``."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def rest(self) -> float:
        """Seconds to sleep now, at most `LONGEST_SLEEP`; 0 or less if the time is over."""
        if self._end is None:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, self._end - time.monotonic())


class Monitor(Shared):
    """State under a mutex, and rooms to wait in."""

    def _create(self, label: str, body: int = 0) -> None:
        super()._create(label, DATA + body)

    def _prepare(self, segment: Segment) -> None:
        InnerMutex.prepare(segment)

    def _open(self, segment: Segment, *arguments: Any) -> None:
        super()._open(segment)
        self._words = segment.words
        self._mutex = attach(InnerMutex, segment)
        self._waiters = Waiters(segment)

    def _write(self, *pairs: int) -> None:
        """Write several words as one, with the mutex held."""
        journal.write(self._segment, *pairs)

    def _sleep(self, room: int, seconds: float) -> bool:
        """Wait in a room, giving the mutex away meanwhile. Returns whether one was called.

        Being called is passed on to another if an exception ends the wait.
        """
        waiters = self._waiters
        cell = waiters.enlist(room)
        try:
            self._mutex.release()
            try:
                waiters.sleep(cell, seconds)
            finally:
                self._mutex.acquire()
        except BaseException:
            if waiters.dismiss(cell) == CALLED:
                waiters.call(room, 1)
            raise
        return waiters.dismiss(cell) == CALLED
