"""Running a call's items in this process, as a worker would."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from procession.contract import Item, Reply
from procession.decoration import kind
from procession.engine.planning.common_arguments import way
from procession.engine.planning.strict_crossing import across, crossing
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter
from procession.worker import current as state
from procession.worker.failures import exited
from procession.worker.job_header import CommonArguments, Header, Settings, Style, call_with

if TYPE_CHECKING:
    from procession.engine.call import Call

__all__ = ["header_here", "initialized", "raised_here", "reply_here"]


def header_here(
    call: Call,
    style: Style,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    common: tuple[bytes, Any] | None = None,
) -> Header:
    """The job as it is run in this process.

    Args:
        call: What is called.
        style: How an item is handed over.
        args: Positional arguments that go to every item.
        kwargs: Keyword arguments that go to every item.
        common: All of these, pickled, if each item is to be given a copy (`Job.common`).
    """
    options = call.options
    settings = Settings(call.name, style, options.pickling, options.seed, options.nested)
    function = call.function
    if kind(function) == "coroutine":
        function = partial(_run_coroutine, function)
    copies = None
    if common is not None:
        loaded = way((*call.prefix, *args, *kwargs.values()), common[0])
        copies = CommonArguments(*common, settings._replace(common=loaded), call.function)
    return Header(function, call.prefix, args, kwargs, settings, common=copies)


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
    raise error


def _run_coroutine(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What a call of an ``async def`` function comes to, as it would in a worker."""
    import asyncio

    return asyncio.run(function(*args, **kwargs))


def raised_here(error: BaseException, name: str) -> BaseException:
    """What the caller is told of an error of its own function `name`: an item ends no program."""
    ends = isinstance(error, (SystemExit, KeyboardInterrupt))
    return exited(error, name, "in this process") if ends else error


def reply_here(header: Header, item: Item) -> Reply:
    """Run one item in this thread as a worker would; the reply holds the objects themselves.

    Raises:
        BaseException: What a signal handler has raised. It is the caller's, not the item's.
    """
    settings = header.settings
    worker = f"{os.getpid()}"
    task = state.CurrentTask(item.index, item.attempt, worker, settings.name, settings.nested)
    begin = perf_counter()
    before = state.entered()
    try:
        state.enter(task)
        value, ok = _call(header, item), True
    except BaseException as error:
        if strikes(error):
            raise
        value, ok = error if settings.exits else raised_here(error, settings.name), False
    finally:
        state.leave(before)
    return Reply(item.index, ok, value, (), perf_counter() - begin, True)


def _call(header: Header, item: Item) -> Any:
    if crossing():
        return across(header, item.index, item.value)
    if header.settings.seed is None:
        return call_with(header, item.value)
    from procession.worker.seeding import preserve, seeded

    with preserve(), seeded(header.settings.seed, item.index):
        return call_with(header, item.value)
