"""One call: as a future, or, of an isolated function, as what that would give."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from procession.decoratable import kind
from procession.engine.call import Call
from procession.engine.decoding import value_of
from procession.engine.job import single_job, thread_job
from procession.engine.local.in_process import header_here, initialized, reply_here
from procession.engine.local.stepwise import awaited_here
from procession.engine.local.where import Where, route
from procession.engine.single_call import SingleCall
from procession.errors import PoolClosed
from procession.futures import Future
from procession.hints import Any, NoReturn
from procession.items import Item, Settled
from procession.observer import call_began
from procession.system.interrupts import strikes
from procession.worker.current import in_worker


def settled(future: Future[Any], result: Callable[[], Any]) -> Future[Any]:
    """Settle a future with what `result` returns or raises."""
    try:
        value = result()
    except BaseException as error:
        if strikes(error):
            raise
        future.settle(None, error)
    else:
        future.settle(value)
    return future


def _refuse(error: BaseException) -> NoReturn:
    raise error


def submit(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    """A future of one call. What is wrong with the call is in the future."""
    value = ((*call.prefix, *args), kwargs)
    plain = call if not call.prefix else call._replace(prefix=())
    try:
        way = route(plain)
    except PoolClosed as error:  # while `shutdown` drains
        return settled(Future(), partial(_refuse, error))
    if way is None:
        item, rules = Item(call.number(), value), call.rules(single=True)
        observer = call_began(call.name, single=True)
        reply = reply_here(header_here(initialized(plain)), rules, item)
        observer.ran_here(0, [value], item.seconds + reply.seconds, not reply.ok)
        observer.finished()
        over = Settled(item, reply)
        return settled(Future(), lambda: value_of(over, rules))
    single = SingleCall(way.backend, way.rules)
    history, options = plain.history, plain.options
    # Also a call that is refused has a number.
    number = call.number() if history is None or in_worker() else next(history.numbers)
    try:
        if options.max_pending is not None:
            single.admit(options.max_pending)
        if options.deadline is not None:
            single.expire_after(options.deadline)
        if way.short:
            single.start_short(single_job(plain), number, value, way.pack)
        else:
            job = thread_job(plain) if way.where.shares else single_job(plain)
            single.start(job, way.pack(number, value))
    except Exception as error:
        single.refuse(error)
    return single.future


def isolated(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run one call of an `@isolated` function, and give what the function itself would give.

    That is the result; an awaitable of it for ``async def``; an iterator that streams the values
    for a generator function.
    """
    what = kind(call.function)
    if what == "coroutine":
        return _awaited(call, args, kwargs)
    if what == "generator":
        from procession.engine.streaming import stream

        return stream(call, args, kwargs)
    future = submit(call, args, kwargs)
    try:
        return future.result()
    except BaseException as error:
        if strikes(error):
            future.cancel()
        raise


async def _awaited(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if Where(call, blocking=False).here:
        value = ((*call.prefix, *args), kwargs)
        observer = call_began(call.name, single=True)
        return await observer.awaiting(value, awaited_here(call, value))
    from procession.awaiting import running_loop

    # Before it starts: a call that no one can wait for is not to run.
    instead = f"await trio.to_thread.run_sync({call.name}.submit(...).result)"
    running_loop(f"Awaiting {call.name}()", instead)
    return await submit(call, args, kwargs)
