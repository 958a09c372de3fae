"""Using Ray and letting it go: never both at once.

Ray has one connection for each process. A thread that uses it while another one ends it makes Ray
end the whole program, without a word. And a program that connects meanwhile finds it still there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from procession.system import after_fork
from procession.system.pristine import monotonic, threading
from procession.system.wakeup import Wakeups

_PATIENCE = 5.0
"""Seconds to wait for those who use it. A guess: longer than Ray may be silent."""


class _Own(threading.local):
    """What one thread does with Ray."""

    depth = 0
    alone = False


class _RayUse:
    """Many threads may use Ray, or one alone lets it go. In a forked child it begins anew."""

    def __init__(self) -> None:
        self._lock = after_fork.lock()
        self._begin()
        after_fork.renew_in_child(self._begin)

    def _begin(self) -> None:
        self._changed = Wakeups()
        self._users = 0
        self._alone = False
        self._own = _Own()

    @contextmanager
    def shared(self) -> Generator[None]:
        """Use it, when no thread lets it go any more."""
        own = self._own
        if not own.depth:
            self._wait_until(lambda: not self._alone, self._one_more)
        own.depth += 1
        try:
            yield
        finally:
            own.depth -= 1
            if not own.depth and own is self._own:
                with self._lock:
                    self._users -= 1
                    self._changed.wake()

    def _one_more(self) -> None:
        self._users += 1

    @contextmanager
    def alone(self) -> Generator[None]:
        """Let it go, when no thread uses it, or Ray keeps one of them for too long."""
        own = self._own
        if own.alone:
            yield
            return
        self._wait_until(lambda: not self._alone, self._be_alone)
        own.depth, own.alone = own.depth + 1, True
        try:
            self._wait_until(lambda: self._users <= bool(own.depth - 1), patience=_PATIENCE)
            yield
        finally:
            own.depth, own.alone = own.depth - 1, False
            if own is self._own:
                with self._lock:
                    self._alone = False
                    self._changed.wake()

    def _be_alone(self) -> None:
        self._alone = True

    def _wait_until(
        self,
        holds: Callable[[], bool],
        then: Callable[[], None] = lambda: None,
        patience: float | None = None,
    ) -> None:
        end = None if patience is None else monotonic() + patience
        while True:
            with self._lock:
                left = None if end is None else end - monotonic()
                if holds() or (left is not None and left <= 0):
                    then()
                    return
                wakeup = self._changed.add()
            wakeup.wait(left)


ray_use = _RayUse()
"""That of this process."""
