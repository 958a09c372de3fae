"""Awaiting a future where an event loop of asyncio runs.

`asyncio.wrap_future` wakes the loop for each future, which takes longer than the rest of a
short call. Here the futures that are done while the loop is busy wake it once.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import ref


def running_loop(who: str, instead: str) -> asyncio.AbstractEventLoop:
    """The event loop that runs here.

    Args:
        who: What needs one, for the message.
        instead: What is written in trio, which has loops of its own.

    Raises:
        RuntimeError: There is none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"{who} needs an event loop of asyncio, and none runs here. In trio, write {instead}."
        ) from None


class _Landing:
    """Where futures that are done, in any thread, come to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)
        self._done: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self._expected = False  # whether the loop is about to look

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is this loop's."""
        return self._loop() is loop

    def land(self, future: Any, waiting: asyncio.Future[Any]) -> None:
        """A future is done, which one in the loop waits for. Takes no lock."""
        self._done.append((future, waiting))
        if self._expected:
            return
        self._expected = True
        loop = self._loop()
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._look)
            except RuntimeError:
                pass  # it is closed, so no one waits any more

    def _look(self) -> None:
        self._expected = False  # first: who comes from here on wakes the loop again
        while self._done:
            future, waiting = self._done.popleft()
            _pass_on(future, waiting)


class _Lands:
    """What a future calls when it is done. It runs no code of the user's."""

    __slots__ = ("_landing", "_waiting")

    procession_is_quick = True

    def __init__(self, landing: _Landing, waiting: asyncio.Future[Any]) -> None:
        self._landing = landing
        self._waiting = waiting

    def __call__(self, future: Any) -> None:
        self._landing.land(future, self._waiting)


_last: Callable[[], _Landing | None] = lambda: None  # noqa: E731 - as a weak reference is called


def _landing_of(loop: asyncio.AbstractEventLoop) -> _Landing:
    """The last loop's, as long as any of its futures keeps it; else a new one."""
    global _last
    known = _last()
    if known is None or not known.is_of(loop):
        known = _Landing(loop)
        _last = ref(known)
    return known


def _pass_on(future: Any, waiting: asyncio.Future[Any]) -> None:
    """Give what a future has to the one that waits for it. In the loop's thread."""
    if waiting.done():
        return
    if future.cancelled():
        waiting.cancel()
        return
    error = future.exception()
    if error is None:
        waiting.set_result(future.result())
    elif isinstance(error, cf.CancelledError):
        waiting.set_exception(asyncio.CancelledError(*error.args))
    elif isinstance(error, StopIteration):
        raised = RuntimeError("the call raised StopIteration, which cannot be raised by await")
        raised.__cause__ = error
        waiting.set_exception(raised)
    else:
        waiting.set_exception(error)


def awaited(future: Any, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
    """The loop's own future for one of ours. Cancelling it cancels that."""
    waiting: asyncio.Future[Any] = loop.create_future()
    if future.done():
        _pass_on(future, waiting)
        return waiting

    def check(_: asyncio.Future[Any]) -> None:
        if waiting.cancelled():
            future.cancel()

    waiting.add_done_callback(check)
    future.add_done_callback(_Lands(_landing_of(loop), waiting))
    return waiting
