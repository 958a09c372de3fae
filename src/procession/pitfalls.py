"""Things that work in one process and quietly do not in several, seen in a function's code.

Each worker has globals of its own, so what a function assigns there is lost to the caller and to
the other workers. Only the compiled code is looked at: no source is read, nothing is run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from opcode import HAVE_ARGUMENT, opmap, opname, stack_effect
from types import CodeType
from typing import Any

from procession._warn import warn_user

__all__ = ["pitfalls", "warn_about"]

Instruction = tuple[int, str, int]
"""(offset, name, argument)."""

_STORE_GLOBAL = frozenset({opmap["STORE_GLOBAL"], opmap["DELETE_GLOBAL"]})
_STORE_OUTER = frozenset({opmap["STORE_DEREF"], opmap["DELETE_DEREF"]})
_EXTENDED_ARG = opmap["EXTENDED_ARG"]
_CHANGES = frozenset(
    {
        "append",
        "appendleft",
        "extend",
        "extendleft",
        "insert",
        "remove",
        "pop",
        "popleft",
        "popitem",
        "clear",
        "sort",
        "reverse",
        "add",
        "discard",
        "update",
        "setdefault",
        "difference_update",
        "intersection_update",
        "symmetric_difference_update",
        "subtract",
    }
)
_MUTABLE = (list, dict, set, bytearray)
_IN_PLACE = 13  # the first of BINARY_OP's arguments that stand for +=, -= and so on
_FARTHEST = 60
_UNSHARED = {
    "lock": "a lock",
    "RLock": "a lock",
    "_RLock": "a lock",
    "Lock": "a lock",
    "Condition": "a condition",
    "Semaphore": "a semaphore",
    "BoundedSemaphore": "a semaphore",
    "TextIOWrapper": "an open file",
    "BufferedReader": "an open file",
    "BufferedWriter": "an open file",
    "BufferedRandom": "an open file",
    "FileIO": "an open file",
}
_HOMES = frozenset({"_thread", "threading", "_io", "multiprocessing.synchronize"})


def warn_about(function: Callable[..., Any]) -> None:
    """Warn of each pitfall in the code of a function that is being decorated."""
    for text in pitfalls(function):
        warn_user(text)


def pitfalls(function: Callable[..., Any]) -> list[str]:
    """What in a function's code will not do in several processes what it does in one."""
    function = _inner(function)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return []
    name = code.co_qualname.rpartition("<locals>.")[2]
    if code.co_name == "<lambda>":
        return [
            "A lambda was decorated: it has no name by which a worker could find it, and runs "
            'elsewhere only under pickling="by-value". Write a def at the top of a module.'
        ]
    found = [*_assigned_globals(code, name), *_assigned_outer(code, name)]
    found += _changed_defaults(function, code, name)
    found += _unshared_globals(function, code, name)
    return found


def _inner(function: Any) -> Any:
    for _ in range(20):
        inner = getattr(function, "__func__", None) or getattr(function, "func", None)
        if hasattr(function, "__code__") or inner is None:
            return function
        function = inner
    return function


def _instructions(code: CodeType) -> Iterator[Instruction]:
    """The code's instructions, as far as the checks below need them.

    `dis` would do, and costs ten times as much.
    """
    raw = code.co_code
    extended = 0
    for offset in range(0, len(raw), 2):
        op, arg = raw[offset], raw[offset + 1] | extended
        if op == _EXTENDED_ARG:
            extended = arg << 8
            continue
        extended = 0
        name = opname[op]
        if name in ("LOAD_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST", "STORE_FAST_LOAD_FAST"):
            first, second = name[:-5].rsplit("_", 2)[0], name.rsplit("_", 2)[1] + "_FAST"
            yield offset, _first_half(first), arg >> 4
            yield offset, second, arg & 15
        elif op:  # not a cache
            yield offset, name, arg


def _first_half(name: str) -> str:
    return "LOAD_FAST" if name.startswith("LOAD") else "STORE_FAST"


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


def _line(code: CodeType, offset: int) -> str:
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            return f" (line {line})"
    return ""


def _assigned_globals(code: CodeType, name: str) -> Iterator[str]:
    said: set[str] = set()
    for part in _codes(code):
        if _STORE_GLOBAL.isdisjoint(part.co_code[::2]):
            continue
        for offset, op, arg in _instructions(part):
            if op in ("STORE_GLOBAL", "DELETE_GLOBAL") and part.co_names[arg] not in said:
                said.add(part.co_names[arg])
                yield (
                    f"{name}() assigns the global {part.co_names[arg]!r}{_line(part, offset)}: a "
                    "worker assigns its own copy, which the caller and the other workers never "
                    "see. Return the value, or keep it in procession.shared.Value()."
                )


def _assigned_outer(code: CodeType, name: str) -> Iterator[str]:
    if not code.co_freevars or _STORE_OUTER.isdisjoint(code.co_code[::2]):
        return
    first = len({*code.co_varnames, *code.co_cellvars})
    said: set[str] = set()
    for offset, op, arg in _instructions(code):
        if op in ("STORE_DEREF", "DELETE_DEREF") and arg >= first:
            variable = code.co_freevars[arg - first]
            if variable not in said:
                said.add(variable)
                yield (
                    f"{name}() assigns the nonlocal {variable!r}{_line(code, offset)}: a worker "
                    "assigns its own copy, which the caller never sees. Return the value instead."
                )


def _changed_defaults(function: Any, code: CodeType, name: str) -> Iterator[str]:
    defaults = function.__defaults__ or ()
    named: Any = zip(
        code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True
    )
    keyword_only: dict[str, Any] = function.__kwdefaults__ or {}
    pairs: list[tuple[str, Any]] = [*named, *keyword_only.items()]
    for parameter, default in pairs:
        if isinstance(default, _MUTABLE) and parameter not in code.co_cellvars:
            offset = _change_of(parameter, code)
            if offset is not None:
                yield (
                    f"{name}() changes {parameter!r}, whose default is one {_kind(default)} for "
                    f"all calls{_line(code, offset)}: each worker has its own, so what one call "
                    "leaves there is not seen by all others. Default to None and make a new one "
                    "inside, or pass it and return it."
                )


def _kind(default: Any) -> str:
    return next(kind.__name__ for kind in _MUTABLE if isinstance(default, kind))


def _change_of(parameter: str, code: CodeType) -> int | None:
    """Where a parameter's object is changed in place; `None` if it is not, or is rebound."""
    local = code.co_varnames.index(parameter)
    steps = list(_instructions(code))
    found: int | None = None
    in_place = False
    for place, (offset, op, arg) in enumerate(steps):
        if arg == local and op.startswith("LOAD_FAST") and found is None:
            change = _use(code, steps[place + 1 : place + _FARTHEST])
            if change:
                found, in_place = offset, change == "in place"
        elif arg == local and op == "STORE_FAST" and not in_place:
            return None
    return found


def _use(code: CodeType, steps: list[Instruction]) -> str:
    """How the object on top of the stack is changed by what follows; empty if it is not."""
    if steps and steps[0][1] in ("LOAD_ATTR", "LOAD_METHOD"):
        _, op, arg = steps[0]
        index = arg >> 1 if op == "LOAD_ATTR" and sys.version_info >= (3, 12) else arg
        return "method" if code.co_names[index] in _CHANGES else ""
    above = 0  # what lies on the stack above the object
    for _, op, arg in steps:
        if above == 1 and op in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            return "item"
        if above == 2 and op == "STORE_SLICE":
            return "item"
        if above == 1 and op == "BINARY_OP" and arg >= _IN_PLACE:
            return "in place"
        if "JUMP" in op or op.startswith(("FOR_", "RETURN", "RAISE")):
            return ""
        above += _effect(op, arg)
        if above < 0:
            return ""
    return ""


def _effect(op: str, arg: int) -> int:
    number = opmap[op]
    return stack_effect(number, arg if number >= HAVE_ARGUMENT else None)


def _unshared_globals(function: Any, code: CodeType, name: str) -> Iterator[str]:
    space = function.__globals__
    for variable in code.co_names:
        value = space.get(variable)
        if value is None:
            continue
        cls: Any = value.__class__
        kind = _UNSHARED.get(cls.__name__)
        if kind is None or cls.__module__ not in _HOMES or _is_standard(value):
            continue
        for offset, op, arg in _instructions(code):
            index = arg >> 1 if op == "LOAD_GLOBAL" else -1
            if index >= 0 and code.co_names[index] == variable:
                yield _unshared(name, variable, kind, _line(code, offset))
                break


def _is_standard(value: Any) -> bool:
    streams = (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)
    return value in streams or bool(getattr(value, "closed", False))


def _unshared(name: str, variable: str, kind: str, line: str) -> str:
    if kind == "an open file":
        return (
            f"{name}() uses the global {variable!r}, which is an open file{line}: a worker has "
            "another one, or the same one at another's position. Open it inside the function, or "
            "once per worker with procession.per_worker(factory)."
        )
    return (
        f"{name}() uses the global {variable!r}, which is {kind}{line}: each worker has its own, "
        "so it keeps no two of them apart. Pass procession.shared.Lock() (or Condition, "
        "Semaphore) as an argument."
    )
