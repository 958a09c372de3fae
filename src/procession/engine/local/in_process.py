"""The one way in which an item runs in this process: as it would in a worker, as far as can be.

Single calls, threads as workers, slices of maps and short maps use it. Here is written what an item
is given (arguments, seed, its task), what of its errors is an answer, and what counts as its time.
Under `procession_strict` items work on copies, as they would in a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from procession.decoratable import kind
from procession.engine.call import Call
from procession.engine.common_arguments import loading_for
from procession.engine.local.caller_loop import attempt, raised_here, task_here
from procession.engine.policy.blame import Rules
from procession.engine.retrying import again, pause_before
from procession.hints import Any
from procession.items import Item, Reply
from procession.pickling.exceptions import own_copy
from procession.pickling.pickler import dumps, loads
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter, time
from procession.worker.job_header import Header, argument_copies, arguments_of, call_with


def header_here(call: Call, common: tuple[bytes, Any] | None = None) -> Header:
    """The job as it is run in this process.

    Args:
        call: What is called.
        common: What goes to every item, pickled, if each is to be given a copy (`Job.common`).
    """
    settings = call.settings()
    function = call.function
    if kind(function) == "coroutine":
        function = partial(_run_coroutine, function)
    copies = None
    if common is not None:
        loaded = loading_for(call.common, common[0])
        copies = argument_copies(*common, settings._replace(loading=loaded), call.function)
    return Header(function, call.prefix, call.args, dict(call.kwargs), settings, copies)


def initialized(call: Call) -> Call:
    """The call as it runs in this process, where its initializer has run first.

    If that failed, its error is the answer to each item, as in a worker.
    """
    options = call.options
    if options.initializer is None:
        return call
    from procession.worker.preparing import run_initializer_here

    error = run_initializer_here(options.initializer, options.initargs)
    return call if error is None else call._replace(function=partial(_raise, error))


def _raise(error: BaseException, /, *args: Any, **kwargs: Any) -> Any:
    raise own_copy(error)  # each item adds notes and a traceback of its own


def _run_coroutine(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What a call of an ``async def`` function comes to, as it would in a worker."""
    import asyncio

    return asyncio.run(function(*args, **kwargs))


# -- one item ------------------------------------------------------------------------------------


def _value(header: Header, item: Item) -> Any:
    if strict():
        return call_on_copies(header, item.value)
    if header.settings.seed is None:
        return call_with(header, item.value)
    from procession.worker.seeding import preserve, seeded

    with preserve(), seeded(header.settings.seed, item.index):
        return call_with(header, item.value)


def reply_here(header: Header, rules: Rules | None, item: Item) -> Reply:
    """Run one item in this thread as a worker would; the reply holds the objects themselves.

    Args:
        header: The job.
        rules: Say after which errors it runs again; `None` if that is decided elsewhere.
        item: The item, which counts its attempts and the seconds of those that failed.

    Raises:
        BaseException: What a signal handler has raised. It is the caller's, not the item's.
    """
    settings = header.settings
    while True:
        task = task_here(settings.name, settings.nested, item.index, item.attempt)
        begin = perf_counter()
        ok, value = attempt(task, _value, header, item)
        seconds = perf_counter() - begin
        if not ok:
            value = value if settings.exits else raised_here(value, settings.name)
            if rules is not None and again(item, value, rules):
                item.seconds += seconds
                try:
                    time.sleep(pause_before(item, rules))
                    continue
                except BaseException as error:
                    if strikes(error):
                        raise
                    value, seconds = error, 0.0
        return Reply(item.index, ok, value, (), seconds, True)


# -- many items ----------------------------------------------------------------------------------


def every_value(header: Header, function: Callable[..., Any], left: Iterator[Any]) -> list[Any]:
    """The values of all items: a comprehension, since nothing else is as fast as a loop.

    Args:
        header: Says how an item is handed over.
        function: What is called, with what is bound to it.
        left: The items.
    """
    args, kwargs = header.args, header.kwargs
    if header.copies is not None:
        return [function(value) for value in left]
    if header.settings.style == "star":
        return [function(*value, *args, **kwargs) for value in left]
    if args or kwargs:
        return [function(value, *args, **kwargs) for value in left]
    return [function(value) for value in left]


def each_value(
    header: Header, function: Callable[..., Any], left: Iterator[Any], give: Callable[[Any], None]
) -> None:
    """The same one by one: those before an error are given."""
    args, kwargs = header.args, header.kwargs
    if header.copies is None and header.settings.style == "star":
        for value in left:
            give(function(*value, *args, **kwargs))
    elif header.copies is None and (args or kwargs):
        for value in left:
            give(function(value, *args, **kwargs))
    else:
        for value in left:
            give(function(value))


# -- `procession_strict` -------------------------------------------------------------------------

_on = False


def strict() -> bool:
    """Whether items that run here are pickled and unpickled as if they ran in a worker."""
    return _on


def set_strict(on: bool) -> bool:
    """Switch it; returns what it was."""
    global _on
    before, _on = _on, on
    return before


def call_on_copies(header: Header, value: Any) -> Any:
    """Run one item here on copies of its arguments, and return a copy of its result.

    Raises:
        NotPicklable: The result cannot cross; arguments were checked before.
    """
    settings = header.settings
    try:
        sent = dumps((header.prefix, value, header.args, header.kwargs), settings.pickling)
    except BaseException as error:
        if strikes(error):
            raise
        raise _refused(error, header, value) from None
    prefix, value, args, kwargs = loads(sent)
    copied = header._replace(prefix=prefix, args=args, kwargs=kwargs, copies=None)
    result = call_with(copied, value)
    try:
        return loads(dumps(result, settings.pickling))
    except BaseException as error:
        if strikes(error):
            raise
        from procession.worker.failures import refused_result

        raise refused_result(error, result, settings.name, settings.pickling) from None


def _refused(error: BaseException, header: Header, value: Any) -> BaseException:
    from procession.explaining.explain import explain_call

    args, kwargs = arguments_of(header, value)
    return explain_call(
        error,
        args,
        kwargs,
        target=header.function,
        function=header.settings.name,
        pickling=header.settings.pickling,
    )
