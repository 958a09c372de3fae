"""Context variables travel by name: by the module that holds them, and their name in it.

A variable is its identity, so a copy would be another variable. In a module that a worker cannot
import (``__main__``, a notebook) the same name means the same variable for as long as the worker
lives.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from procession.pickling.importable import MAIN
from procession.pickling.objects import class_of
from procession.pickling.refusals import Refusal, Refused

__all__ = ["named_variable", "reduce_variable"]

_places: dict[int, tuple[str, str]] = {}
_made: dict[tuple[str, str], ContextVar[Any]] = {}


def reduce_variable(variable: ContextVar[Any]) -> Any:
    """Reducer of context variables.

    Raises:
        Refused: If no module holds the variable under a name.
    """
    place = _places.get(id(variable))
    if place is None or _at(*place) is not variable:
        place = _search(variable)
        if place is None:
            raise Refused(
                Refusal(
                    f"the context variable {variable.name!r}",
                    "A context variable travels by name, and no module holds this one under one.",
                    "Make it at the top level of a module, or pass its value{or_leave_out}.",
                )
            )
        _places[id(variable)] = place
    return named_variable, (*place, variable.name)


def named_variable(module: str, attribute: str, name: str) -> ContextVar[Any]:
    """The variable that `module` holds under `attribute`, made if the module is not here."""
    if module not in MAIN and module not in sys.modules:
        try:
            __import__(module)
        except ImportError:
            pass
    found = _at(module, attribute)
    if class_of(found) is ContextVar:
        variable: ContextVar[Any] = found
        return variable
    return _made.setdefault((module, attribute), ContextVar(name))


def _at(module: str, attribute: str) -> Any:
    made = _made.get((module, attribute))
    return made or getattr(sys.modules.get(module), "__dict__", {}).get(attribute)


def _search(variable: ContextVar[Any]) -> tuple[str, str] | None:
    for place, made in _made.items():
        if made is variable:
            return place
    loaded: list[tuple[str, Any]] = list(sys.modules.items())  # not all of them are modules
    modules = [(name, vars(m)) for name, m in loaded if isinstance(m, ModuleType)]
    for name, contents in modules:
        if contents.get(variable.name) is variable:
            return name, variable.name
    for name, contents in modules:
        for attribute, value in list(contents.items()):
            if value is variable:
                return name, attribute
    return None
