"""Waiting for several futures such that Ctrl-C, at any instant, comes out as itself.

`concurrent.futures` waits by `threading.Event`, Python code that an interrupt can leave half done:
a lock is then released twice, or never. Here the waiting is a `Wakeup`'s.
"""

from __future__ import annotations

import concurrent.futures as cf
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from procession.system.pristine import time
from procession.system.wakeup import Wakeup
from procession.user_threads import teller

__all__ = ["completed", "until"]

_DONE = ("FINISHED", "CANCELLED_AND_NOTIFIED")


class _Arrivals:
    """Who waits for several futures, as `concurrent.futures` knows those who wait."""

    def __init__(self) -> None:
        self.done: deque[Any] = deque()
        self.wakeup = Wakeup()

    def add_result(self, future: Any) -> None:
        """A future is settled."""
        self.done.append(future)
        self.wakeup.wake()

    add_exception = add_cancelled = add_result

    def watch(self, future: Any) -> None:
        """Have this future arrive here; at once if it is done."""
        with future._condition:
            if future._state in _DONE:
                self.done.append(future)
            else:
                future._waiters.append(self)

    def forget(self, futures: Iterable[Any]) -> None:
        """Watch them no more."""
        for future in futures:
            with future._condition:
                if self in future._waiters:
                    future._waiters.remove(self)


def completed(futures: Iterable[cf.Future[Any]], timeout: float | None) -> Iterator[Any]:
    """Yield each future once, as they are done.

    Raises:
        TimeoutError: They were not all done in time.
    """
    end = None if timeout is None else time.monotonic() + timeout
    left = set(futures)
    total = len(left)
    arrivals = _Arrivals()
    try:
        for future in left:
            arrivals.watch(future)
        while left:
            while arrivals.done:
                if arrivals.done[0] not in left:  # told twice, around a fork
                    arrivals.done.popleft()
                    continue
                left.discard(arrivals.done[0])
                yield arrivals.done.popleft()  # not kept here once it was given
            if not left:
                return
            woken = arrivals.wakeup.wait(None if end is None else end - time.monotonic())
            if not woken and not arrivals.done:
                raise TimeoutError(f"{len(left)} (of {total}) futures unfinished")
    except GeneratorExit:
        # Perhaps the collector has found it, amid anything: no lock is to be taken here.
        teller.defer(partial(arrivals.forget, left))
        raise
    except BaseException:
        arrivals.forget(left)
        raise


def until(futures: Iterable[cf.Future[Any]], timeout: float | None, return_when: str) -> set[Any]:
    """Wait for all, the first, or the first error; those that are done by then.

    Raises:
        ValueError: `return_when` is none of the three.
    """
    if return_when not in (cf.ALL_COMPLETED, cf.FIRST_COMPLETED, cf.FIRST_EXCEPTION):
        raise ValueError(f"Invalid return condition: {return_when!r}")
    end = None if timeout is None else time.monotonic() + timeout
    left, done = set(futures), set[Any]()
    arrivals = _Arrivals()
    try:
        for future in left:
            arrivals.watch(future)
        while True:
            while arrivals.done:
                done.add(arrivals.done.popleft())
            left -= done
            if not left or (done and return_when == cf.FIRST_COMPLETED):
                return done
            if return_when == cf.FIRST_EXCEPTION and any(map(_failed, done)):
                return done
            if not arrivals.wakeup.wait(None if end is None else end - time.monotonic()):
                done.update(arrivals.done)
                return done
    finally:
        arrivals.forget(left)


def _failed(future: cf.Future[Any]) -> bool:
    return not future.cancelled() and future.exception() is not None
