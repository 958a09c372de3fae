"""The arguments that go to every item, on the caller's side: which of them an item could change."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from procession.pickling.pickler import LARGE

if TYPE_CHECKING:
    from procession.worker.job_header import Loading

__all__ = ["parted", "vary", "way"]

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
"""Types whose values nobody can change, or that travel by name."""

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

    Not what is shared on purpose (`procession.shared`), and not what is the same in all items
    whatever they do: numbers, strings, functions, classes, and tuples of those.
    """
    return not all(map(_is_fixed, values))


def parted(function: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """A callable's function, and the arguments bound to it that an item could change.

    Those of a `functools.partial`, the instance of a bound method, and an object that is called go
    to every item as much as those that are given to the verb.
    """
    before: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    inner = function
    while type(inner) is not FunctionType:
        kind = _type(inner)
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


def way(values: Iterable[Any], blob: bytes) -> Loading:
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


_type: Callable[[object], type[Any]] = type  # for type checkers: of an object that may be anything


def _is_fixed(value: Any) -> bool:
    kind = _type(value)
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
