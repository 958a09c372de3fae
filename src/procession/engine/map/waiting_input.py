"""Input that may wait for the results of its own items: a generator that the consumer wakes.

It cannot be read ahead in the thread that is to consume those results. Such input is known by what
it holds: something made for threads to wait for each other.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import (
    BuiltinMethodType,
    CellType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any

from procession.pickling.objects import is_a

__all__ = ["may_wait"]

_WAITED_FOR = frozenset(
    {
        *(("threading", name) for name in ("Barrier", "Condition", "Event", "Semaphore")),
        ("queue", "Queue"),
        ("_queue", "SimpleQueue"),
        ("queue", "_PySimpleQueue"),
        ("concurrent.futures._base", "Future"),
    }
)

_DEEPEST = 3
_MOST = 200
"""Objects that are looked at, and steps from one to the next. Guesses: what a generator waits for
is a variable of its own, or an attribute of one."""


def may_wait(iterator: Any) -> bool:
    """Whether an iterator holds something that threads wait for: a queue, an event, a semaphore."""
    seen = {id(iterator)}
    level = [iterator]
    for _ in range(_DEEPEST):
        level = [each for holder in level for each in _held(holder) if id(each) not in seen]
        seen.update(map(id, level))
        if any(map(_is_waited_for, level)):
            return True
        if len(seen) > _MOST:
            return False
    return False


_type: Callable[[object], type[Any]] = type  # for type checkers: of an object that may be anything


def _is_waited_for(value: Any) -> bool:
    kinds = _type(value).__mro__
    return any((kind.__module__, kind.__qualname__) in _WAITED_FOR for kind in kinds)


def _held(holder: Any) -> list[Any]:
    """What an object holds itself."""
    kind = _type(holder)
    if kind is GeneratorType:
        frame = holder.gi_frame
        if frame is None:
            return []
        named = [frame.f_globals.get(name) for name in holder.gi_code.co_names]
        return [*frame.f_locals.values(), *named]
    if kind in (MethodType, BuiltinMethodType):
        return [holder.__self__]
    if kind is CellType or (kind.__module__ in ("builtins", "itertools") and _iterates(kind)):
        held = gc.get_referents(holder)
        return [each for one in held for each in (one if _type(one) is tuple else (one,))]
    if isinstance(holder, (type, ModuleType, FunctionType)):
        return []
    own: Any = getattr(holder, "__dict__", None)
    return list(own.values()) if is_a(own, dict) else []


def _iterates(kind: type) -> bool:
    return hasattr(kind, "__next__")
