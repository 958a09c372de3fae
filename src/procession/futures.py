"""Futures: the result of a call that runs elsewhere."""

from __future__ import annotations

import concurrent.futures as cf
from collections.abc import Callable, Generator
from functools import partial

from procession.hints import TYPE_CHECKING, Any, Protocol, TypeVar
from procession.once import Once
from procession.system.after_fork import outstanding
from procession.system.pristine import time
from procession.system.wakeup import Condition, Wakeup
from procession.user_threads import in_main, user_threads

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


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
        """The future is looked at, or waited for by other means than `attend`."""
        ...


class _Waiter:
    """Who waits in `Future.result`, as `concurrent.futures` knows those who wait."""

    def __init__(self) -> None:
        self.wakeup = Wakeup()

    def add_result(self, _: object) -> None:
        """The future is settled."""
        self.wakeup.wake()

    add_exception = add_cancelled = add_result


_INSTANT = 0.001
"""Seconds that a thread which others wait for waits for a future's lock."""

_TENTH = 0.1
_DESERTED = 20
"""Tenths of a second after which a future's lock is taken for deserted. It is held for
microseconds. But `concurrent.futures.as_completed` and ``wait`` leave it held if Ctrl-C strikes
while they take the locks of all their futures. A guess, long against any such hold."""


class _WhenWanted:
    """A future's condition, made when it is first wanted.

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


class _WhenAsked:
    """What a call gave, rebuilt when it is first asked for; see `Future.settle_later`.

    Rebuilding runs code of the user's, which the thread that brings the reply is not to do.
    """

    def __set_name__(self, owner: Any, name: str) -> None:
        self._name = name

    def __get__(self, future: Any, owner: Any = None) -> Any:
        if future is None:
            return self
        future.rebuild()
        return future.__dict__.get(self._name)


class Future(cf.Future[T]):
    """The result of a call that runs in a worker.

        future = f.submit(2)
        future.result(timeout=5)    # or: await future
        future.cancel()             # ends the call, also while it runs

    A `concurrent.futures.Future` in every way: `concurrent.futures.wait`, ``as_completed`` and
    ``asyncio.wrap_future`` take it, and ``await future`` works in a coroutine.

    ``asyncio.wait_for(future, seconds)`` cancels at its timeout, as it does with every awaitable:
    the call ends and its worker is replaced. ``asyncio.wait_for(asyncio.shield(future), seconds)``
    lets it go on.
    """

    _work: Work | None = None
    _condition: Any = _WhenWanted()
    _state = "PENDING"
    _result: Any = _WhenAsked()
    _exception: Any = _WhenAsked()
    _rebuilt: Once[tuple[Any, BaseException | None]] | None = None
    _failed = False
    _aside = False
    _telling: set[Any] | None = None

    def __init__(self) -> None:
        # In place of the standard one, which makes the condition.
        # Python 3.11 may collect garbage amid the making of `__dict__`. If another thread then asks
        # for it, there are two, and the memory that they share is freed twice. So it is made here.
        _ = self.__dict__
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
                            waiter.wakeup.wake()
            return cancelled
        return work.cancel() and self.settle_cancelled()

    def stand_for(self, work: Work) -> None:
        """Begin to be the future of some work; until it is settled, or forked away from it."""
        self._work = work
        outstanding.add(self)

    def settle_cancelled(self) -> bool:
        """Mark the future as cancelled, and tell who waits. False if it was settled before.

        Not for threads that others wait for: what is to be called when it is done is called here.
        """
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

        Ctrl-C ends the waiting, and the call goes on: `cancel` ends it.

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
        """Wait for the call and return what it raised, or `None`.

        Args:
            timeout: Seconds to wait; `None` waits for ever. The call goes on after a timeout.

        Raises:
            TimeoutError: It was not done in time.
            concurrent.futures.CancelledError: It was cancelled.
        """
        if self._state not in _SETTLED:
            self._wait(timeout)
        self.rebuild()
        return super().exception(0)

    def __repr__(self) -> str:
        self.rebuild()
        return super().__repr__()

    def add_done_callback(self, fn: Callable[[cf.Future[T]], object]) -> None:
        """Call `fn` with the future when it is done; at once, here, if it is done already.

        Callbacks run in threads of their own, one after the other as long as none takes long.
        One that raises is logged by ``concurrent.futures``, and the others are called all the same.

        Args:
            fn: Takes the future. A cancelled one counts as done.
        """
        if not _is_quick(fn):
            user_threads.ready()
        super().add_done_callback(fn)

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
        if waiter.wakeup.wait(None if end is None else end - time.monotonic()):
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
                waiter.wakeup.wake()
            else:
                self._waiters.append(waiter)
        finally:
            condition.release()
        return True

    def settle(self, value: Any, error: BaseException | None = None) -> None:
        """Give the future its result or error, unless it was cancelled meanwhile."""
        if error is not None or self._state != "PENDING" or "_condition" in self.__dict__:
            self._settle({"_result": value, "_exception": error}, error is not None)
            return
        # As in `_settle`: no other thread has looked at it.
        self._aside = True
        self._exception, self._result = None, value
        self._state = "FINISHED"
        if "_condition" in self.__dict__:
            self._tell()
        self._work = None
        outstanding.discard(self)

    def settle_later(
        self, rebuild: Callable[[], tuple[Any, BaseException | None]], *, failed: bool
    ) -> None:
        """The call is done; its result or error is rebuilt by the first who asks for it.

        Args:
            rebuild: Gives the result and the error, one of them `None`.
            failed: Whether it will be an error.
        """
        self._settle({"_rebuilt": Once(rebuild)}, failed)

    def rebuild(self) -> None:
        """Rebuild what the call gave, or wait for the thread that does so now."""
        rebuilt = self._rebuilt
        if rebuilt is not None:
            self._result, self._exception = rebuilt()
            self._rebuilt = None

    def _settle(self, given: dict[str, Any], failed: bool) -> None:
        self._aside = True
        told = self.__dict__
        if "_condition" not in told and self._state == "PENDING":
            # No other thread has looked at it, so none can settle it.
            told.update(given)
            self._failed = failed
            self._state = "FINISHED"
            if "_condition" in told:  # now one has, and may wait
                self._tell()
        elif self._locked(partial(self._finish, given, failed)):
            self._invoke_callbacks()
        else:
            user_threads.run_soon(partial(self._late, partial(self._finish, given, failed)))
        self._work = None
        outstanding.discard(self)

    def _locked(self, act: Callable[[], None]) -> bool:
        """Act under the future's lock. False if it could not be had in an instant.

        Others may wait for what this thread does next, so it does not wait for long.
        """
        if in_main():
            with self._condition:
                act()
            return True
        condition = self._condition
        if not condition.acquire(timeout=_INSTANT):
            return False
        try:
            act()
        finally:
            condition.release()
        return True

    def _late(self, act: Callable[[], None]) -> None:
        """Act under the lock, in a thread that has the time to wait for it."""
        self._take_deserted()
        with self._condition:
            act()
        self._invoke_callbacks()

    def _finish(self, given: dict[str, Any], failed: bool) -> None:
        """Under the lock: it is settled, if it was not before."""
        if self._state in ("PENDING", "RUNNING"):
            self.__dict__.update(given)
            self._failed = failed
            self._state = "FINISHED"
            self._tell_waiters()

    def _tell(self) -> None:
        """Tell who waits that it is settled."""
        if self._locked(self._tell_waiters):
            self._invoke_callbacks()
        else:
            user_threads.run_soon(partial(self._late, self._tell_waiters))

    def _tell_waiters(self) -> None:
        for waiter in self._waiters:
            if self._failed:
                waiter.add_exception(self)
            elif self._rebuilt is not None and getattr(waiter, "stop_on_exception", False):
                user_threads.run_soon(partial(self._tell_strict, waiter))
            else:
                waiter.add_result(self)
        self._condition.notify_all()

    def _tell_strict(self, waiter: Any) -> None:
        """Tell one that wants to know whether there is an error, which is not known yet."""
        failed = self.exception() is not None
        with self._condition:
            (waiter.add_exception if failed else waiter.add_result)(self)

    def _invoke_callbacks(self) -> None:
        """Call what was to be called when it is done: the user's functions in other threads.

        Not if this thread has settled it by `set_result` or by `cancel`.
        """
        callbacks = self._done_callbacks
        while callbacks:
            try:
                callback = callbacks.pop(0)
            except IndexError:
                return
            if not self._aside or _is_quick(callback):
                _call(callback, self)
                continue
            telling = self._telling
            if telling is not None:
                telling.add(callback_id := object())
                user_threads.run_soon(partial(_call_counted, callback, self, telling, callback_id))
            else:
                user_threads.run_soon(partial(_call, callback, self))

    def _take_deserted(self) -> None:
        """If the thread that locked the future left it locked, give it another lock."""
        for _ in range(_DESERTED):
            if self._condition.acquire(timeout=_TENTH):
                self._condition.release()
                return
        self._condition = Condition()

    def __await__(self) -> Generator[Any, None, T]:
        from procession.awaiting import awaited, running_loop

        instead = "await trio.to_thread.run_sync(future.result)"
        loop = running_loop("Awaiting a procession.Future", instead)
        waiting: asyncio.Future[T] = awaited(self, loop)
        return waiting.__await__()


def _is_quick(callback: Any) -> bool:
    """Whether a callback runs no code of the user's, and only tells an event loop."""
    kind: type[Any] = callback.__class__
    if getattr(kind, "procession_is_quick", False):
        return True
    return getattr(callback, "__module__", None) == "asyncio.futures" and getattr(
        callback, "__qualname__", ""
    ).startswith("_chain_future.")


def _call(callback: Callable[[Any], object], future: Any) -> None:
    try:
        callback(future)
    except BaseException as error:
        from procession.system.interrupts import strikes

        if strikes(error):
            raise
        _logger.exception("exception calling callback for %r", future)


def _call_counted(
    callback: Callable[[Any], object], future: Any, telling: set[Any], key: Any
) -> None:
    try:
        _call(callback, future)
    finally:
        telling.discard(key)
