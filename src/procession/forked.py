"""What a forked child of this process must renew before it goes on.

In a child made by `os.fork()` only the thread that forked goes on. A lock that another thread held
stays held there for ever, and what another thread was to deliver never comes. So every lock that
may be held when somebody forks is made by `lock` or `rlock`, and whatever keeps more than a lock is
told (`renew_in_child`, `renewed`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Protocol
from weakref import ref

from procession.system.pristine import threading

__all__ = ["living", "lock", "renew_in_child", "renewed", "rlock"]


in_child = False
"""Whether this process was forked from one that had imported Procession."""


class Renewable(Protocol):
    """What is to be renewed as long as it lives."""

    def renew(self) -> None:
        """In a forked child: start afresh."""
        ...


# No WeakSet: what removes from it is Python code, where Ctrl-C would be swallowed.
_locks: set[ref[Any]] = set()
_renewables: set[ref[Any]] = set()
_renewals: list[Callable[[], Any]] = []


def lock() -> threading.Lock:
    """A lock that each forked child finds open, whoever held it here."""
    made = threading.Lock()
    _keep(_locks, made)
    return made


def rlock() -> Any:
    """A reentrant lock that each forked child finds open, unless it was held by who forked."""
    made = threading.RLock()
    _keep(_locks, made)
    return made


def renew_in_child(renewal: Callable[[], Any]) -> None:
    """Call `renewal` in each forked child, in the order of registration, after the locks."""
    _renewals.append(renewal)


def renewed(what: Renewable) -> None:
    """Call its `renew` in each forked child, after all else, as long as somebody holds it."""
    _keep(_renewables, what)


def living() -> list[Any]:
    """What was `renewed` and still lives."""
    return _living(_renewables)


def _keep(kept: set[ref[Any]], what: Any) -> None:
    kept.add(ref(what, kept.discard))


def _living(kept: set[ref[Any]]) -> list[Any]:
    return [what for each in list(kept) if (what := each()) is not None]


def _renew() -> None:
    global in_child
    in_child = True
    for each in _living(_locks):
        owned: Callable[[], bool] | None = getattr(each, "_is_owned", None)
        if owned is None or not owned():
            each._at_fork_reinit()
    # Python does so itself in releases to come (gh-146313).
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    if tracker is not None:
        tracker._resource_tracker._lock._at_fork_reinit()
    for renewal in _renewals:
        renewal()
    for what in _living(_renewables):
        what.renew()


os.register_at_fork(after_in_child=_renew)
