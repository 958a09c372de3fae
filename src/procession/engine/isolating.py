"""`@isolated`: what a plain call does for ordinary, ``async def`` and generator functions."""

from __future__ import annotations

from typing import Any

from procession import logger as notices
from procession.contract import Item
from procession.decoration import kind
from procession.engine import calls
from procession.engine.call import Call
from procession.engine.planning.retry_delay import seconds_before
from procession.recording.observer import call_began
from procession.system.interrupts import strikes

__all__ = ["call"]


def call(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run one call in a process of its own and give what the function itself would give.

    That is the result; an awaitable of it for ``async def``; an iterator that streams the values
    for a generator function.
    """
    what = kind(call.function)
    if what == "coroutine":
        return _awaited(call, args, kwargs)
    if what == "generator":
        return calls.stream(call, args, kwargs)
    future = calls.submit(call, args, kwargs)
    try:
        return future.result()
    except BaseException as error:
        if strikes(error):
            future.cancel()
        raise


async def _awaited(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if calls.runs_here(call):
        value = ((*call.prefix, *args), kwargs)
        observer = call_began(call.name, single=True)
        return await observer.awaiting(value, _again(call, args, kwargs))
    return await calls.submit(call, args, kwargs)


async def _again(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Await the coroutine here, again after those errors that ask for it."""
    import asyncio  # loaded already by whoever awaits this

    options, item = call.options, Item(0, ((*call.prefix, *args), kwargs))
    while True:
        try:
            return await call.function(*call.prefix, *args, **kwargs)
        except options.retry_on as error:
            if item.attempt > options.retries:
                raise
            item.attempt += 1
            rules = call.rules(single=True)
            notices.retried(call.name, options.retries, item, error, single=True)
            await asyncio.sleep(seconds_before(rules, item.attempt))
