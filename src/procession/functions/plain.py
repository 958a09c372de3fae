"""Functions that can be sent to a worker for sure, told without pickling them.

Whether a function can cross is always looked at, so that it never depends on where its items run.
To pickle one of ``__main__`` takes cloudpickle, and that takes 15 ms to import: more than many
scripts run. Most such functions use nothing but builtins, modules and each other. All others are
pickled, as before.
"""

from __future__ import annotations

from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

from procession.hints import Any
from procession.pickling.importable import importable
from procession.pickling.objects import ATOMS, class_of
from procession.pickling.references import reference_to, why_not_by_value

__all__ = ["surely_crosses"]


def surely_crosses(function: Any, decorated: Any) -> bool:
    """Whether it is certain that the function can be sent; if not, only pickling it tells.

    Args:
        function: The undecorated function.
        decorated: The decorated object it belongs to, or `None`.
    """
    if type(function) is not FunctionType:
        return False
    if decorated is not None and decorated.__wrapped__ is function and reference_to(decorated):
        return True
    return reference_to(function) is not None or _plain(function, decorated, set())


def _plain(function: FunctionType, decorated: Any, seen: set[int]) -> bool:
    """Whether a function goes by value, and all that it uses goes for sure."""
    seen.add(id(function))
    if function.__closure__ or vars(function) or why_not_by_value(function) is not None:
        return False
    own = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    annotations = function.__annotations__.values()
    if not all(type(value) in ATOMS for value in own):
        return False
    if not all(type(each) is str or _is_builtin_class(each) for each in annotations):
        return False
    space = function.__globals__
    return all(
        name not in space or _sure(space[name], decorated, seen)
        for name in _names(function.__code__)
    )


def _names(code: CodeType) -> set[str]:
    """All names that code, or code in it, may look up."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found


def _sure(value: Any, decorated: Any, seen: set[int]) -> bool:
    """Whether a global that a function uses goes for sure."""
    kind = class_of(value)
    if kind in ATOMS or value is decorated or id(value) in seen:
        return True
    if kind is ModuleType:
        return importable(value.__name__)
    if kind is BuiltinFunctionType:
        return type(value.__self__) is ModuleType and importable(value.__self__.__name__)
    if kind is FunctionType:
        return reference_to(value) is not None or _plain(value, decorated, seen)
    return _is_builtin_class(value)


def _is_builtin_class(value: Any) -> bool:
    return type(value) is type and value.__module__ == "builtins"
