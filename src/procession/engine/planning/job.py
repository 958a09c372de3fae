"""From a call and its options to what a backend needs: the job, its items, and the checks."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from types import MappingProxyType
from typing import Any

from procession.configuration import Options
from procession.contract import Item, Job, Reply
from procession.engine.call import Call
from procession.engine.planning.common_arguments import vary, way
from procession.engine.planning.in_process import header_here, reply_here
from procession.forwarding.interpreter_settings import differing, separate
from procession.forwarding.outgoing import Outgoing, outgoing, unchanged
from procession.functions.freshness import Watch
from procession.pickling.objects import SCALARS
from procession.pickling.out_of_band import (
    BroadcastBuffers,
    bytes_out_of_band,
    dumps_out_of_band,
    fits_message,
    put_keys,
    replacements,
    with_senders,
)
from procession.pickling.pickler import dumps
from procession.recording.observer import observers, timing
from procession.system import NamedTuple
from procession.system.descriptors import NAMELESS
from procession.system.interrupts import strikes
from procession.worker.job_header import Header, Loading, Style, pack_header

__all__ = ["make_job", "packer", "single_job"]

_keys = itertools.count(1)
_NOTHING_SHARED = dumps(((), (), {}))
_NO_KEYWORDS: Mapping[str, Any] = MappingProxyType({})


def make_job(
    call: Call,
    style: Style,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    shares: bool = False,
    out_of_band: bool = True,
    exits: bool = False,
) -> Job:
    """Make the job for a map or a single call.

    Args:
        call: What is called.
        style: How an item is handed over.
        args: Positional arguments that go to every item.
        kwargs: Keyword arguments that go to every item.
        shares: Whether the workers are threads of this process: nothing is pickled then.
        out_of_band: Whether large buffers may travel beside the pickle.
        exits: Whether SystemExit comes home as itself.

    Raises:
        NotPicklable: The function, or an argument that goes to every item, cannot cross.
    """
    options = call.options
    context = copy_context()
    timed = bool(observers.active)
    given = (*call.prefix, *args, *(kwargs or {}).values())
    if shares:
        job = _new_job(call)
        if vary(given):
            job.common = _copied(call, args, kwargs or {})
        header = header_here(call, style, args, kwargs or {}, job.common)
        reply = timing(reply_here) if timed else reply_here

        def run(item: Item) -> Reply:
            return context.copy().run(_in_thread, reply, header, item)

        job.call = run
        return job
    from procession.functions.packed_function import dump_function

    buffers: list[Any] = []
    interpreter = differing()

    def dump() -> tuple[bytes, bytes]:
        function = dump_function(call.function, call.decorated, options.pickling)
        beside = buffers if out_of_band and NAMELESS else None
        return function, _dump_shared(call, style, args, kwargs or {}, beside)

    (function, shared), keeps = with_senders(dump)
    common: Loading = way(given, shared) if vary(given) else "once"

    def pack() -> bytes:
        out = outgoing(options.pickling) if options.forward_logs else None
        settings = call.settings(
            style, out, exits=exits, timed=timed, interpreter=interpreter, common=common
        )
        return pack_header(function, shared, settings)

    job = _new_job(
        call, lambda: context.run(pack), BroadcastBuffers(buffers) if buffers else (), keeps
    )
    if common != "once":
        job.common = shared, job.buffers
    if args or kwargs or call.prefix:
        # What was pickled by its address must be kept until the last worker has opened it.
        job.call = partial(reply_here, header_here(call, style, args, kwargs or {}))
    return job


def _in_thread(reply: Callable[..., Reply], header: Header, item: Item) -> Reply:
    separate()
    return reply(header, item)


def _copied(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, Any] | None:
    """What goes to every item, pickled; `None` if it cannot be: then all items share it."""
    buffers: list[Any] = []
    try:
        blob = dumps((call.prefix, args, kwargs), "by-value", buffers)
    except (Exception, SystemExit) as error:
        if strikes(error):
            raise
        return None
    return blob, BroadcastBuffers(buffers) if buffers else ()


class _Kept(NamedTuple):
    """The job of a function's last single call, and all that it was made of."""

    raw: Callable[..., Any]
    options: Options
    watch: Watch
    interpreter: bytes
    out: Outgoing | None
    timed: bool
    job: Job


def single_job(call: Call) -> Job:
    """The job for a single call whose arguments all travel with the item.

    The last one is used again as long as nothing has changed that a worker would see, so that
    workers know it already.

    Raises:
        NotPicklable: The function cannot cross.
    """
    options = call.options
    timed = bool(observers.active)
    interpreter = differing()
    kept: _Kept | None = None if call.history is None else call.history.job
    if (
        kept is not None
        and kept.raw is call.function
        and kept.options is options
        and kept.timed is timed
        and kept.interpreter is interpreter
        and kept.watch.holds()
        and unchanged(kept.out)
    ):
        return kept.job
    from procession.functions.packed_function import dump_watched

    (function, watch), keeps = with_senders(
        lambda: dump_watched(call.function, call.decorated, options.pickling)
    )
    out = outgoing(options.pickling) if options.forward_logs else None
    if (
        kept is not None
        and kept.raw is call.function
        and kept.watch is watch
        and kept.interpreter == interpreter
        and kept.out == out
        and kept.timed is timed
        and kept.options == options
    ):
        return kept.job
    settings = call.settings("call", out, timed=timed, interpreter=interpreter)
    job = _new_job(call, lambda: pack_header(function, _NOTHING_SHARED, settings), keeps=keeps)
    if call.history is not None and watch is not None:
        call.history.job = _Kept(call.function, options, watch, interpreter, out, timed, job)
    return job


def _new_job(
    call: Call,
    header: Callable[[], bytes] = bytes,
    buffers: Sequence[Any] = (),
    keeps: Sequence[object] = (),
) -> Job:
    options = call.options
    return Job(
        next(_keys),
        call.name,
        header,
        buffers,
        timeout=options.timeout,
        memory_limit=options.memory_limit,
        keeps=keeps,
    )


def _dump_shared(
    call: Call,
    style: Style,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    buffers: list[Any] | None,
) -> bytes:
    pickling = call.options.pickling
    if not (call.prefix or args or kwargs):
        return _NOTHING_SHARED
    try:
        shared = (call.prefix, args, kwargs)
        beside = buffers is not None or bool(replacements)
        return dumps(bytes_out_of_band(shared) if beside else shared, pickling, buffers)
    except (Exception, SystemExit) as error:
        if strikes(error):
            raise
        from procession.explaining.explain import explain_call

        item = () if style != "value" else (None,)
        raise explain_call(
            error,
            (*call.prefix, *item, *args),
            kwargs,
            target=call.function,
            function=call.name,
            pickling=pickling,
        ) from None


def packer(
    call: Call,
    style: Style,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = _NO_KEYWORDS,
    *,
    shares: bool = False,
    out_of_band: bool = True,
) -> Callable[[int, Any], Item]:
    """A function that makes the item for an index and a value; it raises `NotPicklable`.

    Args:
        call: What is called.
        style: How an item is handed to the function.
        args: The arguments that go to every item; they tell which parameter the item is.
        kwargs: Those given by name.
        shares: Whether the workers share this process's memory.
        out_of_band: Whether large buffers leave the pickle.
    """
    if shares:
        return Item
    pickling = call.options.pickling
    private = call.options.retries > 0  # another attempt must find what the first one was given

    def dump(value: Any) -> tuple[bytes, Sequence[Any]]:
        """With what was put in it."""
        if out_of_band:
            return dumps_out_of_band(value, pickling, private=private)
        return dumps(bytes_out_of_band(value) if replacements else value, pickling), ()

    def pack(index: int, value: Any) -> Item:
        if style != "call" and fits_message(value):
            return Item(index, value, value)
        buffers: Sequence[Any] = ()
        keeps: Sequence[object] = ()
        try:
            # Numbers alone need none of what follows, which takes longer than their call.
            if style == "call" and not value[1] and SCALARS.issuperset(map(type, value[0])):
                blob = pickle.dumps(value, 5)
            elif put_keys:
                (blob, buffers), keeps = with_senders(partial(dump, value))
            elif out_of_band:
                blob, buffers = dumps_out_of_band(value, pickling, private=private)
            else:
                blob = dumps(value, pickling)
        except (Exception, SystemExit) as error:  # of the value's own code
            if strikes(error):
                raise
            raise _refusal(error, call, style, value, args, kwargs) from None
        item = Item(index, value, blob, buffers)
        if keeps:
            item.keeps = keeps
        return item

    return pack


def _refusal(
    error: BaseException,
    call: Call,
    style: Style,
    value: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> BaseException:
    from procession.explaining.explain import explain_call

    if style == "call":
        args, kwargs = value
    else:
        # What goes to every item has passed already: only its places are needed here.
        own = tuple(value) if style == "star" else (value,)
        args = (*[None] * len(call.prefix), *own, *[None] * len(args))
        kwargs = dict.fromkeys(kwargs)
    return explain_call(
        error,
        args,
        kwargs,
        target=call.function,
        function=call.name,
        pickling=call.options.pickling,
    )
