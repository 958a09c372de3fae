"""`@isolated`: what a plain call does for ordinary, ``async def`` and generator functions."""

from __future__ import annotations

from typing import Any

from procession.decoration import kind
from procession.engine import calls
from procession.engine.job import Call

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
    except KeyboardInterrupt:
        future.cancel()
        raise


async def _awaited(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if calls.runs_here(call):
        return await call.function(*call.prefix, *args, **kwargs)
    return await calls.submit(call, args, kwargs)
