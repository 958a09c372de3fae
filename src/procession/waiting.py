"""Waiting for several futures such that Ctrl-C, at any instant, comes out as itself.

`concurrent.futures` waits by `threading.Event`, Python code that an interrupt can leave half done:
a lock is then released twice, or never. Here the waiting is a `Wakeup`'s.
"""

from __future__ import annotations

import concurrent.futures as cf
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, TypeVar, overload

from procession.futures import Future
from procession.system import NamedTuple
from procession.system.pristine import time
from procession.system.wakeup import Wakeup
from procession.user_threads import user_threads

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")

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


@overload
def gather(f1: cf.Future[T1], /) -> tuple[T1]: ...
@overload
def gather(f1: cf.Future[T1], f2: cf.Future[T2], /) -> tuple[T1, T2]: ...
@overload
def gather(f1: cf.Future[T1], f2: cf.Future[T2], f3: cf.Future[T3], /) -> tuple[T1, T2, T3]: ...
@overload
def gather(
    f1: cf.Future[T1], f2: cf.Future[T2], f3: cf.Future[T3], f4: cf.Future[T4], /
) -> tuple[T1, T2, T3, T4]: ...
@overload
def gather(
    f1: cf.Future[T1],
    f2: cf.Future[T2],
    f3: cf.Future[T3],
    f4: cf.Future[T4],
    f5: cf.Future[T5],
    /,
) -> tuple[T1, T2, T3, T4, T5]: ...
@overload
def gather(*futures: cf.Future[T]) -> tuple[T, ...]: ...
def gather(*futures: Any) -> tuple[Any, ...]:
    """Wait for several futures and return their results, in the order of the arguments.

        size, words = gather(measure.submit(path), count.submit(path))

    Ctrl-C ends the waiting, and the calls go on: `Future.cancel` ends them.

    Args:
        *futures: Futures of Procession, or of any executor of `concurrent.futures`.

    Returns:
        A tuple as long as the arguments; a type checker knows the type of each element.

    Raises:
        BaseException: The first error in the order of the arguments. The others are left running.
        TypeError: An argument is no future.
    """
    for number, future in enumerate(futures):
        if not isinstance(future, cf.Future):
            several = hasattr(future, "__iter__")
            hint = "write gather(*futures)" if several else "pass f.submit(...)"
            raise TypeError(
                f"gather() takes futures; argument {number} is a {type(future).__name__}: {hint}."
            )
    return tuple(future.result() for future in futures)


def as_completed(
    futures: Iterable[cf.Future[T]], timeout: float | None = None
) -> Iterator[Future[T]]:
    """Yield futures as they finish, as `concurrent.futures.as_completed` does.

        for future in as_completed([f.submit(x) for x in xs]):
            print(future.result())

    Leaving the loop, Ctrl-C and a timeout end the waiting only: the calls go on.

    Args:
        futures: The futures, possibly of different executors.
        timeout: Seconds until the last must have finished; `None` waits for ever.

    Returns:
        An iterator that gives each future once, when it is done.

    Raises:
        TimeoutError: They had not all finished in time.
    """
    end = None if timeout is None else time.monotonic() + timeout
    left: set[Any] = set(futures)
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
        user_threads.defer(partial(arrivals.forget, left))
        raise
    except BaseException:
        arrivals.forget(left)
        raise


class DoneAndNotDone(NamedTuple):
    """What `wait` returns; unpacks and reads as `concurrent.futures.wait`'s result."""

    done: set[Any]
    not_done: set[Any]


def wait(
    futures: Iterable[cf.Future[T]],
    timeout: float | None = None,
    return_when: str = cf.ALL_COMPLETED,
) -> tuple[set[Future[T]], set[Future[T]]]:
    """Wait until futures have finished, as `concurrent.futures.wait` does.

        done, not_done = wait(futures, timeout=5)

    Ctrl-C and a timeout end the waiting only: the calls go on.

    Args:
        futures: The futures.
        timeout: Seconds to wait at most; `None` waits for ever.
        return_when: ``"ALL_COMPLETED"``, ``"FIRST_COMPLETED"`` or ``"FIRST_EXCEPTION"``.

    Returns:
        The futures that are done, and those that are not; a named tuple ``(done, not_done)``.

    Raises:
        ValueError: `return_when` is none of the three.
    """
    if return_when not in (cf.ALL_COMPLETED, cf.FIRST_COMPLETED, cf.FIRST_EXCEPTION):
        raise ValueError(f"Invalid return condition: {return_when!r}")
    every: set[Any] = set(futures)
    done = _until(every, None if timeout is None else time.monotonic() + timeout, return_when)
    result: Any = DoneAndNotDone(done, every - done)
    return result  # type: ignore[no-any-return]


def _until(futures: set[Any], end: float | None, return_when: str) -> set[Any]:
    """Wait for all, the first, or the first error; those that are done by then."""
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
