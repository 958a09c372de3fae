"""``deadline``: seconds from a call to its result, waiting for a worker included."""

from __future__ import annotations

from collections.abc import Callable

from procession.errors import DeadlineExceeded
from procession.system.alarm import after
from procession.system.pristine import monotonic

__all__ = ["Deadline"]


class Deadline:
    """The time by which a call or a map must be done.

    Args:
        seconds: From now.
        expire: Called in the helper thread when it has passed; not if it was disarmed before.
    """

    __slots__ = ("_alarm", "_seconds", "_until")

    def __init__(self, seconds: float, expire: Callable[[], None]) -> None:
        self._seconds = seconds
        self._until = monotonic() + seconds
        self._alarm = after(seconds, expire)

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return monotonic() >= self._until

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self._until - monotonic()

    def disarm(self) -> None:
        """It is done."""
        self._alarm.disarm()

    def error(self, name: str, index: int | None = None) -> DeadlineExceeded:
        """What is raised for a call, or for an item that was not done by then."""
        what = f"{name}()" if index is None else f"{name}(), item {index},"
        return DeadlineExceeded(
            f"{what} was not done within its deadline of {self._seconds:g} s from the call, waits "
            "for a worker included, and was ended. Give it more time with deadline=, or have it "
            "wait less: more workers, or max_pending=.",
            seconds=self._seconds,
            index=index,
        )
