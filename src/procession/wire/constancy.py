"""Whether a by-value function still means what it meant when it was last pickled.

Pickling by value copies the globals that a function uses, so an old pickle may be sent again only
if none of them has changed. That can be known cheaply where all of them are atoms, modules,
importable classes, or functions of which the same holds. Otherwise there is no fingerprint, and
the function is pickled again.
"""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from procession.wire.importing import importable, resolves
from procession.wire.kinds import class_of, is_a
from procession.wire.references import is_decorated, reference_to

__all__ = ["fingerprint"]

_ATOMS = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))
_MOST = 200


class _Changeable(Exception):
    pass


def fingerprint(function: FunctionType) -> tuple[Any, ...] | None:
    """Equal as long as pickling `function` by value would give the same; `None` if nobody knows."""
    parts: list[Any] = []
    waiting: list[Any] = [function]
    seen: set[int] = set()
    try:
        while waiting:
            value = waiting.pop()
            if id(value) not in seen:
                seen.add(id(value))
                _add(value, parts, waiting)
            if len(parts) > _MOST:
                return None
    except _Changeable:
        return None
    return tuple(parts)


def _add(value: Any, parts: list[Any], waiting: list[Any]) -> None:
    if type(value) in _ATOMS:
        parts += (type(value), value)
    elif class_of(value) is tuple:
        parts += (tuple, len(value))
        waiting += value
    elif is_decorated(value):
        parts.append(_Same(value))
        if reference_to(value) is None:
            waiting.append(value.__wrapped__)
    elif type(value) is FunctionType:
        parts.append(_Same(value))
        if not (importable(value.__module__) and resolves(value)):
            _add_function(value, parts, waiting)
    elif isinstance(value, (ModuleType, BuiltinFunctionType)) or _is_fixed_class(value):
        parts.append(_Same(value))
    else:
        raise _Changeable


def _is_fixed_class(value: Any) -> bool:
    return is_a(value, type) and importable(value.__module__) and resolves(value)


def _add_function(function: FunctionType, parts: list[Any], waiting: list[Any]) -> None:
    from procession.wire.code import used_globals

    if function.__dict__ and set(function.__dict__) != {"__wrapped__"}:
        raise _Changeable
    parts += (_Same(function.__code__), function.__name__, function.__qualname__, function.__doc__)
    waiting += function.__dict__.values()
    for name, value in used_globals(function).items():
        parts.append(name)
        waiting.append(value)
    waiting.append(function.__defaults__)
    for name, value in (function.__kwdefaults__ or {}).items():
        parts.append(name)
        waiting.append(value)
    for cell in function.__closure__ or ():
        try:
            waiting.append(cell.cell_contents)
        except ValueError:
            parts.append(None)


class _Same:
    """Compares by identity, and keeps what it stands for alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]
