"""Shorter turns at the GIL, while this process starts workers.

A thread that waits for the GIL gets it from one that computes after 5 ms, and to start a worker
takes some thirty system calls, after each of which it is waited for: in a program that computes
meanwhile, which a map does that begins in its caller's thread, a worker would be up after 150 ms
instead of 60.
"""

from __future__ import annotations

import sys
from types import TracebackType

from procession.system import after_fork

__all__ = ["short_turns"]

_SHORT = 0.5e-3
"""Seconds of a turn meanwhile. Measured: 0.1 ms is not better, and 5 ms are 40 ms worse."""


class _ShortTurns:
    """A context in which `sys.getswitchinterval` is short, for any number of threads at once."""

    def __init__(self) -> None:
        self._lock = after_fork.lock()
        self._inside = 0
        self._before = 0.0
        after_fork.register(self)

    def renew(self) -> None:
        """In a forked child: nobody is inside."""
        if self._inside:
            self._inside = 0
            self._restore()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, _SHORT))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restore()

    def _restore(self) -> None:
        if sys.getswitchinterval() <= _SHORT:  # else the user has set it meanwhile
            sys.setswitchinterval(self._before)


short_turns = _ShortTurns()
