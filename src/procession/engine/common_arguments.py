"""What goes to every item: the arguments of a call that do not belong to one of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from procession.engine.call import Call
from procession.hints import Any
from procession.pickling.objects import class_of
from procession.pickling.out_of_band import BroadcastBuffers, bytes_out_of_band, replacements
from procession.pickling.pickler import LARGE, dumps
from procession.system.cpython import pickle
from procession.system.interrupts import strikes, tried
from procession.worker.job_header import Loading

NOTHING_COMMON = pickle.dumps(((), (), {}), 5)

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
    # A metaclass may raise.
    return not tried(False, all, map(_is_fixed, values))


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
        blob = dumps(_common(call), "by-value", buffers)
    except BaseException as error:
        if strikes(error):
            raise
        return None
    return blob, BroadcastBuffers(buffers) if buffers else ()


def _common(call: Call) -> tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any]]:
    return call.prefix, call.args, dict(call.kwargs)


def dump_common(call: Call, buffers: list[Any] | None) -> bytes:
    """What goes to every item, pickled.

    Raises:
        NotPicklable: It cannot be.
    """
    if not call.common:
        return NOTHING_COMMON
    common, pickling = _common(call), call.options.pickling
    apart = buffers is not None or bool(replacements)
    try:
        return dumps(bytes_out_of_band(common) if apart else common, pickling, buffers)
    except BaseException as error:
        if strikes(error):
            raise
        item = () if call.style != "value" else (None,)
        raise call.refusal(error, (*call.prefix, *item, *call.args), call.kwargs) from None
