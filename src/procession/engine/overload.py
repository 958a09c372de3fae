"""Calls that wait too long, or too many of them: `deadline` and `max_pending`."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary, WeakSet

from procession.contract import Backend
from procession.errors import DeadlineExceeded, Overloaded
from procession.system import after_fork
from procession.system.alarm import after
from procession.system.pristine import monotonic


class Deadline:
    """The time by which a call or a map must be done, waiting for a worker included.

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
        self._alarm.cancel()

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


_calls: WeakKeyDictionary[Backend, WeakSet[object]] = WeakKeyDictionary()
"""The calls of each pool that have a ``max_pending`` and are not over, as long as they are held (a
stream may be forgotten)."""

_lock = after_fork.lock()

# In a forked child: its parent's calls wait there.
after_fork.renew_in_child(_calls.clear)


class OpenStream:
    """A stream that runs or waits: what it is counted by."""


def admit(call: object, backend: Backend, name: str, limit: int) -> None:
    """Count a call of this pool, unless as many wait as may.

    Those that count are the pool's calls with a ``max_pending``, of all functions: as many of them
    as there are workers can run, and the others wait.

    Raises:
        Overloaded: `limit` calls wait already, and this one would, too.
    """
    with _lock:
        calls = _calls.setdefault(backend, WeakSet())
        waiting = len(calls) - backend.workers
        if waiting < 0 or waiting < limit:
            calls.add(call)
            return
    raise Overloaded(
        f"{name}() was not started: {waiting} {'call waits' if waiting == 1 else 'calls wait'} for "
        f"one of {backend.workers} workers already, and max_pending={limit} allows no more. Try "
        "again later, give the pool more workers, or raise max_pending.",
        pending=waiting,
        limit=limit,
    )


def leave(call: object, backend: Backend) -> None:
    """The call is over, or will not run. May be said again."""
    with _lock:
        calls = _calls.get(backend)
        if calls is not None:
            calls.discard(call)
