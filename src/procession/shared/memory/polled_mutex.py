"""A mutex between processes for systems where semaphores do not work in shared memory.

A word says who holds it, and is read and written under the segment's guard, which the kernel
releases when a process dies. Those who wait ask again and again. Slower than
`procession.shared.memory.semaphore_mutex`, with the same meaning.
"""

from __future__ import annotations

from collections.abc import Iterator

from procession.shared.memory.layout import POLLED_OWNER, TOO_MANY
from procession.shared.memory.segment import Segment, Shared
from procession.system.pristine import time

__all__ = ["PolledMutex", "pauses"]

_SHORTEST, _LONGEST = 0.0001, 0.01
"""Seconds between two attempts, at first and at most. Not measured."""


class PolledMutex(Shared):
    """The mutex of a segment, by polling. Not reentrant; any process may release it."""

    @staticmethod
    def prepare(segment: Segment) -> None:
        """Set a new segment's mutex up."""
        segment.words[POLLED_OWNER] = 0

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take the lock.

        Args:
            block: Whether to wait for it.
            timeout: Seconds to wait at most; ``None`` waits without end.

        Returns:
            Whether it was taken.
        """
        for pause in pauses(timeout if block else 0):
            if self._attempt():
                return True
            time.sleep(pause)
        return False

    def release(self) -> None:
        """Give the lock back.

        Raises:
            ValueError: If nobody holds it.
        """
        words = self._segment.words
        with self._segment.guard():
            if not words[POLLED_OWNER]:
                raise ValueError(TOO_MANY)
            words[POLLED_OWNER] = 0

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

    def _on_orphaned(self) -> None:
        """Called with the lock held, which its last holder died with."""


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
