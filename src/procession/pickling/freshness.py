"""Whether code still means what it meant when it was last pickled.

What was pickled for a function or a class may be sent again only if pickling it now would give the
same. For a name that is known cheaply, by following it again. For what goes by value it is known if
all that it uses is known: atoms, modules, importable classes, functions and classes that go by
value themselves, objects with plain attributes, and containers of these. Otherwise there is nothing
to watch, and it is pickled each time.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from operator import attrgetter, is_
from types import FunctionType

from procession.hints import Any
from procession.pickling.contents import (
    BY_TYPE,
    CACHED,
    Batch,
    HeldBy,
    copier,
    is_constant,
    is_mapping,
    is_plain,
    of_cell,
    of_class,
    of_defaultdict,
    of_function,
    parts_that_stay,
    values,
)
from procession.pickling.importable import importable, latest_generation, resolves
from procession.pickling.objects import ATOMS, class_of, is_a, type_name
from procession.pickling.references import (
    Named,
    Reference,
    is_decorated,
    mangled,
    reference_to,
)
from procession.system.cpython import slot_names, virtual_subclasses
from procession.system.identity import working_folder
from procession.system.interrupts import tried

_MOST = 1000
"""Things to look at, besides atoms. To look at one takes a tenth of a microsecond, and to pickle it
ten times that."""

_MOST_ENTRIES = 10_000
"""Of a container: what is watched is kept, so no one could let go of a large one. A guess."""

_NOTHING = object()

_OF_MODULE = ("__name__", "__file__")
"""Globals that go with each function, and may be set."""

_Place = tuple[Mapping[Any, Any], Any, Any]


class _Changeable(Exception):
    pass


class Watch:
    """What a pickle was made of. Keeps all of it, so that no identity is used again."""

    __slots__ = (
        *("_batches", "_copies", "_empty", "_folder", "_functions", "_generation", "_named"),
        *("_path", "_places", "_sizes", "_slots", "_spaces"),
    )

    def __init__(self, named: Named | None = None) -> None:
        self._named = named or {}
        self._path = list(sys.path)
        self._generation = latest_generation()
        self._folder = working_folder() if "" in self._path else None
        self._places: list[_Place] = []
        self._functions: list[tuple[FunctionType, tuple[Any, ...]]] = []
        self._batches: dict[HeldBy, Batch] = {}
        self._slots: dict[type, HeldBy] = {}
        self._spaces: set[int] = set()
        self._sizes: list[int] = []  # of containers
        self._copies: list[tuple[Callable[[Any], Any], Any, Any]] = []
        self._empty: list[Mapping[Any, Any]] = []

    def holds(self) -> bool:
        """Whether nothing of it has changed."""
        if sys.path != self._path or latest_generation() != self._generation:
            return False
        for space, name, value in self._places:
            if space.get(name, _NOTHING) is not value:
                return False
        if any(self._empty):
            return False
        for function, before in self._functions:
            if not all(map(is_, of_function(function), before)):
                return False
        # Something may be missing, or be code of the user's by now.
        if (self._batches or self._copies) and not tried(False, self._insides_hold):
            return False
        return self._folder is None or working_folder() == self._folder

    def _insides_hold(self) -> bool:
        # What has moved from the end of one to the start of the next is seen by their sizes.
        if self._sizes and list(map(len, self._batches[iter].things)) != self._sizes:
            return False
        if any(take(thing) != before for take, thing, before in self._copies):
            return False
        return all(batch.holds() for batch in self._batches.values())

    # -- what to look at -----------------------------------------------------------------------

    def see(self, roots: Iterable[Any], names: Iterable[str] | None = None) -> bool:
        """Look at all of these, which go by value, and at what they use; whether it is known.

        Args:
            roots: Functions and classes.
            names: What the code of each root may look up, if that is known.
        """
        # The metaclass of something that is used may raise, too.
        return bool(tried(False, self._see, list(roots), names))

    def _see(self, waiting: list[Any], names: Iterable[str] | None) -> bool:
        first = {id(root) for root in waiting}
        seen: dict[int, Any] = {}
        while waiting:
            value = waiting.pop()
            if type(value) in ATOMS or id(value) in seen:
                continue
            seen[id(value)] = value
            if len(seen) > _MOST:
                return False
            if type(value) is FunctionType and id(value) in first:
                waiting += self._function(value, names)
            else:
                waiting += self._add(value)
        return True

    def name(self, reference: Reference) -> None:
        """Look at a name that leads to something.

        Raises:
            _Changeable: Some ``__getattr__`` makes it.
        """
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
                raise _Changeable

    def own(self, function: FunctionType) -> list[Any]:
        """Look at what a function is, apart from what it uses."""
        held = of_function(function)
        self._functions.append((function, held))
        return [*held[1:-1], *self._mapping(held[-1])]  # its code never changes

    def _hold(self, held_by: HeldBy, thing: Any) -> list[Any]:
        batch = self._batches.get(held_by)
        if batch is None:
            batch = self._batches[held_by] = Batch(held_by)
        if held_by is iter:
            if len(thing) > _MOST_ENTRIES:
                raise _Changeable
            self._sizes.append(len(thing))
        return batch.add(thing)

    def _mapping(self, space: Mapping[Any, Any]) -> list[Any]:
        made_by = self._hold(of_defaultdict, space)[1:] if is_a(space, defaultdict) else []
        if not space:
            self._empty.append(space)
            return made_by
        return made_by + self._hold(iter, space) + self._hold(values, space)

    def _function(self, function: FunctionType, names: Iterable[str] | None = None) -> list[Any]:
        """A function that goes by value. What is in it, to be looked at as well."""
        if names is None or function.__dict__:
            from procession.pickling.code_rules import dispatched, global_names

            names = global_names(function)
            if dispatched(function) is not None:  # all else that it has is a cache
                self._functions.append((function, of_function(function)))
                return self._mapping(function.__dict__["registry"])
        found = self.own(function)
        space = function.__globals__
        if id(space) not in self._spaces:
            self._spaces.add(id(space))
            names = [*names, *_OF_MODULE]
        for name in names:
            value = space.get(name, _NOTHING)
            self._places.append((space, name, value))
            if value is not _NOTHING:
                found.append(value)
        for cell in function.__closure__ or ():
            found += self._hold(of_cell, cell)
        return found

    def _add(self, value: Any) -> Iterable[Any]:
        """Look at a value that is used; what is in it is to be looked at as well."""
        if is_constant(value):
            return ()
        if id(value) in self._named:
            self.name((*self._named[id(value)], 0))
            return ()
        if is_decorated(value):
            reference = reference_to(value)
            if reference is None:
                return (value.__wrapped__,)
            self.name(reference)
            return ()
        if is_a(value, FunctionType, type, CACHED):
            if importable(value.__module__) and resolves(value):
                self.name((value.__module__, value.__qualname__, 0))
                return ()
            if is_a(value, type):
                return self._class(value)
            if type(value) is FunctionType:
                return self._function(value)
        return self._inside(value)

    def _class(self, cls: Any) -> Iterable[Any]:
        """A class that goes by value."""
        kind, bases, *_ = self._hold(of_class, cls)
        registered = self._hold(virtual_subclasses, cls) if is_a(cls, ABCMeta) else ()
        return kind, *bases, *registered, *self._mapping(cls.__dict__)

    def _inside(self, value: Any) -> Iterable[Any]:
        """What is in a value that is neither code nor an atom."""
        kind = class_of(value)
        name = type_name(kind)
        if is_mapping(name):
            return self._mapping(value)
        fixed = parts_that_stay(value, name)
        if fixed is not None:
            return fixed
        take = copier(value, name)
        if take is not None:
            self._copies.append((take, value, take(value)))
            return ()
        held_by = BY_TYPE.get(name)
        if held_by is not None:
            return self._hold(held_by, value)
        if is_plain(kind) or issubclass(kind, Enum):
            return self._object(value, kind)
        raise _Changeable

    def _object(self, value: Any, kind: Any) -> Iterable[Any]:
        """An object with attributes."""
        held_by = self._slots.get(kind)
        if held_by is None:
            slots = () if issubclass(kind, Enum) else slot_names(kind)
            held_by = self._slots[kind] = attrgetter("__class__", "__class__", *slots)
        held = self._hold(held_by, value)
        own: Any = getattr(value, "__dict__", None)
        return held if own is None else held + self._mapping(own)


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
    made = Watch(named)
    if reference is None:
        return made if made.see([function], names) else None
    try:
        made.name(reference)
    except _Changeable:
        return None
    if type(function) is FunctionType:
        made.own(function)
    return made
