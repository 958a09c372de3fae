"""Waiting that survives Ctrl-C at any instant.

A signal handler may raise between any two bytecodes of the main thread. `threading.Condition` and
`threading.Event` are Python code around a lock: an exception in there leaves the lock held for
ever, or has it released twice. What is here leaves it all to the lock's own methods, which are C.

A wait may be that of a finalizer of the user's, which the collector runs in any thread. So a wait
that lasts gives way: others take over what its thread is for (`giving_way`), and its locks are
given up meanwhile.
"""

from __future__ import annotations

import threading as _shared
from collections.abc import Callable
from operator import attrgetter

from procession.hints import Any
from procession.system import after_fork
from procession.system.pristine import threading

_LONG = 0.02
"""Seconds after which a wait lasts. A guess: longer than most waits, so that these pay nothing."""

giving_way: list[Callable[[], None]] = []
"""Called in each thread whose wait lasts."""


class Wakeup:
    """Wakes one thread. A wait that begins after the wake ends at once; that uses the wake up."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """Wake the thread that waits, or the next one that will. Twice counts once."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it was woken already

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until it is woken. Whether it was within `timeout` seconds."""
        if timeout is not None and timeout <= _LONG:
            return self._lock.acquire(timeout=max(0.0, timeout))
        if self._lock.acquire(timeout=_LONG):
            return True
        for give_way in giving_way:
            give_way()
        with after_fork.locks_released():
            return self._lock.acquire(timeout=-1 if timeout is None else timeout - _LONG)


class Wakeups:
    """Threads that wait for the same change. Guarded by the lock that guards what changes:

    with lock:
        if it is as I want it:
            return
        wakeup = wakeups.add()
    wakeup.wait()                  # and look again
    """

    __slots__ = ("_wakeups",)

    def __init__(self) -> None:
        self._wakeups: list[Wakeup] = []

    def __bool__(self) -> bool:
        """Whether any thread waits. Under the lock."""
        return bool(self._wakeups)

    def add(self) -> Wakeup:
        """A wakeup for the next change. Under the lock."""
        wakeup = Wakeup()
        self._wakeups.append(wakeup)
        return wakeup

    def wake(self) -> None:
        """Something has changed. Under the lock."""
        while self._wakeups:
            self._wakeups.pop().wake()


class Condition(_shared.Condition):
    """A condition whose lock Ctrl-C cannot leave held by a ``with`` block.

    ``with`` calls the lock's own methods: they are looked up before the lock is taken, and nothing
    runs between them and the block. Do not `wait` for it in a thread that Ctrl-C may strike.
    """

    def __init__(self) -> None:
        super().__init__(threading.RLock())

    __enter__: Any = property(attrgetter("_lock.__enter__"))
    __exit__: Any = property(attrgetter("_lock.__exit__"))
