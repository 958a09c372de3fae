"""One parser per option: which values it takes, in which form, and what to write instead."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from procession.configuration.choices import (
    WrongValue,
    address,
    backend,
    context,
    one_of,
    refuse_type,
    short,
)
from procession.hints import Any

Parser = Callable[[Any], Any]


def _has(value: object, method: str) -> bool:
    return hasattr(type(value), method)


def _or_none(parse: Parser) -> Parser:
    return lambda value: None if value is None else parse(value)


def _such(holds: Callable[[Any], bool], rule: str, instead: str) -> Parser:
    """A parser for values of which something holds, that are used as they are."""

    def parse(value: Any) -> Any:
        if not holds(value):
            raise refuse_type(value, rule, instead)
        return value

    return parse


def _whole(least: float, rule: str, instead: str) -> Parser:
    """A parser for whole numbers; anything with ``__index__`` is one, except a bool."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not _has(value, "__index__"):
            raise refuse_type(value, rule, instead)
        number = operator.index(value)
        if number < least:
            raise WrongValue(f"{rule}. {instead}")
        return number

    return parse


def _workers(value: Any) -> int:
    if not isinstance(value, (bool, str, float)) and value == -1:
        raise WrongValue(
            "workers must be a whole number of at least 1. All usable CPUs are what you "
            "get when you leave it out."
        )
    return int(_WORKERS(value))


_WORKERS = _whole(
    1,
    "workers must be a whole number of at least 1",
    "Write workers=4, or leave it out for all usable CPUs.",
)


def _chunk(value: Any) -> Any:
    if isinstance(value, str):
        if value == "auto":
            return value
        raise WrongValue(f"{_CHUNK_RULE}. {_CHUNK_INSTEAD}")
    return _CHUNK(value)


_CHUNK_RULE = "chunk must be 'auto' or a whole number of at least 1"
_CHUNK_INSTEAD = "Write chunk=16, or leave it out: chunks are then sized by measured time."
_CHUNK = _whole(1, _CHUNK_RULE, _CHUNK_INSTEAD)


def _inline(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and value == "auto"):
        return value
    rule = "inline must be 'auto', True or False"
    instead = "Write inline=False to run no item in this process."
    if isinstance(value, str):
        raise WrongValue(f"{rule}. {instead}")
    raise refuse_type(value, rule, instead)


def _seconds(option: str, rule: str, instead: str, *, zero: bool = False) -> Parser:
    """A parser for seconds above 0, or from 0 on."""

    def parse(value: Any) -> float:
        if hasattr(value, "total_seconds"):
            raise refuse_type(value, rule, f"Write {option}={value.total_seconds()!r}.")
        if isinstance(value, (bool, str, bytes, complex)) or not _has(value, "__float__"):
            raise refuse_type(value, rule, instead)
        try:
            seconds = float(value)
        except OverflowError:  # a whole number beyond all floats
            seconds = math.inf
        if not ((seconds > 0 or (zero and seconds == 0)) and math.isfinite(seconds)):
            raise WrongValue(f"{rule}. {instead}")
        return seconds

    return parse


def _limit(option: str) -> Parser:
    return _or_none(
        _seconds(
            option,
            f"{option} must be a finite number of seconds above 0",
            f"Write {option}=5.0, or leave it out for no limit.",
        )
    )


def _retry_on(value: Any) -> tuple[type[Exception], ...]:
    classes = _as_tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for cls in classes:
        _check_exception_class(cls)
    return classes


def _check_exception_class(cls: Any) -> None:
    rule = "retry_on must be an exception class or a tuple of them"
    given: object = cls
    if not isinstance(cls, type) or not issubclass(cls, BaseException):
        raise refuse_type(given, rule, "Write retry_on=(OSError, ValueError).")
    if not issubclass(cls, Exception):
        raise WrongValue(
            f"{rule}, derived from Exception, and {cls.__name__} asks to stop. "
            "Write retry_on=(OSError,)."
        )


def _retry_delay(value: Any) -> Any:
    return value if callable(value) else _RETRY_DELAY(value)


_RETRY_DELAY = _seconds(
    "retry_delay",
    "retry_delay must be a finite number of seconds of at least 0, or a function",
    "Write retry_delay=0.5, or retry_delay=lambda attempt: 0.1 * 2**attempt.",
    zero=True,
)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value)


_LEAST_MEMORY = 10**6
"""A smaller limit is a slip of units: an interpreter alone takes ten times as much."""

_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


def _memory_limit(value: Any) -> int:
    rule = "memory_limit must be bytes as a whole number, or a string with a unit"
    instead = "Write memory_limit='512MB' (10^6) or '512MiB' (2^20)."
    if isinstance(value, str):
        digits = value.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        unit = value.strip()[len(digits) :].lower()
        digits = digits.strip().replace("_", "")
        if unit not in _UNITS or not digits.replace(".", "", 1).isdecimal():
            raise WrongValue(f"{rule}. {instead}")
        exact = float(digits) * _UNITS[unit]
        if not math.isfinite(exact):
            raise WrongValue(f"{rule}. {instead}")
        size = int(exact)
    elif isinstance(value, bool) or not _has(value, "__index__"):
        raise refuse_type(value, rule, instead)
    else:
        size = operator.index(value)
    if size < _LEAST_MEMORY:
        raise WrongValue(
            f"memory_limit counts bytes, and {size} bytes are less than Python itself takes. "
            f"{instead}"
        )
    return size


def _initargs(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise refuse_type(value, "initargs must be a tuple", f"Write initargs=({short(value)},).")
    return _as_tuple(value)


OPTIONS: dict[str, Parser] = {
    "workers": _or_none(_workers),
    "backend": backend,
    "address": _or_none(address),
    "context": _or_none(context),
    "chunk": _chunk,
    "window": _or_none(
        _whole(
            1,
            "window must be a whole number of items of at least 1",
            "Write window=1000, or leave it out.",
        )
    ),
    "inline": _inline,
    "timeout": _limit("timeout"),
    "deadline": _limit("deadline"),
    "max_pending": _or_none(
        _whole(
            0,
            "max_pending must be a whole number of calls of at least 0",
            "Write max_pending=100, or leave it out for no limit.",
        )
    ),
    "retries": _whole(
        0, "retries must be a whole number of at least 0", "Write retries=2 for up to three runs."
    ),
    "retry_on": _retry_on,
    "retry_delay": _retry_delay,
    "memory_limit": _or_none(_memory_limit),
    "max_tasks_per_worker": _or_none(
        _whole(
            1,
            "max_tasks_per_worker must be a whole number of items of at least 1",
            "Write max_tasks_per_worker=100, or leave it out to keep workers.",
        )
    ),
    "initializer": _or_none(
        _such(
            callable, "initializer must be callable", "Write initializer=function, initargs=(1, 2)."
        )
    ),
    "initargs": _initargs,
    "threads_per_worker": _or_none(
        _whole(
            1,
            "threads_per_worker must be a whole number of at least 1",
            "Write threads_per_worker=1, or leave it out to share the CPUs among the workers.",
        )
    ),
    "seed": _or_none(_whole(-math.inf, "seed must be a whole number", "Write seed=42.")),
    "pickling": one_of("pickling", ("strict", "by-value")),
    "progress": _such(
        lambda value: isinstance(value, (bool, str)) or callable(value),
        "progress must be True, a label, 'lines', or a function of (done, total)",
        "Write progress=True, progress='resizing' or progress='lines'.",
    ),
    "nested": one_of("nested", ("serial", "error")),
    "forward_logs": _such(
        lambda value: isinstance(value, bool),
        "forward_logs must be True or False",
        "Write forward_logs=False to keep them.",
    ),
    "combine": _or_none(
        _such(
            callable,
            "combine must be a function that takes the list of the pieces' results",
            "Write combine=sum.",
        )
    ),
}
"""Every option, in the order of the documentation, with what checks it."""
