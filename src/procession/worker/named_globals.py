"""Globals that the code of a failed item names, as they are in the worker and in the caller.

A global of a module that the program has set at run time is not set in a worker, which imports the
module anew. The error that comes of it (``'NoneType' object …``) says nothing of that, so a note
does.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType, TracebackType
from typing import Any, Final

__all__ = ["append_globals", "difference"]

_MOST: Final = 40
"""Globals told of one error. A guess, more than functions name."""

_PLAIN: Final = (int, float, complex, str, bytes, bool)
_SKIPPED: Final = (ModuleType, FunctionType, BuiltinFunctionType, type)
_MISSING: Final = object()

Seen = list[tuple[str, str, str, str]]
"""Module of the code, as what the code names it, module that it is in, and how it looked."""


def append_globals(payload: bytes, function: Any, error: BaseException) -> bytes:
    """Append to a pickled error what the globals look like that its code names.

    Whoever loads the error alone does not see it.
    """
    try:
        seen = _seen(function, error)
    except Exception:  # of the values' own code
        return payload
    return payload + pickle.dumps(seen, 5) if seen else payload


def difference(payload: Any) -> str:
    """A note on the globals that look otherwise in this process; empty if there are none."""
    stream = io.BytesIO(payload)
    pickle.load(stream)
    if stream.tell() == len(stream.getbuffer()):
        return ""
    told: list[str] = []
    seen: Seen = pickle.load(stream)
    for name, module, attribute, there in seen:
        space = getattr(sys.modules.get(module), "__dict__", None)
        if space is None:
            continue
        try:
            here = _look(space.get(attribute, _MISSING))
        except Exception:
            continue
        if here and here != there:
            told.append(f"{name} is {there} in the worker, and {here} in your process")
    if not told:
        return ""
    return (
        f"{'; '.join(told)}. What a program sets in a module at run time is not set in workers, "
        "which import it anew: pass it as an argument, or set it with initializer=."
    )


def _seen(function: Any, error: BaseException) -> Seen:
    found: dict[str, tuple[str, str, str, str]] = {}
    for code, space in _codes(function, error.__traceback__):
        module = space.get("__name__")
        if not isinstance(module, str) or not _is_the_user_s(module, space):
            continue
        for name, home, attribute, value in _named(code, space, module):
            if len(found) >= _MOST:
                return list(found.values())
            look = _look(value)
            if look and name not in found:
                found[name] = (name, home, attribute, look)
        missing = getattr(error, "name", None)
        if isinstance(error, NameError) and missing in code.co_names and missing not in space:
            found[missing] = (missing, module, missing, "not there")
    return list(found.values())


def _codes(
    function: Any, traceback: TracebackType | None
) -> Iterator[tuple[CodeType, dict[str, Any]]]:
    """The function's code, and that of each frame that the error came through."""
    code = getattr(function, "__code__", None)
    if code is not None:
        yield code, function.__globals__
    while traceback is not None:
        yield traceback.tb_frame.f_code, traceback.tb_frame.f_globals
        traceback = traceback.tb_next


def _is_the_user_s(module: str, space: dict[str, Any]) -> bool:
    top = module.partition(".")[0]
    if top in ("__main__", "procession") or top in sys.stdlib_module_names:
        return False  # scripts' functions are sent with their globals
    return getattr(sys.modules.get(module), "__dict__", None) is space


def _named(
    code: CodeType, space: dict[str, Any], module: str
) -> Iterator[tuple[str, str, str, Any]]:
    """What the code names: globals, and attributes of modules that are globals."""
    names = code.co_names
    for name in names:
        value = space.get(name, _MISSING)
        if isinstance(value, ModuleType):
            home = value.__name__
            if _is_the_user_s(home, value.__dict__):
                for attribute in names:
                    if attribute != name and attribute in value.__dict__:
                        yield f"{name}.{attribute}", home, attribute, value.__dict__[attribute]
        elif value is not _MISSING:
            yield name, module, name, value


def _look(value: Any) -> str:
    """What a global looks like, for the note; empty for what is never set at run time."""
    if value is _MISSING:
        return "not there"
    if value is None:
        return "None"
    if isinstance(value, _SKIPPED):
        return ""
    cls: Any = value.__class__
    if cls in _PLAIN:
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:37]}..."
    name = f"{'an' if cls.__name__[0] in 'aeiouAEIOU' else 'a'} {cls.__name__}"
    if cls in (list, dict, set, tuple, frozenset, bytearray):
        return f"an empty {cls.__name__}" if not value else f"{name} that is not empty"
    return name
