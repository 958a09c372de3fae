"""What a forked child of this process must renew before it goes on.

In a child made by `os.fork()` only the thread that forked goes on. A lock that another thread held
stays held there for ever, and what another thread was to deliver never comes. So every lock that
may be held at a fork is made by `lock` or `rlock`. What keeps more than a lock registers
(`renew_in_child`, `register`).

A finalizer of the user's may run amid any code, also where a lock of Procession's is held, and make
calls. So locks are reentrant, and a thread that waits for long gives up those that it holds
meanwhile (`locks_released`).

Futures of calls that ran at the fork are settled at once in the child, with an error that says so:
their results go to the parent. A thread that waits for one there is told. What was to be called
when it is done is not: that is the parent's to do.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import ref

from procession.hints import Any, Protocol
from procession.system import cpython
from procession.system.posix import at_fork, os
from procession.system.pristine import threading

in_child = False
"""Whether this process was forked from one that had imported Procession."""

outstanding: set[Any] = set()
"""The futures of calls that were begun and are not settled."""


class Renewable(Protocol):
    """What is to be renewed as long as it lives."""

    def renew(self) -> None:
        """In a forked child: start afresh."""
        ...


# No WeakSet: what removes from it is Python code, where Ctrl-C would be swallowed.
_short_locks: set[ref[Any]] = set()
_long_locks: set[ref[Any]] = set()
_renewables: set[ref[Any]] = set()
_renewals: list[Callable[[], Any]] = []


def lock() -> Any:
    """A lock that each forked child finds open, unless the thread that forked holds it.

    It is held for microseconds, and never during a wait, except by a finalizer that strikes
    meanwhile: see `locks_released`.
    """
    return _kept(_short_locks, threading.RLock())


def rlock() -> Any:
    """The same, for what may take longer: it stays held in `locks_released`."""
    return _kept(_long_locks, threading.RLock())


def renew_in_child(renewal: Callable[[], Any]) -> None:
    """Call `renewal` in each forked child, in the order of registration, after the locks."""
    _renewals.append(renewal)


def register(what: Renewable) -> None:
    """Call its `renew` in each forked child, after all else, as long as it lives."""
    _kept(_renewables, what)


def registered() -> list[Any]:
    """What was registered and still lives."""
    return _living(_renewables)


def _kept(kept: set[ref[Any]], what: Any) -> Any:
    kept.add(ref(what, kept.discard))
    return what


def _living(kept: set[ref[Any]]) -> list[Any]:
    return [what for each in list(kept) if (what := each()) is not None]


class locks_released:
    """While active, this thread holds none of the locks that `lock` has made.

    For waits. A thread that waits holds such a lock only in a finalizer (or a signal handler) that
    struck while it was held. What it waits for may need that lock.
    """

    def __enter__(self) -> None:
        self._held: list[tuple[Any, int]] = []
        for each in _living(_short_locks):
            count = 0
            while cpython.is_owned(each):
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


def _renew() -> None:
    global in_child
    in_child = True
    for each in (*_living(_long_locks), *_living(_short_locks)):
        if not cpython.is_owned(each):
            cpython.renew_lock(each)
    cpython.renew_tracker()
    while outstanding:
        _settle(outstanding.pop())
    for renewal in _renewals:
        renewal()
    for what in _living(_renewables):
        what.renew()


at_fork(after_in_child=_renew)


# -- futures -------------------------------------------------------------------------------------


def call_of_parent(name: str) -> BaseException:
    """What a child is told of a call of its parent."""
    from procession.errors import PoolClosed

    return PoolClosed(
        f"{name}() was called in process {os.getppid()}, from which this one ({os.getpid()}) was "
        "forked: its result goes there. Call it again here, or read its result before the fork."
    )


def _settle(future: Any) -> None:
    work, future._work = future._work, None
    future.__dict__.pop("_condition", None)  # its lock may be held; another is made when needed
    untold = True
    if future._state == "CANCELLED":
        future._state = "CANCELLED_AND_NOTIFIED"
    elif future._state == "PENDING":
        future._exception = call_of_parent(work.name)
        future._state = "FINISHED"
    else:
        untold = False  # perhaps
    future._done_callbacks.clear()
    for waiter in future._waiters:
        standard = hasattr(waiter, "event")  # of concurrent.futures, which must not be told twice
        if standard:
            cpython.renew_lock(waiter.event)
            if hasattr(waiter, "lock"):
                cpython.renew_lock(waiter.lock)
        if untold or not standard:
            waiter.add_exception(future)
