"""Whether a function still means what it meant when it was last pickled.

What was pickled for a function may be sent again only if pickling it now would give the same. For a
name that is known cheaply, by following it again. For a function that goes by value it is known if
all the globals that it uses are atoms, modules, importable classes, or such functions. Otherwise
there is nothing to watch, and the function is pickled each time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, CellType, FunctionType, ModuleType

from procession.functions.reloads import generation, latest
from procession.hints import Any
from procession.pickling.importable import importable, resolves
from procession.pickling.objects import ATOMS, class_of, is_a
from procession.pickling.references import (
    Named,
    Reference,
    is_decorated,
    mangled,
    reference_to,
)
from procession.system.identity import working_folder

_CONSTANT = (ModuleType, BuiltinFunctionType, type(Ellipsis))
_MOST = 200
_NOTHING = object()

_Place = tuple[Mapping[Any, Any], Any, Any]


class _Changeable(Exception):
    pass


class Watch:
    """What a pickled function was made of. Keeps all of it, so that no identity is used again."""

    __slots__ = ("_cells", "_folder", "_functions", "_generation", "_named", "_path", "_places")

    def __init__(self, named: Named | None = None) -> None:
        self._named = named or {}
        self._path = list(sys.path)
        self._generation = generation()
        self._folder = working_folder() if "" in self._path else None
        self._places: list[_Place] = []
        self._functions: list[tuple[FunctionType, tuple[Any, ...]]] = []
        self._cells: list[tuple[CellType, Any]] = []

    def holds(self) -> bool:
        """Whether nothing of it has changed."""
        if sys.path != self._path or latest() != self._generation:
            return False
        for space, name, value in self._places:
            if space.get(name, _NOTHING) is not value:
                return False
        for function, (code, defaults, keywords, name, qualname, doc, several) in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keywords
                or function.__name__ is not name
                or function.__qualname__ is not qualname
                or function.__doc__ is not doc
                or len(function.__dict__) != several
            ):
                return False
        for cell, value in self._cells:
            if _contents(cell) is not value:
                return False
        return self._folder is None or working_folder() == self._folder

    # -- what to look at -----------------------------------------------------------------------

    def _name(self, reference: Reference) -> None:
        """A name that leads to something."""
        module, qualname, _ = reference
        found: Any = sys.modules.get(module)
        self._places.append((sys.modules, module, found))
        for part in qualname.split("."):
            holders = [found]
            if is_a(found, type):
                part, holders = mangled(found, part), found.__mro__
            for holder in holders:
                space = getattr(holder, "__dict__", {})
                self._places.append((space, part, space.get(part, _NOTHING)))
                if part in space:
                    found = space[part]
                    break
            else:
                raise _Changeable  # found by some __getattr__

    def _mapping(self, space: Mapping[Any, Any], names: Any) -> list[Any]:
        values = [space.get(name, _NOTHING) for name in names]
        self._places += zip([space] * len(values), names, values, strict=True)
        return [value for value in values if value is not _NOTHING]

    def _function(self, function: FunctionType, names: Iterable[str] | None = None) -> list[Any]:
        """A function that goes by value. What is in it, to be looked at as well."""
        if names is None:
            from procession.pickling.code_rules import global_names

            names = global_names(function)
        inner = function.__dict__
        if inner and set(inner) != {"__wrapped__"}:
            raise _Changeable
        self._functions.append((function, _own(function)))
        found = self._mapping(function.__globals__, names)
        found += self._mapping(inner, list(inner))
        keywords = function.__kwdefaults__
        if keywords is not None:
            found += self._mapping(keywords, list(keywords))
        found.append(function.__defaults__)
        for cell in function.__closure__ or ():
            value = _contents(cell)
            self._cells.append((cell, value))
            if value is not _NOTHING:
                found.append(value)
        return found

    def _add(self, value: Any) -> list[Any]:
        """Look at a value that a function uses; what is in it is to be looked at as well."""
        if type(value) in ATOMS or isinstance(value, _CONSTANT):
            return []
        if id(value) in self._named:
            self._name((*self._named[id(value)], 0))
            return []
        if class_of(value) is tuple:
            return list(value)
        if is_decorated(value):
            reference = reference_to(value)
            if reference is None:
                return [value.__wrapped__]
            self._name(reference)
            return []
        if type(value) is FunctionType or is_a(value, type):
            if importable(value.__module__) and resolves(value):
                self._name((value.__module__, value.__qualname__, 0))
                return []
            if type(value) is FunctionType:
                return self._function(value)
        raise _Changeable


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _NOTHING


def watch(
    function: Callable[..., Any],
    reference: Reference | None,
    named: Named | None = None,
    *,
    names: Iterable[str] | None = None,
) -> Watch | None:
    """Watch what was just pickled for a function; `None` if what it depends on is not known.

    Without a reference it went by value; `named` objects that it uses went by name. `names` are
    those that it may look up, if they are known.
    """
    if type(function) is not FunctionType:
        return None
    made = Watch(named)
    try:
        if reference is not None:
            made._name(reference)
            made._functions.append((function, _own(function)))
            return made
        waiting: list[Any] = [function]
        seen: dict[int, Any] = {}
        while waiting:
            value = waiting.pop()
            if id(value) not in seen:
                seen[id(value)] = value
                if value is function:
                    waiting += made._function(function, names)
                else:
                    waiting += made._add(value)
            if len(seen) > _MOST:
                return None
    except _Changeable:
        return None
    return made


def _own(function: FunctionType) -> tuple[Any, ...]:
    """What a function is compared by, apart from the places where its values stand."""
    return (
        function.__code__,
        function.__defaults__,
        function.__kwdefaults__,
        function.__name__,
        function.__qualname__,
        function.__doc__,
        len(function.__dict__),
    )
