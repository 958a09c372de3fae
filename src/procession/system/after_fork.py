"""What a forked child of this process must renew before it goes on.

In a child made by `os.fork()` only the thread that forked goes on. A lock that another thread held
stays held there for ever, and what another thread was to deliver never comes. So every lock that
may be held when somebody forks is made by `lock` or `rlock`, and whatever keeps more than a lock is
told (`renew_in_child`, `register`).

A finalizer of the user's may run amid any code, also where a lock of ours is held, and call us. So
locks are reentrant, and whoever waits for long gives up those that it holds meanwhile (`aside`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Protocol
from weakref import ref

from procession.system.pristine import threading

__all__ = ["aside", "lock", "register", "registered", "renew_in_child", "rlock"]


in_child = False
"""Whether this process was forked from one that had imported Procession."""


class Renewable(Protocol):
    """What is to be renewed as long as it lives."""

    def renew(self) -> None:
        """In a forked child: start afresh."""
        ...


# No WeakSet: what removes from it is Python code, where Ctrl-C would be swallowed.
_locks: set[ref[Any]] = set()
_brief: set[ref[Any]] = set()
_renewables: set[ref[Any]] = set()
_renewals: list[Callable[[], Any]] = []


def lock() -> Any:
    """A lock that each forked child finds open, unless it was held by who forked.

    It is held for microseconds, and never while anything is waited for, except by a finalizer
    that strikes meanwhile: see `aside`.
    """
    made = threading.RLock()
    _keep(_brief, made)
    return made


def rlock() -> Any:
    """The same, for what may take longer: it stays held in `aside`."""
    made = threading.RLock()
    _keep(_locks, made)
    return made


def renew_in_child(renewal: Callable[[], Any]) -> None:
    """Call `renewal` in each forked child, in the order of registration, after the locks."""
    _renewals.append(renewal)


def register(what: Renewable) -> None:
    """Call its `renew` in each forked child, after all else, as long as somebody holds it."""
    _keep(_renewables, what)


def registered() -> list[Any]:
    """What was registered and still lives."""
    return _living(_renewables)


def _keep(kept: set[ref[Any]], what: Any) -> None:
    kept.add(ref(what, kept.discard))


class aside:
    """While active, this thread holds none of the locks that `lock` has made.

    For those that wait for others. If it holds any, it is in a finalizer (or a signal handler) that
    struck while a lock was held, and those others may need it.
    """

    def __enter__(self) -> None:
        self._held: list[tuple[Any, int]] = []
        for each in _living(_brief):
            count = 0
            while each._is_owned():
                each.release()
                count += 1
            if count:
                self._held.append((each, count))

    def __exit__(self, *_: object) -> None:
        # In any order, which may not be the one in which others take them: so never wait for one
        # while holding another.
        held = self._held
        while held:
            for number, (each, count) in enumerate(held):
                if not each.acquire(blocking=number == 0):
                    for other, times in held[:number]:
                        _repeat(other.release, times)
                    held = held[number:] + held[:number]
                    break
                _repeat(each.acquire, count - 1)
            else:
                return


def _repeat(call: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        call()


def _living(kept: set[ref[Any]]) -> list[Any]:
    return [what for each in list(kept) if (what := each()) is not None]


def _renew() -> None:
    global in_child
    in_child = True
    for each in (*_living(_locks), *_living(_brief)):
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
