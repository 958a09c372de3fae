"""Which modules a worker imports before it can run a function, and how many that may be.

A worker that was given items before it has imported their modules keeps them waiting: those of
scikit-learn take more than a second. So workers that start import them before they are ready. And a
pool is started only for items that last longer than that.
"""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType, ModuleType

from procession.functions.plain import names_in
from procession.hints import Any
from procession.pickling.importable import importable
from procession.pickling.objects import class_of, is_a

__all__ = ["modules_to_import", "needed_modules"]

_OURS = ("procession", "wrapt")


def needed_modules(function: Any) -> tuple[str, ...]:
    """The modules that a function names: its own, or if it goes by value those of its globals."""
    if type(function) is not FunctionType:
        return ()
    own = function.__module__
    if importable(own):
        return (own,)
    space = function.__globals__
    found = {_module_of(space.get(name)) for name in names_in(function.__code__)}
    return tuple(sorted(name for name in found if name and importable(name)))


def _module_of(value: Any) -> str:
    kind = class_of(value)
    try:
        if kind is ModuleType:
            name = value.__name__
        elif kind in (FunctionType, BuiltinFunctionType) or is_a(value, type):
            name = value.__module__
        else:
            return ""
    except Exception:
        return ""  # of a metaclass, or of a module that makes its attributes
    return name if type(name) is str else ""


_counted = (0, 0)


def modules_to_import(function: Any) -> int:
    """How many modules a worker may import for a function: none, if it needs only Python's own.

    Which modules belong to which is not known without importing them. So it is all that the program
    has loaded, besides Python's.
    """
    if all(_is_usual(name) for name in needed_modules(function)):
        return 0
    global _counted
    loaded = len(sys.modules)
    if _counted[0] != loaded:
        _counted = loaded, sum(not _is_usual(name) for name in list(sys.modules))
    return _counted[1]


def _is_usual(name: str) -> bool:
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in _OURS or top == "__main__"
