"""A clock that stands still while this program does."""

from __future__ import annotations

from collections.abc import Callable

from procession.system import after_fork

__all__ = ["RunningClock"]

_STEP = 1.0
"""Most seconds between two looks at a clock that count, if one looks twice a second. A guess."""


class RunningClock:
    """Seconds in which this program ran; one looks at it twice a second at least.

    A program that was stopped for a while (Ctrl-Z, a laptop that slept) has heard nothing
    meanwhile. That says nothing of a cluster.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = after_fork.lock()
        self._looked = clock()
        self._ran = 0.0

    def __call__(self) -> float:
        """The seconds."""
        with self._lock:
            now = self._clock()
            self._ran += min(now - self._looked, _STEP)
            self._looked = now
            return self._ran
