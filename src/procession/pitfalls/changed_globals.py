"""Globals that a function changes in place: each worker has its own, so what is changed is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from opcode import opmap
from types import CodeType, ModuleType

from procession.hints import Any
from procession.system.bytecode import (
    FARTHEST,
    Instruction,
    attribute_of,
    codes,
    instructions,
    keeps,
    line,
    use,
)

_LOAD_GLOBAL = opmap["LOAD_GLOBAL"]
_INSTEAD = {
    "list": "Return the value, or pass procession.shared.List() as an argument.",
    "dict": "Return the value, or pass procession.shared.Dict() as an argument.",
    "numpy array": "Return the value, or pass procession.shared.array(...) as an argument.",
}
_CONTAINERS: tuple[type[Any], ...] = (list, dict, set, bytearray)
_RETURN = "Return the value instead."
_ASSIGNED_WITHIN = 24
"""Instructions from ``m.x += …``'s first to its last, at most: a short expression."""


def changed_globals(code: CodeType, space: dict[str, Any], name: str) -> Iterator[str]:
    """Tell of each global container that the code changes.

    Only what is told by the code itself and by what the names stand for now: a name that is a
    local or a parameter, is only read, or has no container yet, is passed over.

    Args:
        code: The function's.
        space: Its globals.
        name: How messages call it.
    """
    said: set[str] = set()
    for part in codes(code):
        if _LOAD_GLOBAL not in part.co_code[::2]:
            continue
        steps = list(instructions(part))
        for place, (offset, op, arg) in enumerate(steps):
            if op != "LOAD_GLOBAL":
                continue
            variable = part.co_names[arg >> 1]
            after = steps[place + 1 : place + FARTHEST]
            found = _change(part, space.get(variable), variable, after)
            if (
                found is not None
                and use(part, after) == "new item"
                and keeps(part, steps, variable)
            ):
                continue
            if found is not None and found[0] not in said:
                said.add(found[0])
                what, instead = found
                yield (
                    f"{name}() changes the global {what}{line(part, offset)}: a worker changes its "
                    f"own copy, which the caller and the other workers never see. {instead}"
                )


def _change(
    part: CodeType, value: Any, variable: str, after: list[Instruction]
) -> tuple[str, str] | None:
    """What is changed, and what to do instead; `None` if nothing is."""
    if isinstance(value, (ModuleType, type)):
        return _of_namespace(part, value, variable, after)
    kind = _kind(value)
    if kind and use(part, after):
        return f"{variable!r}, a {kind}", _INSTEAD.get(kind, _RETURN)
    return None


def _of_namespace(
    part: CodeType, value: Any, variable: str, after: list[Instruction]
) -> tuple[str, str] | None:
    """The same for ``module.name`` and ``Class.name``, which can be assigned as well."""
    module = value.__name__ if isinstance(value, ModuleType) else value.__module__
    if not after or module.partition(".")[0] in sys.stdlib_module_names:
        return None  # sys.path and the like: for this process's own use, in each worker
    if after[0][1] in ("STORE_ATTR", "DELETE_ATTR"):
        attribute = part.co_names[after[0][2]]
    elif after[0][1] == "COPY" and len(after) > 1 and after[1][1] == "LOAD_ATTR":
        attribute = attribute_of(part, after[1])
        stores = (each for each in after[2:_ASSIGNED_WITHIN] if each[1] == "STORE_ATTR")
        if not any(part.co_names[arg] == attribute for _, _, arg in stores):
            return None
    elif after[0][1] == "LOAD_ATTR":
        attribute = attribute_of(part, after[0])
        kind = _kind(vars(value).get(attribute))
        if not kind or not use(part, after[1:]):
            return None
        return f"'{variable}.{attribute}', a {kind}", _INSTEAD.get(kind, _RETURN)
    else:
        return None
    return f"'{variable}.{attribute}'", "Return the value, or keep it in procession.shared.Value()."


def _kind(value: Any) -> str:
    """What kind of a container of this process's own it is; empty if it is none."""
    cls: Any = value.__class__
    if cls.__module__ == "numpy" and cls.__name__ == "ndarray":
        # One that has no memory of its own may lie in shared memory, or in a file.
        return "numpy array" if value.base is None else ""
    for kind in _CONTAINERS:
        if isinstance(value, kind):
            return kind.__name__
    return "deque" if (cls.__module__, cls.__name__) == ("collections", "deque") else ""
