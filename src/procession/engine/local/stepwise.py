"""Generators and coroutines of `@isolated` that run in this process: as calls do, step by step.

Between two steps the caller goes on. What holds while an item runs (its task) holds in each step.
"""

from __future__ import annotations

from collections.abc import Iterator

from procession.engine.call import Call
from procession.engine.decoding import noted
from procession.engine.local.caller_loop import attempt, raised_here, task_here
from procession.engine.local.in_process import initialized
from procession.engine.policy.blame import Rules
from procession.engine.retrying import again, pause_before
from procession.hints import Any
from procession.items import Item
from procession.system.interrupts import strikes
from procession.worker import current

_OVER: Any = object()


def _begin(call: Call, value: Any) -> tuple[Call, Item, Rules, current.CurrentTask]:
    """The call after its initializer has run, its item, and what is to be known while it runs."""
    item, rules = Item(call.number(), value), call.rules(single=True)
    task = task_here(call.name, call.options.nested, item.index)
    return initialized(call), item, rules, task


def values_here(call: Call, value: Any) -> Iterator[Any]:
    """The values of a generator function.

    Args:
        call: What is called.
        value: Its arguments, positional and by name.

    Raises:
        BaseException: What it raises, as it would arrive from a worker.
    """
    call, item, rules, task = _begin(call, value)
    args, kwargs = value
    ok, came = attempt(task, lambda: iter(call.function(*args, **kwargs)))
    values = came
    try:
        while ok:
            ok, came = attempt(task, next, values, _OVER)
            if came is _OVER:
                return
            if ok:
                yield came
    finally:
        close = getattr(values, "close", None)
        if close is not None:
            close()
    raise noted(raised_here(came, call.name), item, rules, here=True)


async def awaited_here(call: Call, value: Any) -> Any:
    """What a coroutine function comes to, again after those errors that ask for it.

    Args:
        call: What is called.
        value: Its arguments, positional and by name.

    Raises:
        BaseException: What it raises, as it would arrive from a worker.
    """
    import asyncio  # loaded already by what awaits this

    call, item, rules, task = _begin(call, value)
    args, kwargs = value
    while True:
        before = current.entered()
        current.enter(task)
        try:
            return await call.function(*args, **kwargs)
        except (asyncio.CancelledError, GeneratorExit):
            raise  # what awaits it has ended it
        except BaseException as error:
            if strikes(error):
                raise
            raised = raised_here(error, call.name)
        finally:
            current.leave(before)
        if not again(item, raised, rules):
            raise noted(raised, item, rules, here=True)
        await asyncio.sleep(pause_before(item, rules))
