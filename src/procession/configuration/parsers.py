"""One parser per option: which values it takes, in which form, and what to write instead."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from procession.configuration.aliases import short
from procession.configuration.compatibility import BACKENDS, CONTEXTS, UNBUILT, context_name

__all__ = ["OPTIONS", "Refused"]

Parser = Callable[[Any], Any]


class Refused(Exception):
    """A value breaks its option's rule; says the rule and what to write instead."""


def _refuse_type(value: object, rule: str, instead: str) -> Refused:
    article = "an" if type(value).__name__[0] in "aeioAEIO" else "a"
    return Refused(f"{rule}, and this is {article} {type(value).__name__}. {instead}")


def _has(value: object, method: str) -> bool:
    return hasattr(type(value), method)


def _or_none(parse: Parser) -> Parser:
    return lambda value: None if value is None else parse(value)


def _whole(least: int, rule: str, instead: str) -> Parser:
    """A parser for whole numbers; anything with ``__index__`` is one, except a bool."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not _has(value, "__index__"):
            raise _refuse_type(value, rule, instead)
        number = operator.index(value)
        if number < least:
            raise Refused(f"{rule}. {instead}")
        return number

    return parse


def _workers(value: Any) -> int:
    if not isinstance(value, (bool, str, float)) and value == -1:
        raise Refused(
            "workers must be a whole number of at least 1. All usable CPUs are what you "
            "get when you leave it out."
        )
    return int(_WORKERS(value))


_WORKERS: Final = _whole(
    1,
    "workers must be a whole number of at least 1",
    "Write workers=4, or leave it out for all usable CPUs.",
)


def _backend(value: Any) -> Any:
    if isinstance(value, str):
        if value in BACKENDS:
            return value
        if value in UNBUILT:
            raise Refused(
                f"the backend {value!r} is not part of this release. {_choose('backend', BACKENDS)}"
            )
        raise Refused(
            f"there is no such backend. {_choose('backend', BACKENDS, value, _BACKEND_ALIASES)} "
            "Or give a concurrent.futures.Executor."
        )
    # An executor's module is loaded, so nothing is imported to find out.
    base: Any = sys.modules.get("concurrent.futures._base")
    if base is not None and isinstance(value, base.Executor):
        return value
    if base is not None and isinstance(value, type) and issubclass(value, base.Executor):
        raise Refused(
            f"this is the class, and an executor itself is needed. "
            f"Write backend={value.__name__}(...)."
        )
    raise _refuse_type(
        value,
        "backend must be a name or a concurrent.futures.Executor",
        _choose("backend", BACKENDS),
    )


_BACKEND_ALIASES: Final = {
    "processes": "process",
    "multiprocessing": "process",
    "mp": "process",
    "pool": "process",
    "threads": "thread",
    "threading": "thread",
    "sequential": "serial",
    "sync": "serial",
    "synchronous": "serial",
    "inline": "serial",
    "local": "serial",
    "concurrent.futures": "stdlib",
    "futures": "stdlib",
    "joblib": "loky",
}


def _address(value: Any) -> str:
    if not isinstance(value, str):
        raise _refuse_type(
            value, "address must be a string", "Write address='tcp://scheduler:8786'."
        )
    if not value:
        raise Refused("address must not be empty. Write address='tcp://scheduler:8786'.")
    return value


def _context(value: Any) -> Any:
    if isinstance(value, str):
        if value not in CONTEXTS:
            raise Refused(
                f"there is no such start context. {_choose('context', CONTEXTS, value)} "
                "Or give a multiprocessing context object."
            )
    elif (
        isinstance(value, (type, ModuleType))
        or not callable(getattr(value, "Process", None))
        or not callable(getattr(value, "get_start_method", None))
    ):
        raise _refuse_type(
            value,
            "context must be a name or a multiprocessing context object",
            "Write context='spawn' or context=multiprocessing.get_context('spawn').",
        )
    if sys.platform == "win32" and context_name(value) in ("fork", "forkserver"):
        raise Refused("Windows cannot fork. Write context='spawn' or context='loky'.")
    return value


def _chunk(value: Any) -> Any:
    if isinstance(value, str):
        if value == "auto":
            return value
        raise Refused(f"{_CHUNK_RULE}. {_CHUNK_INSTEAD}")
    return _CHUNK(value)


_CHUNK_RULE: Final = "chunk must be 'auto' or a whole number of at least 1"
_CHUNK_INSTEAD: Final = "Write chunk=16, or leave it out: chunks are then sized by measured time."
_CHUNK: Final = _whole(1, _CHUNK_RULE, _CHUNK_INSTEAD)


def _inline(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and value == "auto"):
        return value
    rule = "inline must be 'auto', True or False"
    instead = "Write inline=False to run no item in this process."
    if isinstance(value, str):
        raise Refused(f"{rule}. {instead}")
    raise _refuse_type(value, rule, instead)


def _timeout(value: Any) -> float:
    rule = "timeout must be a finite number of seconds above 0"
    instead = "Write timeout=5.0, or leave it out for no limit."
    if hasattr(value, "total_seconds"):
        raise _refuse_type(value, rule, f"Write timeout={value.total_seconds()!r}.")
    if isinstance(value, (bool, str, bytes, complex)) or not _has(value, "__float__"):
        raise _refuse_type(value, rule, instead)
    seconds = float(value)
    if not (seconds > 0 and math.isfinite(seconds)):
        raise Refused(f"{rule}. {instead}")
    return seconds


def _retry_on(value: Any) -> tuple[type[Exception], ...]:
    classes = _as_tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for cls in classes:
        _check_exception_class(cls)
    return classes


def _check_exception_class(cls: Any) -> None:
    rule = "retry_on must be an exception class or a tuple of them"
    given: object = cls
    if not isinstance(cls, type) or not issubclass(cls, BaseException):
        raise _refuse_type(given, rule, "Write retry_on=(OSError, ValueError).")
    if not issubclass(cls, Exception):
        raise Refused(
            f"{rule}, derived from Exception, and {cls.__name__} asks to stop. "
            "Write retry_on=(OSError,)."
        )


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value)


_LEAST_MEMORY: Final = 10**6
"""A smaller limit is a slip of units: an interpreter alone takes ten times as much."""

_UNITS: Final = {
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
            raise Refused(f"{rule}. {instead}")
        size = int(float(digits) * _UNITS[unit])
    elif isinstance(value, bool) or not _has(value, "__index__"):
        raise _refuse_type(value, rule, instead)
    else:
        size = operator.index(value)
    if size < _LEAST_MEMORY:
        raise Refused(
            f"memory_limit counts bytes, and {size} bytes are less than Python itself takes. "
            f"{instead}"
        )
    return size


def _initializer(value: Any) -> Any:
    if not callable(value):
        raise _refuse_type(
            value, "initializer must be callable", "Write initializer=function, initargs=(1, 2)."
        )
    return value


def _initargs(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise _refuse_type(value, "initargs must be a tuple", f"Write initargs=({short(value)},).")
    return _as_tuple(value)


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not _has(value, "__index__"):
        raise _refuse_type(value, "seed must be a whole number", "Write seed=42.")
    return operator.index(value)


def _progress(value: Any) -> Any:
    if isinstance(value, (bool, str)) or callable(value):
        return value
    raise _refuse_type(
        value,
        "progress must be True, a label, or a function of (done, total)",
        "Write progress=True or progress='resizing'.",
    )


def _forward_logs(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refuse_type(
            value, "forward_logs must be True or False", "Write forward_logs=False to keep them."
        )
    return value


def _combine(value: Any) -> Any:
    if not callable(value):
        raise _refuse_type(
            value,
            "combine must be a function that takes the list of the pieces' results",
            "Write combine=sum.",
        )
    return value


def _one_of(option: str, names: tuple[str, ...]) -> Parser:
    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise _refuse_type(value, f"{option} must be a name", _choose(option, names))
        if value not in names:
            raise Refused(f"there is no such {option} mode. {_choose(option, names, value)}")
        return value

    return parse


def _choose(
    option: str,
    names: tuple[str, ...],
    given: str = "",
    aliases: Mapping[str, str] | None = None,
) -> str:
    import difflib

    near = (aliases or {}).get(given.lower().strip())
    if near is None and given:
        near = next(iter(difflib.get_close_matches(given.lower(), names, 1, 0.6)), None)
    known = ", ".join(map(repr, names[:-1])) + f" and {names[-1]!r}"
    first = f"Write {option}={near!r}. " if near else ""
    return f"{first}The names are {known}."


OPTIONS: Final[dict[str, Parser]] = {
    "workers": _or_none(_workers),
    "backend": _backend,
    "address": _or_none(_address),
    "context": _or_none(_context),
    "chunk": _chunk,
    "window": _or_none(
        _whole(
            1,
            "window must be a whole number of items of at least 1",
            "Write window=1000, or leave it out.",
        )
    ),
    "inline": _inline,
    "timeout": _or_none(_timeout),
    "retries": _whole(
        0, "retries must be a whole number of at least 0", "Write retries=2 for up to three runs."
    ),
    "retry_on": _retry_on,
    "memory_limit": _or_none(_memory_limit),
    "max_tasks_per_worker": _or_none(
        _whole(
            1,
            "max_tasks_per_worker must be a whole number of items of at least 1",
            "Write max_tasks_per_worker=100, or leave it out to keep workers.",
        )
    ),
    "initializer": _or_none(_initializer),
    "initargs": _initargs,
    "threads_per_worker": _or_none(
        _whole(
            1,
            "threads_per_worker must be a whole number of at least 1",
            "Write threads_per_worker=1, or leave it out to share the CPUs among the workers.",
        )
    ),
    "seed": _or_none(_seed),
    "pickling": _one_of("pickling", ("strict", "by-value")),
    "progress": _progress,
    "nested": _one_of("nested", ("serial", "error")),
    "forward_logs": _forward_logs,
    "combine": _or_none(_combine),
}
"""Every option, in the order of the documentation, with what checks it."""
