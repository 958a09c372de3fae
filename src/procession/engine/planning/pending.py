"""How many calls may wait for a worker: ``max_pending``."""

from __future__ import annotations

from weakref import WeakKeyDictionary, WeakSet

from procession.contract import Backend
from procession.errors import Overloaded
from procession.system import after_fork

__all__ = ["Place", "admit", "leave"]

_calls: WeakKeyDictionary[Backend, WeakSet[object]] = WeakKeyDictionary()
"""The calls of each pool that have a ``max_pending`` and are not over, as long as anybody has them
(a stream may be forgotten)."""

_lock = after_fork.lock()


class Place:
    """What a stream is counted by."""


def _forget() -> None:
    """In a forked child: its parent's calls wait there."""
    _calls.clear()


after_fork.renew_in_child(_forget)


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
