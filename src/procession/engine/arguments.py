"""What a function is given: what belongs to an item, and what goes to every one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from procession.engine.call import Call
from procession.hints import Any
from procession.items import Item
from procession.pickling.objects import SCALARS, class_of
from procession.pickling.out_of_band import (
    BroadcastBuffers,
    bytes_out_of_band,
    crosses_machines,
    dumps_out_of_band,
    fits_message,
    put_keys,
    replacements,
    with_senders,
)
from procession.pickling.pickler import LARGE, dumps
from procession.system.cpython import pickle
from procession.system.interrupts import strikes
from procession.worker.job_header import Loading

__all__ = [
    "NOTHING_SHARED",
    "copied",
    "dump_shared",
    "loading_for",
    "packer",
    "refusal",
    "vary",
    "with_bound_arguments",
]

NOTHING_SHARED = pickle.dumps(((), (), {}), 5)

SMALL = 32 * 1024
"""Bytes of pickle up to which it is loaded for each item: some 10 µs, for a list of 10,000 small
numbers 100. A guess: a function that is given so much takes as long to look at it."""

_FIXED: frozenset[type] = frozenset(
    {
        *(
            int,
            float,
            complex,
            bool,
            str,
            bytes,
            range,
            type(None),
            type(...),
            type(NotImplemented),
        ),
        *(FunctionType, BuiltinFunctionType, ModuleType),
    }
)
"""Types whose values cannot be changed, or that travel by name."""

_FIXED_BY_NAME = frozenset(
    {
        *(("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *(("pathlib", name) for name in ("PosixPath", "PurePosixPath", "PurePath", "Path")),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("procession.tasks", "PerWorker"),
        ("re", "Pattern"),
        ("uuid", "UUID"),
        ("zoneinfo", "ZoneInfo"),
    }
)
"""Others of that kind, whose modules need not be imported to know them."""


def vary(values: Iterable[Any]) -> bool:
    """Whether an item that is given these could change one of them.

    Not what is shared on purpose (`procession.shared`), and not what items cannot
    change: numbers, strings, functions, classes, and tuples of those.
    """
    return not all(map(_is_fixed, values))


def with_bound_arguments(call: Call) -> Call:
    """What is bound to the function goes to every item, and as such is each item's own."""
    if type(call.function) is FunctionType:
        return call
    function, before, named = _parted(call.function)
    if function is call.function:
        return call
    prefix, kwargs = (*before, *call.prefix), {**named, **call.kwargs}
    return call._replace(function=function, prefix=prefix, kwargs=kwargs)


def _parted(function: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """A callable's function, and the arguments bound to it that an item could change.

    That is what a `functools.partial` holds, the instance of a bound method, or an object that is
    called. They go to every item, as those do that are given to the verb.
    """
    before: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    inner = function
    while type(inner) is not FunctionType:
        kind = class_of(inner)
        if kind is partial:
            before, named = (*inner.args, *before), {**inner.keywords, **named}
            inner = inner.func
        elif kind is MethodType:
            before, inner = (inner.__self__, *before), inner.__func__
        else:
            break
    if type(inner) is FunctionType and vary((*before, *named.values())):
        return inner, before, named
    return function, (), {}


def loading_for(values: Iterable[Any], blob: bytes) -> Loading:
    """How what can change, and is pickled in `blob`, is to be loaded.

    Arrays do not count: they are loaded as fast as memory is copied.
    """
    size = len(blob)
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return "each" if size <= SMALL else "watched"
    for value in values:
        if isinstance(value, numpy.ndarray) and not value.dtype.hasobject:
            size -= min(value.nbytes, LARGE)
    return "each" if size <= SMALL else "watched"


def _is_fixed(value: Any) -> bool:
    kind = class_of(value)
    if kind in _FIXED:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(_is_fixed, value))
    if isinstance(value, type):
        return True
    module = getattr(kind, "__module__", "")
    if (module, kind.__name__) in _FIXED_BY_NAME or module.startswith("procession.shared."):
        return True
    return _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    """Whether it is a member of an enumeration, or a number or type of numpy's."""
    enum, numpy = sys.modules.get("enum"), sys.modules.get("numpy")
    if enum is not None and isinstance(value, enum.Enum):
        return True
    return numpy is not None and isinstance(value, (numpy.generic, numpy.dtype))


def copied(call: Call) -> tuple[bytes, Any] | None:
    """What goes to every item, pickled; `None` if it cannot be: then all items share it."""
    buffers: list[Any] = []
    try:
        blob = dumps(_shared(call), "by-value", buffers)
    except (Exception, SystemExit) as error:
        if strikes(error):
            raise
        return None
    return blob, BroadcastBuffers(buffers) if buffers else ()


def _shared(call: Call) -> tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any]]:
    return call.prefix, call.args, dict(call.kwargs)


def dump_shared(call: Call, buffers: list[Any] | None) -> bytes:
    """What goes to every item, pickled.

    Raises:
        NotPicklable: It cannot be.
    """
    if not call.common:
        return NOTHING_SHARED
    shared, pickling = _shared(call), call.options.pickling
    apart = buffers is not None or bool(replacements)
    try:
        return dumps(bytes_out_of_band(shared) if apart else shared, pickling, buffers)
    except (Exception, SystemExit) as error:
        if strikes(error):
            raise
        item = () if call.style != "value" else (None,)
        raise _explained(error, call, (*call.prefix, *item, *call.args), call.kwargs) from None


def _explained(
    error: BaseException, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> BaseException:
    from procession.explaining.explain import explain_call

    return explain_call(
        error,
        args,
        kwargs,
        target=call.function,
        function=call.name,
        pickling=call.options.pickling,
    )


# -- an item's own --------------------------------------------------------------------------------


def packer(
    call: Call, *, shares: bool = False, out_of_band: bool = True
) -> Callable[[int, Any], Item]:
    """A function that makes the item for an index and a value; it raises `NotPicklable`.

    Args:
        call: What is called.
        shares: Whether the workers share this process's memory.
        out_of_band: Whether large buffers leave the pickle.
    """
    if shares:
        return Item
    pickling, single, far = call.options.pickling, call.style == "call", call.far
    private = call.options.retries > 0  # another attempt must find what the first one was given

    def dump(value: Any) -> tuple[bytes, Sequence[Any]]:
        if out_of_band:
            return dumps_out_of_band(value, pickling, private=private)
        return dumps(bytes_out_of_band(value) if replacements else value, pickling), ()

    def pack(index: int, value: Any) -> Item:
        if not single and fits_message(value):
            return Item(index, value, value)
        buffers: Sequence[Any] = ()
        keeps: Sequence[object] = ()
        try:
            # Numbers alone need none of what follows, which takes longer than their call.
            if single and not value[1] and SCALARS.issuperset(map(type, value[0])):
                blob = pickle.dumps(value, 5)
            elif put_keys or far:
                (blob, buffers), keeps = with_senders(partial(dump, value), far=far)
            else:
                blob, buffers = dump(value)
        except (Exception, SystemExit) as error:  # of the value's own code
            if strikes(error):
                raise
            with crosses_machines(far):  # it is looked for as it was pickled
                why = refusal(error, call, value)
            raise why from None
        item = Item(index, value, blob, buffers)
        if keeps:
            item.keeps = keeps
        return item

    return pack


def refusal(error: BaseException, call: Call, value: Any) -> BaseException:
    """Why an item's value cannot cross, by the parameter that it is for."""
    if call.style == "call":
        return _explained(error, call, *value)
    # What goes to every item has passed already: only its places are needed here.
    own = tuple(value) if call.style == "star" else (value,)
    args = (*[None] * len(call.prefix), *own, *[None] * len(call.args))
    return _explained(error, call, args, dict.fromkeys(call.kwargs))
