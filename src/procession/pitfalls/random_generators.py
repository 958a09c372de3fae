"""Random generators of the program's own that a function draws from.

A worker has a copy of each, as it is when the function is sent, and items that run in different
workers draw the same numbers from their copies.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from procession.system.bytecode import codes, instructions, line

__all__ = ["own_generators"]

_MEND = (
    "each worker has a copy of it, and the copies draw the same numbers. Make one for each item "
    "from its index, numpy.random.default_rng([seed, procession.current_task().index]) or "
    "random.Random(f'{seed} {index}'), or map over (item, generator) pairs with rng.spawn(n)."
)

_MOST = 32
"""Functions that are looked through for one that is decorated."""


def own_generators(function: Any, code: CodeType, name: str) -> Iterator[str]:
    """A text for each generator that is a global, an outer variable or a default value."""
    space = function.__globals__
    said: set[str] = set()
    for part in _parts(code, space):
        for variable in part.co_names:
            kind = _kind(space.get(variable)) if variable not in said else ""
            where = _use(part, variable) if kind else None
            if where is not None:
                said.add(variable)
                yield f"{name}() draws from the global {variable!r}, a {kind}{where}: {_MEND}"
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            kind = _kind(cell.cell_contents)
        except ValueError:
            continue  # it has no value yet
        if kind:
            yield f"{name}() draws from {variable!r} of the function around it, a {kind}: {_MEND}"
    for variable, default in _defaults(function, code):
        kind = _kind(default)
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


def _use(code: CodeType, variable: str) -> str | None:
    for offset, op, arg in instructions(code):
        index = arg >> 1 if op == "LOAD_GLOBAL" else -1
        if index >= 0 and code.co_names[index] == variable:
            return line(code, offset)
    return None


def _defaults(function: Any, code: CodeType) -> Iterator[tuple[str, Any]]:
    defaults: tuple[Any, ...] = function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    yield from zip(names, defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()


def _kind(value: Any) -> str:
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
