"""Lock and RLock: as multiprocessing's, but not lost with a holder that dies."""

from __future__ import annotations

import os
from typing import Any

from procession._warn import warn_user
from procession.shared.memory.mutex import Mutex
from procession.shared.memory.segment import Segment
from procession.system.pristine import threading

__all__ = ["Lock", "RLock"]


class Lock(Mutex):
    """A lock between processes and threads, to be passed as an ordinary argument.

        @parallel
        def append(line: str, lock: shared.Lock) -> None:
            with lock: ...

        append.map(lines, shared.Lock())

    Like `multiprocessing.Lock`: not reentrant, and any process or thread may release it. If its
    holder dies, the next one that acquires it gets it within about a second. A
    `procession.ParallelWarning` says then that what the lock protects may be half written.
    """

    def __init__(self) -> None:
        self._create("lock")

    def _release_fully(self) -> int:
        """Release it as often as it was acquired; returns how often that was."""
        self.release()
        return 1

    def _must_be_held(self, what: str) -> None:
        assert self._held_here(), f"must acquire() condition before using {what}"

    def _prepare(self, segment: Segment) -> None:
        self.prepare(segment)

    def _on_orphaned(self) -> None:
        name = type(self).__name__
        warn_user(
            f"The process that held this shared.{name} died, and the {name} was taken over: what "
            "it protects may be half written. Check or reset that before you rely on it."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({'held here' if self._held_here() else 'not held here'})>"


class RLock(Lock):
    """A lock that the thread which holds it may acquire again; it releases as often.

        with lock, lock: ...

    Like `multiprocessing.RLock`. If its holder dies, the next one that acquires it gets it within
    about a second. A `procession.ParallelWarning` says then that what the lock protects may be half
    written.
    """

    def _open(self, segment: Segment, *arguments: Any) -> None:
        super()._open(segment)
        self._owner: int | None = None
        self._depth = 0

    def _after_fork(self) -> None:
        super()._after_fork()
        self._owner = None
        self._depth = 0

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take the lock, or take it once more.

        Args:
            block: Whether to wait for it.
            timeout: Seconds to wait at most; ``None`` waits without end.

        Returns:
            Whether it was taken.
        """
        me = threading.get_ident()
        if self._owner == me:
            self._depth += 1
            return True
        if Mutex.acquire(self, block, timeout):
            self._owner = me
            self._depth = 1
            return True
        return False

    __enter__ = acquire

    def release(self) -> None:
        """Give the lock back once.

        Raises:
            AssertionError: If this thread does not hold it.
        """
        if self._owner != threading.get_ident():
            raise AssertionError(
                f"attempt to release recursive lock not owned by thread (process {os.getpid()})"
            )
        self._depth -= 1
        if self._depth:
            return
        self._owner = None
        try:
            Mutex.release(self)
        except BaseException:
            if self._held_here() and not self._depth:
                Mutex.release(self)  # an interrupt came before it was given back
            raise

    def _release_fully(self) -> int:
        times = self._depth
        for _ in range(times):
            self.release()
        return times

    def _must_be_held(self, what: str) -> None:
        assert self._owner == threading.get_ident(), f"must acquire() condition before using {what}"
