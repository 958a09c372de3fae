"""Things that work in one process and quietly do not in several, seen in a function's code.

Each worker has globals of its own, so what a function assigns there is lost to the caller and to
the other workers. Only the compiled code is looked at: no source is read, nothing is run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from opcode import opmap
from types import CodeType, FunctionType

from procession.errors import warn_user
from procession.hints import Any
from procession.pitfalls.changed_globals import changed_globals
from procession.system.bytecode import FARTHEST, codes, instructions, line, makes_once, use

_STORE_GLOBAL = frozenset({opmap["STORE_GLOBAL"], opmap["DELETE_GLOBAL"]})
_STORE_OUTER = frozenset({opmap["STORE_DEREF"], opmap["DELETE_DEREF"]})
_MUTABLE = (list, dict, set, bytearray)
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


def warn_about(function: Callable[..., Any], *, by_value: bool) -> None:
    """Warn of each pitfall in the code of a function that is being decorated."""
    for text in pitfalls(function, by_value=by_value):
        warn_user(text)


def pitfalls(function: Callable[..., Any], *, by_value: bool = False) -> list[str]:
    """What in a function's code will not do in several processes what it does in one.

    Args:
        function: The function, undecorated.
        by_value: Whether it needs no name by which it can be found.
    """
    function = _inner(function)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType) or not hasattr(function, "__globals__"):
        return []  # such as what numba compiles, which keeps the code of what it was
    name = code.co_qualname.rpartition("<locals>.")[2]
    if code.co_name == "<lambda>" and not by_value:
        return [
            "A lambda was decorated: it has no name by which a worker could find it, and runs "
            'elsewhere only under pickling="by-value". Write a def at the top of a module.'
        ]
    found = [*_assigned_globals(code, name), *_assigned_outer(code, name)]
    found += changed_globals(code, function.__globals__, name)
    found += _changed_defaults(function, code, name)
    found += _unshared_globals(function, code, name)
    found += _own_generators(function, code, name)
    return found


def _inner(function: Any) -> Any:
    for _ in range(20):
        inner = getattr(function, "__func__", None) or getattr(function, "func", None)
        if hasattr(function, "__code__") or inner is None:
            return function
        function = inner
    return function


def _assigned_globals(code: CodeType, name: str) -> Iterator[str]:
    said: set[str] = set()
    for part in codes(code):
        if _STORE_GLOBAL.isdisjoint(part.co_code[::2]):
            continue
        steps = list(instructions(part))
        for offset, op, arg in steps:
            if op in ("STORE_GLOBAL", "DELETE_GLOBAL") and part.co_names[arg] not in said:
                if makes_once(part, steps, part.co_names[arg]):
                    continue
                said.add(part.co_names[arg])
                yield (
                    f"{name}() assigns the global {part.co_names[arg]!r}{line(part, offset)}: a "
                    "worker assigns its own copy, which the caller and the other workers never "
                    "see. Return the value, or keep it in procession.shared.Value()."
                )


def _assigned_outer(code: CodeType, name: str) -> Iterator[str]:
    if not code.co_freevars or _STORE_OUTER.isdisjoint(code.co_code[::2]):
        return
    first = len({*code.co_varnames, *code.co_cellvars})
    said: set[str] = set()
    for offset, op, arg in instructions(code):
        if op in ("STORE_DEREF", "DELETE_DEREF") and arg >= first:
            variable = code.co_freevars[arg - first]
            if variable not in said:
                said.add(variable)
                yield (
                    f"{name}() assigns the nonlocal {variable!r}{line(code, offset)}: a worker "
                    "assigns its own copy, which the caller never sees. Return the value instead."
                )


def _changed_defaults(function: Any, code: CodeType, name: str) -> Iterator[str]:
    for parameter, default in _all_defaults(function, code):
        if isinstance(default, _MUTABLE) and parameter not in code.co_cellvars:
            offset = _change_of(parameter, code)
            if offset is not None:
                yield (
                    f"{name}() changes {parameter!r}, whose default is one {_kind(default)} for "
                    f"all calls{line(code, offset)}: each worker has its own, so what one call "
                    "leaves there is not seen by all others. Default to None and make a new one "
                    "inside, or pass it and return it."
                )


def _kind(default: Any) -> str:
    return next(kind.__name__ for kind in _MUTABLE if isinstance(default, kind))


def _change_of(parameter: str, code: CodeType) -> int | None:
    """Where a parameter's object is changed in place; `None` if it is not, or is rebound."""
    local = code.co_varnames.index(parameter)
    steps = list(instructions(code))
    found: int | None = None
    in_place = False
    for place, (offset, op, arg) in enumerate(steps):
        if arg == local and op.startswith("LOAD_FAST") and found is None:
            change = use(code, steps[place + 1 : place + FARTHEST])
            if change:
                found, in_place = offset, change == "in place"
        elif arg == local and op == "STORE_FAST" and not in_place:
            return None
    return found


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
        where = _first_use(code, variable)
        if where is not None:
            yield _unshared(name, variable, kind, where)


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


# -- random generators ---------------------------------------------------------------------------
# A worker has a copy of each of the program's own, as it is when the function is sent. Items that
# run in different workers draw the same numbers from their copies.

_MEND = (
    "each worker has a copy of it, and the copies draw the same numbers. Make one for each item "
    "from its index: numpy.random.default_rng([seed, procession.current_task().index]) or "
    "random.Random(f'{seed} {index}'), or map over (item, generator) pairs with rng.spawn(n)."
)

_MOST = 32
"""Functions that are looked through for one that is decorated."""


def _own_generators(function: Any, code: CodeType, name: str) -> Iterator[str]:
    """A text for each generator that is a global, an outer variable or a default value."""
    space = function.__globals__
    said: set[str] = set()
    for part in _parts(code, space):
        for variable in part.co_names:
            kind = _generator(space.get(variable)) if variable not in said else ""
            where = _first_use(part, variable) if kind else None
            if where is not None:
                said.add(variable)
                yield f"{name}() draws from the global {variable!r}, a {kind}{where}: {_MEND}"
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            kind = _generator(cell.cell_contents)
        except ValueError:
            continue  # it has no value yet
        if kind:
            yield f"{name}() draws from {variable!r} of the function around it, a {kind}: {_MEND}"
    for variable, default in _all_defaults(function, code):
        kind = _generator(default)
        if kind:
            yield f"{name}() draws from the default of {variable!r}, a {kind}: {_MEND}"


def _parts(code: CodeType, space: dict[str, Any]) -> Iterator[CodeType]:
    """The code, that of the functions inside it, and that of those of its module that it names."""
    waiting, seen = [code], {code}
    while waiting:
        for part in codes(waiting.pop()):
            yield part
            for variable in part.co_names:
                helper = space.get(variable)
                if type(helper) is not FunctionType or helper.__globals__ is not space:
                    continue
                if helper.__code__ not in seen and len(seen) < _MOST:
                    seen.add(helper.__code__)
                    waiting.append(helper.__code__)


def _first_use(code: CodeType, variable: str) -> str | None:
    for offset, op, arg in instructions(code):
        index = arg >> 1 if op == "LOAD_GLOBAL" else -1
        if index >= 0 and code.co_names[index] == variable:
            return line(code, offset)
    return None


def _all_defaults(function: Any, code: CodeType) -> Iterator[tuple[str, Any]]:
    defaults: tuple[Any, ...] = function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    yield from zip(names, defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()


def _generator(value: Any) -> str:
    """What kind of generator it is; empty for anything else, and for the modules' own."""
    kinds: list[tuple[str, str, str]] = [
        ("random", "Random", "_inst"),
        ("numpy.random", "Generator", ""),
        ("numpy.random", "RandomState", "mtrand._rand"),
        ("torch", "Generator", "default_generator"),
    ]
    cls: Any = value.__class__
    for module, kind, own in kinds:
        found: Any = getattr(sys.modules.get(module), kind, None)
        if not isinstance(found, type) or not issubclass(cls, found):
            continue
        if module == "random" and cls.__name__ == "SystemRandom":
            return ""
        the_modules: Any = sys.modules[module]
        for part in own.split(".") if own else ():
            the_modules = getattr(the_modules, part, None)
        return "" if value is the_modules else f"{module}.{kind}"
    return ""
