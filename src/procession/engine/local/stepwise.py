"""Generators and coroutines of `@isolated` that run in this process: as calls do, step by step.

Between two steps the caller goes on. What holds while an item runs (its task, its random numbers)
holds in each step.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

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


def _step(call: Call, item: Item) -> Callable[..., Any]:
    """What runs each step of the item: it calls what it is given."""
    seed = call.options.seed
    if seed is None:
        return _plainly
    from procession.worker.seeded_steps import SeededSteps

    return SeededSteps(seed, item.index)


def _plainly(run: Callable[..., Any], *args: Any) -> Any:
    return run(*args)


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
    step = _step(call, item)
    ok, came = attempt(task, step, lambda: iter(call.function(*args, **kwargs)))
    values = came
    try:
        while ok:
            ok, came = attempt(task, step, next, values, _OVER)
            if came is _OVER:
                return
            if ok:
                yield came
    finally:
        close = getattr(values, "close", None)
        if close is not None:
            step(close)
    raise noted(raised_here(came, call.name), item, rules, here=True)


class _Steps:
    """A coroutine, to be awaited; each of its steps is run by `step`."""

    def __init__(self, coroutine: Any, step: Callable[..., Any]) -> None:
        self._coroutine = coroutine
        self._step = step

    def __await__(self) -> Generator[Any, Any, Any]:
        run, value = self._coroutine.send, None
        while True:
            over, came = self._step(_stepped, run, value)
            if over:
                return came
            try:
                run, value = self._coroutine.send, (yield came)
            except GeneratorExit:
                self._step(self._coroutine.close)
                raise
            except BaseException as error:
                run, value = self._coroutine.throw, error


def _stepped(run: Callable[[Any], Any], value: Any) -> tuple[bool, Any]:
    """Whether a coroutine is over, and its value; else what it waits for."""
    try:
        return False, run(value)
    except StopIteration as end:
        return True, end.value


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
            coroutine, step = call.function(*args, **kwargs), _step(call, item)
            return await (coroutine if step is _plainly else _Steps(coroutine, step))
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
