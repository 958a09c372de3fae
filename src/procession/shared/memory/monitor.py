"""What a shared object waits with: state under a mutex, and a cell for each waiting thread.

The cells lie in the segment, and those that wait are called oldest first. A waiter that was killed
is passed over, and its cell used again.
"""

from __future__ import annotations

from typing import Any

from procession.errors import ProcessionError
from procession.shared.memory import posix_semaphores as semaphores
from procession.shared.memory.layout import (
    BODY,
    KIND,
    SEMAPHORES,
    WAITERS,
    WORD,
    redo_journal,
    write_together,
)
from procession.shared.memory.mutex import Mutex, pauses
from procession.shared.memory.segment import Segment, Shared, attach
from procession.system.pristine import time

_LONGEST_SLEEP = 1.0
"""Seconds after which a waiter looks for itself: the one that was to wake it may have died."""

_CELLS = 1024
_CELL_WORDS = 8
_TICKET, _OWNER, _ROOM, _WAKEUP = 0, 1, 2, 4
_NEXT_TICKET, _HIGHEST = WAITERS, WAITERS + 1
_WAITING = WAITERS + 2
"""Words, one per room: how many wait there, or more if some were killed."""
_FIRST = WAITERS + 8

DATA = (_FIRST + _CELLS * _CELL_WORDS - BODY) * WORD
"""Bytes that a monitor takes before its own data."""

_FREE = 0
CALLED = -1
"""The ticket of one who was called."""
REFUSED = -2
"""The ticket of one whose wait came to a bad end."""


class Waiters:
    """The cells of one segment. They are grouped by room, what one waits for: 0 to 5.

    All but `sleep` is called with the mutex held that belongs to what is waited for.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._words = segment.words
        self._ring = segment.words[KIND] == SEMAPHORES
        self._wakeups: dict[int, semaphores.Semaphore] = {}

    def enlist(self, room: int) -> int:
        """A cell for this thread, to `sleep` in.

        Raises:
            ProcessionError: If all cells are taken.
        """
        words, me = self._words, self._segment.identity()
        cell = self._unused()
        ticket = words[_NEXT_TICKET] + 1
        words[_NEXT_TICKET] = ticket
        if self._ring:
            semaphores.clear(self._segment.map, (cell + _WAKEUP) * WORD, 0)
        words[cell + _OWNER] = me
        words[cell + _ROOM] = room
        words[_WAITING + room] += 1
        words[cell + _TICKET] = ticket
        return cell

    def sleep(self, cell: int, seconds: float) -> None:
        """Wait until the cell is called, or the time is over. Without the mutex."""
        if self._words[cell + _TICKET] <= _FREE or seconds <= 0:
            return
        if self._ring:
            self._wakeup(cell).acquire(True, seconds)
            return
        for pause in pauses(seconds):
            if self._words[cell + _TICKET] <= _FREE:
                return
            time.sleep(pause)

    def verdict(self, cell: int) -> int:
        """`CALLED`, `REFUSED`, or a positive number while it still waits."""
        return self._words[cell + _TICKET]

    def dismiss(self, cell: int) -> int:
        """Give the cell back; returns its last verdict."""
        verdict = self._words[cell + _TICKET]
        self._settle(cell, _FREE)
        return verdict

    def call(self, room: int, count: int = _CELLS, verdict: int = CALLED) -> int:
        """Wake the oldest `count` that wait in a room; returns how many there were."""
        words = self._words
        called = 0
        if not words[_WAITING + room]:
            return 0
        for _, cell in sorted((words[cell + _TICKET], cell) for cell in self._waiting(room)):
            if called == count:
                break
            if not self._segment.alive(words[cell + _OWNER]):
                self._settle(cell, _FREE)
                continue
            self._settle(cell, verdict)
            if self._ring:
                self._wakeup(cell).release()
            called += 1
        return called

    def pass_on(self, room: int) -> None:
        """Call others in place of those that were called and died before they came."""
        words = self._words
        for cell in self._cells():
            if words[cell + _TICKET] != CALLED or words[cell + _ROOM] != room:
                continue
            if not self._segment.alive(words[cell + _OWNER]):
                words[cell + _TICKET] = _FREE
                self.call(room, 1)

    def some_died(self, room: int) -> bool:
        """Whether one that waits in a room is dead."""
        return any(
            not self._segment.alive(self._words[cell + _OWNER]) for cell in self._waiting(room)
        )

    def _settle(self, cell: int, verdict: int) -> None:
        words = self._words
        waiting = words[cell + _TICKET] > _FREE
        words[cell + _TICKET] = verdict
        if waiting:
            words[_WAITING + words[cell + _ROOM]] -= 1

    def _cells(self) -> range:
        return range(_FIRST, _FIRST + self._words[_HIGHEST] * _CELL_WORDS, _CELL_WORDS)

    def _waiting(self, room: int) -> list[int]:
        words, cells = self._words, self._cells()
        tickets = words[_FIRST : cells.stop : _CELL_WORDS].tolist()
        return [
            cell
            for cell, ticket in zip(cells, tickets, strict=True)
            if ticket > _FREE and words[cell + _ROOM] == room
        ]

    def _unused(self) -> int:
        words = self._words
        for cell in self._cells():
            if words[cell + _TICKET] == _FREE:
                return cell
        highest = words[_HIGHEST]
        if highest < _CELLS:
            words[_HIGHEST] = highest + 1
            return _FIRST + highest * _CELL_WORDS
        for cell in self._cells():
            if not self._segment.alive(words[cell + _OWNER]):
                self._settle(cell, _FREE)
                return cell
        raise ProcessionError(f"{_CELLS} threads wait for this shared object; that is the most.")

    def _wakeup(self, cell: int) -> semaphores.Semaphore:
        wakeup = self._wakeups.get(cell)
        if wakeup is None:
            wakeup = semaphores.open_at(self._segment.map, (cell + _WAKEUP) * WORD)
            self._wakeups[cell] = wakeup
        return wakeup


class Patience:
    """How long a wait may still last; without end if `seconds` is ``None``."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def rest(self) -> float:
        """Seconds to sleep now, at most `_LONGEST_SLEEP`; 0 or less if the time is over."""
        if self._end is None:
            return _LONGEST_SLEEP
        return min(_LONGEST_SLEEP, self._end - time.monotonic())


class InnerMutex(Mutex):
    """The mutex inside an object. It needs no warning when its holder died: the journal helps."""

    def _on_orphaned(self) -> None:
        redo_journal(self._segment.words)


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
        write_together(self._words, *pairs)

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
