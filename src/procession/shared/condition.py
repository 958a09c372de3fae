"""Event and Condition: wait until another process says that something changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from procession.shared.locks import Lock, RLock
from procession.shared.memory.layout import BODY
from procession.shared.memory.monitor import CALLED, DATA, Monitor, Patience, Waiters
from procession.shared.memory.segment import Segment, Shared, attach

_T = TypeVar("_T")
_SET = BODY
_WAITING = 0


class Event(Monitor):
    """A flag that is set or not, and that any number of processes and threads can wait for.

        ready = shared.Event()
        ready.set()
        ready.wait(5)    # True: it is set

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
        patience = Patience(timeout)
        with self._mutex:
            while not self._words[_SET]:
                rest = patience.rest()
                if rest <= 0:
                    return False
                if self._sleep(_WAITING, rest):
                    break  # it was set, even if it has been cleared since
        return True

    def __repr__(self) -> str:
        return f"<Event({'set' if self.is_set() else 'unset'})>"


class Condition(Shared):
    """A lock, and a way to wait for a change of what it protects.

        with condition:
            condition.wait_for(lambda: count.value > 10)

    Like `multiprocessing.Condition`. A waiter that was killed is passed over, and a call that it
    had got already goes to the next.

    Args:
        lock: A `Lock` or `RLock` of `procession.shared`; by default an `RLock` of its own.

    Raises:
        TypeError: `lock` is another library's.
    """

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = RLock() if lock is None else _checked(lock)
        self._create("condition", DATA)

    def __reduce__(self) -> tuple[Any, ...]:
        return attach, (type(self), self._segment, self._lock)

    def _open(self, segment: Segment, *arguments: Any) -> None:
        super()._open(segment)
        self._waiters = Waiters(segment)
        if arguments:
            (self._lock,) = arguments
        self.acquire: Callable[..., bool] = self._lock.acquire
        self.release: Callable[[], None] = self._lock.release

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, and acquire the lock again.

        Args:
            timeout: Seconds to wait at most; ``None`` waits without end.

        Returns:
            Whether it was notified, rather than that the time was over.

        Raises:
            AssertionError: If the lock is not held.
        """
        self._lock._must_be_held("wait()")
        waiters, patience = self._waiters, Patience(timeout)
        cell = waiters.enlist(_WAITING)
        try:
            times = self._lock._release_fully()
            try:
                while waiters.verdict(cell) > 0 and (rest := patience.rest()) > 0:
                    waiters.sleep(cell, rest)
                    if waiters.verdict(cell) > 0:
                        self._pass_on()
            finally:
                for _ in range(times):
                    self._lock.acquire()
        except BaseException:
            if waiters.dismiss(cell) == CALLED:
                waiters.call(_WAITING, 1)
            raise
        return waiters.dismiss(cell) == CALLED

    def wait_for(self, predicate: Callable[[], _T], timeout: float | None = None) -> _T:
        """Wait until `predicate` returns something true.

        Args:
            predicate: Called with the lock held, at first and after each notification.
            timeout: Seconds to wait at most; ``None`` waits without end.

        Returns:
            What it returned last.

        Raises:
            AssertionError: If the lock is not held.
        """
        patience = Patience(timeout)
        while not (result := predicate()) and (rest := patience.rest()) > 0:
            self.wait(rest)
        return result

    def notify(self, n: int = 1) -> None:
        """Wake those who have waited longest.

        Args:
            n: How many.

        Raises:
            AssertionError: If the lock is not held.
        """
        self._lock._must_be_held("notify()")
        self._waiters.call(_WAITING, n)

    def notify_all(self) -> None:
        """Wake all who wait.

        Raises:
            AssertionError: If the lock is not held.
        """
        self._lock._must_be_held("notify_all()")
        self._waiters.call(_WAITING)

    def _pass_on(self) -> None:
        if self._lock.acquire(False):
            try:
                self._waiters.pass_on(_WAITING)
            finally:
                self._lock.release()

    def __repr__(self) -> str:
        return f"<Condition({self._lock!r})>"


def _checked(lock: object) -> Lock:
    if not isinstance(lock, Lock):
        raise TypeError(
            f"a shared.Condition needs a shared.Lock or shared.RLock, not {lock!r}: only those can "
            "be passed to workers"
        )
    return lock
