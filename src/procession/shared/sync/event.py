"""Event: a flag that processes wait for."""

from __future__ import annotations

from procession.shared.memory.layout import BODY
from procession.shared.memory.monitor import Deadline, Monitor

__all__ = ["Event"]

_SET = BODY
_WAITING = 0


class Event(Monitor):
    """A flag that is set or not, and that any number of processes and threads can wait for.

    Like `multiprocessing.Event`.
    """

    def __init__(self) -> None:
        self._create("event")

    def is_set(self) -> bool:
        """Whether it is set."""
        return bool(self._words[_SET])

    def set(self) -> None:
        """Set it, and wake everyone who waits."""
        with self._mutex:
            self._words[_SET] = 1
            self._waiters.call(_WAITING)

    def clear(self) -> None:
        """Unset it."""
        self._words[_SET] = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set.

        Args:
            timeout: Seconds to wait at most; ``None`` waits without end.

        Returns:
            Whether it was set, rather than that the time was over.
        """
        if self._words[_SET]:
            return True
        deadline = Deadline(timeout)
        with self._mutex:
            while not self._words[_SET]:
                rest = deadline.rest()
                if rest <= 0:
                    return False
                if self._sleep(_WAITING, rest):
                    break  # it was set, even if it has been cleared since
        return True

    def __repr__(self) -> str:
        return f"<Event({'set' if self.is_set() else 'unset'})>"
