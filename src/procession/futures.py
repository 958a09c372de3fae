"""Futures: the result of a call that runs elsewhere, and ways to wait for several."""

from __future__ import annotations

import concurrent.futures as cf
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from procession.bells import Bell, Condition
from procession.inherited import outstanding
from procession.records import NamedTuple
from procession.system.pristine import time
from procession.waiting import completed, until

if TYPE_CHECKING:
    import asyncio

__all__ = ["Future", "as_completed", "gather", "wait"]

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")


_logger: Any = cf._base.LOGGER
_SETTLED = ("FINISHED", "CANCELLED", "CANCELLED_AND_NOTIFIED")


class Work(Protocol):
    """What a future stands for, while it runs."""

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        ...

    def cancel(self) -> bool:
        """End it. True if it will not deliver."""
        ...

    def running(self) -> bool:
        """Whether a worker has begun with it."""
        ...

    def attend(self, timeout: float | None) -> None:
        """Wait for it in the calling thread as directly as possible; may return early."""
        ...

    def watched(self) -> None:
        """Somebody looks at the future, or waits for it by other means than `attend`."""
        ...


class _Waiter:
    """Who waits in `Future.result`, as `concurrent.futures` knows those who wait."""

    def __init__(self) -> None:
        self.bell = Bell()

    def add_result(self, _: object) -> None:
        """The future is settled."""
        self.bell.ring()

    add_exception = add_cancelled = add_result


_TENTH = 0.1
_DESERTED = 20
"""Tenths of a second after which a future's lock is taken for deserted: it is held for
microseconds, but `concurrent.futures.as_completed` and ``wait`` leave it held if Ctrl-C strikes
while they take the locks of all their futures. A guess, long beside any such hold."""


class _WhenWanted:
    """A future's condition, made when somebody first wants it.

    A call that is submitted and waited for by `Future.result` needs none, and making it takes
    longer than all the rest of a future.
    """

    def __get__(self, future: Any, owner: Any = None) -> Any:
        if future is None:
            return self
        condition = future.__dict__.setdefault("_condition", Condition())  # atomic
        work = future._work
        if work is not None:
            work.watched()
        return condition


class Future(cf.Future[T]):
    """The result of a call that runs in a worker.

    A `concurrent.futures.Future` in every way: `concurrent.futures.wait`, ``as_completed`` and
    ``asyncio.wrap_future`` take it, and ``await future`` works in a coroutine.

    ``asyncio.wait_for(future, seconds)`` cancels at its timeout, as it does with every awaitable:
    the call ends and its worker is replaced. ``asyncio.wait_for(asyncio.shield(future), seconds)``
    lets it go on.
    """

    _work: Work | None = None
    _condition: Any = _WhenWanted()
    _state = "PENDING"
    _result: Any = None
    _exception: Any = None

    def __init__(self) -> None:
        # In place of the standard one, which makes the condition.
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []

    def cancel(self) -> bool:
        """End the call, also when it already runs.

        In our own workers the worker is killed and replaced. On another executor, and for a bare
        future, this has the standard meaning: only a call that has not started can be cancelled.

        Returns:
            True if the call will not deliver a result; False if it is done or cannot be ended.
        """
        work = self._work
        if work is None or self.done():
            cancelled = super().cancel()
            with self._condition:
                if self._state == "CANCELLED":
                    waiters: list[Any] = self._waiters
                    for waiter in waiters:
                        if isinstance(waiter, _Waiter):
                            waiter.bell.ring()
            return cancelled
        return work.cancel() and self.settle_cancelled()

    def stand_for(self, work: Work) -> None:
        """Begin to be the future of some work; until it is settled, or forked away from it."""
        self._work = work
        outstanding.add(self)

    def settle_cancelled(self) -> bool:
        """Mark the future as cancelled, and tell who waits. False if it was settled before."""
        if not super().cancel():
            return False
        with self._condition:
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()
        outstanding.discard(self)
        return True

    def running(self) -> bool:
        """Whether the call runs now."""
        work = self._work
        if work is None or self.done():
            return super().running()
        return work.running()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the call and return what it returned.

        Args:
            timeout: Seconds to wait; `None` waits for ever. The call goes on after a timeout.

        Raises:
            TimeoutError: It was not done in time.
            concurrent.futures.CancelledError: It was cancelled.
            BaseException: What the call raised.
        """
        if self._state not in _SETTLED:
            self._wait(timeout)
        if self._state != "FINISHED" or self._exception is not None:
            return super().result(0)
        value: T = self._result
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the call and return what it raised, or `None`; else as `result`."""
        self._wait(timeout)
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        """Wait until it is settled, as directly as possible.

        Raises:
            TimeoutError: It was not settled in time.
        """
        end = None if timeout is None else time.monotonic() + timeout
        work = self._work
        if work is not None:
            work.attend(timeout)
        if self._state in _SETTLED:
            return
        waiter = _Waiter()
        while not self._enlist(waiter):
            if self._state in _SETTLED:
                return
        if waiter.bell.wait(None if end is None else end - time.monotonic()):
            return
        try:
            self._waiters.remove(waiter)
        except ValueError:
            pass  # it is being told
        if self._state not in _SETTLED:
            raise TimeoutError

    def _enlist(self, waiter: _Waiter) -> bool:
        """Have a waiter told. False if the lock could not be had: it may be deserted."""
        condition = self._condition
        if not condition.acquire(timeout=_TENTH):
            return False
        try:
            if self._state in _SETTLED:
                waiter.bell.ring()
            else:
                self._waiters.append(waiter)
        finally:
            condition.release()
        return True

    def settle(self, value: Any, error: BaseException | None = None) -> None:
        """Give the future its result or error, unless it was cancelled meanwhile."""
        told = self.__dict__
        if "_condition" not in told and self._state == "PENDING":
            # Nobody has looked at it, so nobody else can settle it.
            self._result, self._exception = value, error
            self._state = "FINISHED"
            if "_condition" in told:  # now somebody has, and may wait
                self._tell()
        else:
            self._take_deserted()
            try:
                if error is not None:
                    self.set_exception(error)
                else:
                    self.set_result(value)
            except cf.InvalidStateError:
                pass
        self._work = None
        outstanding.discard(self)

    def _tell(self) -> None:
        """Tell who waits that it is settled."""
        with self._condition:
            for waiter in self._waiters:
                if self._exception is not None:
                    waiter.add_exception(self)
                else:
                    waiter.add_result(self)
            self._condition.notify_all()
        callbacks = self._done_callbacks
        while callbacks:
            try:
                callbacks.pop(0)(self)
            except Exception:
                _logger.exception("exception calling callback for %r", self)

    def _take_deserted(self) -> None:
        """If whoever locked the future left without a word, give it another lock."""
        for _ in range(_DESERTED):
            if self._condition.acquire(timeout=_TENTH):
                self._condition.release()
                return
        self._condition = Condition()

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        waiting: asyncio.Future[T] = asyncio.wrap_future(self)
        return waiting.__await__()


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

    Args:
        futures: The futures, possibly of different executors.
        timeout: Seconds until the last must have finished; `None` waits for ever.

    Raises:
        TimeoutError: They had not all finished in time.
    """
    return completed(futures, timeout)


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

    Args:
        futures: The futures.
        timeout: Seconds to wait at most; `None` waits for ever.
        return_when: ``"ALL_COMPLETED"``, ``"FIRST_COMPLETED"`` or ``"FIRST_EXCEPTION"``.

    Returns:
        The futures that are done, and those that are not; a named tuple ``(done, not_done)``.
    """
    every = set(futures)
    done = until(every, timeout, return_when)
    result: Any = DoneAndNotDone(done, every - done)
    return result  # type: ignore[no-any-return]
