"""Functions and classes that go by value, as they are made again in a worker.

A class is its layout, which is given when it is made: its metaclass, bases and slots. The rest is
in its dictionary, which is filled afterwards. No hook of the user's code runs for it there
(``__init_subclass__``, the ``__new__`` of a metaclass that goes by value itself): what they did is
in the dictionary. A class that comes home is the one that was sent, and is left as it is.

Each pickle brings its functions with globals of their own. A script that is used to multiprocessing
has an initializer that sets globals (``global connection``), which its functions then use. So a
worker keeps the globals of its initializer, and puts them over those of each function of the same
module that arrives later; likewise the attributes of classes. What the initializer does not use
goes on arriving as it was sent.
"""

from __future__ import annotations

import abc
import os
import types
from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum
from operator import is_
from uuid import uuid4
from weakref import WeakKeyDictionary

from procession.hints import Any
from procession.pickling.cloudpickle_names import (
    CLASSES_BY_ID,
    class_by_id,
    class_contents,
    class_layout,
    set_class_state,
    set_function_state,
)
from procession.pickling.descriptions import forget_opened
from procession.pickling.enums import (
    contents_of,
    fill_members,
    give_values,
    make_enum,
    members_of,
)
from procession.pickling.importable import importable
from procession.pickling.objects import class_of
from procession.system import after_fork, cpython

_Space = dict[str, Any]

_globals: dict[str, _Space] = {}
_attributes: WeakKeyDictionary[type, _Space] = WeakKeyDictionary()
_arriving: Arrivals | None = None

_Owner = tuple[str, int]

_FAMILY = uuid4().hex
_owners: WeakKeyDictionary[type, _Owner] = WeakKeyDictionary()
"""Classes that were defined in another process, and in which."""

_names: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()
"""What each of them had where it was defined, when it was last filled: what it has no more goes."""

_quiet = after_fork.rlock()

_MADE_ANEW = ("__dict__", "__weakref__", "__annotate_func__", "_abc_impl")
"""What is in a class's dictionary and made with each class."""


def _me() -> _Owner:
    return _FAMILY, os.getpid()  # asked each time: a forked child has this family, not this pid


def reduce_dynamic_class(cls: type[Any]) -> Any:
    """Describe a class."""
    args = _layout(cls)
    state: tuple[Any, ...] = _contents(cls), {}
    if issubclass(cls, Enum):
        args, state = (*args[:-1], members_of(cls)), contents_of(cls, state[0])
    return _make_class, (_owners.get(cls) or _me(), *args), state, None, None, _set_class


def _layout(cls: type) -> tuple[Any, ...]:
    meta, name, _, space, tracker, extra = class_layout(cls)
    slots = _slots(cls)
    if slots is not None:
        space["__slots__"] = slots
    if "__orig_bases__" in cls.__dict__:
        space["__orig_bases__"] = cls.__dict__["__orig_bases__"]  # which Generic asks for
    return meta, name, cls.__bases__, space, tracker, extra


def _slots(cls: type) -> tuple[str, ...] | None:
    """The slots that a class added to those of its bases, under their mangled names."""
    if "__slots__" not in cls.__dict__:
        return None
    special = [name for name in ("__dict__", "__weakref__") if _is_layout(cls, name)]
    return (*(name for name in cls.__dict__ if _is_slot(cls, name)), *special)


def _is_slot(cls: type, name: str) -> bool:
    value = cls.__dict__[name]
    return type(value) is types.MemberDescriptorType and value.__objclass__ is cls


def _is_layout(cls: type, name: str) -> bool:
    return type(cls.__dict__.get(name)) is types.GetSetDescriptorType


def _contents(cls: type) -> dict[str, Any]:
    found = class_contents(cls)
    for name in list(found):
        if name in _MADE_ANEW or _is_slot(cls, name):
            del found[name]
    if isinstance(cls, abc.ABCMeta):
        found["_abc_impl"] = cpython.virtual_subclasses(cls)
    return found


def _make_class(
    owner: _Owner,
    meta: Any,
    name: str,
    bases: tuple[Any, ...],
    space: _Space,
    tracker: str,
    members: _Space | None,
) -> type:
    """Find a class by its tracker id, or make its skeleton."""
    known = CLASSES_BY_ID.get(tracker)
    if known is not None:
        if owner != _me():
            _owners[known] = owner
            _rebase(known, bases)
            if members is not None:
                give_values(known, members)
        return known
    cls = class_by_id(tracker, _make_skeleton(meta, name, bases, space, members))
    _owners[cls] = owner
    return cls


def _rebase(cls: Any, bases: tuple[type, ...]) -> None:
    """Give a class of another process the bases that it has there by now."""
    now = cls.__bases__
    if len(now) != len(bases) or not all(map(is_, now, bases)):
        cls.__bases__ = bases


def _make_skeleton(
    meta: Any, name: str, bases: tuple[Any, ...], space: _Space, members: _Space | None
) -> type:
    """An empty class of the right layout; an enum has its members."""
    hook = _subclass_hook(bases)
    with _silenced(hook if hook is not None and not importable(hook.__module__) else None):
        try:
            return _new(meta, name, bases, space, members)
        except Exception:
            # Code of a library's, which asks for what the class statement gave.
            with _silenced(hook):
                return _bare(meta, name, bases, space, members)


def _new(
    meta: Any, name: str, bases: tuple[Any, ...], space: _Space, members: _Space | None
) -> type:
    if members is not None or not importable(meta.__module__):
        return _bare(meta, name, bases, space, members)
    namespace: Any = meta.__prepare__(name, bases)
    namespace.update(space)
    made: type = meta(name, bases, namespace)
    return made


def _bare(
    meta: Any, name: str, bases: tuple[Any, ...], space: _Space, members: _Space | None
) -> type:
    """A class without its metaclass's own code."""
    made: type
    if members is not None:
        made = make_enum(meta, name, bases, space, members)
    else:
        made = type.__new__(meta, name, bases, dict(space))
    if isinstance(made, abc.ABCMeta):
        cpython.begin_abstract(made)
    return made


def _subclass_hook(bases: tuple[Any, ...]) -> Any:
    """The class whose ``__init_subclass__`` would be called for a new class of these bases."""
    for base in bases:
        for each in base.__mro__[:-1]:
            if "__init_subclass__" in each.__dict__:
                return each
    return None


@contextmanager
def _silenced(owner: Any) -> Generator[None]:
    """Keep a class from running its ``__init_subclass__``."""
    if owner is None:
        yield
        return
    with _quiet:
        usual = owner.__dict__["__init_subclass__"]
        type.__setattr__(owner, "__init_subclass__", classmethod(_nothing))
        try:
            yield
        finally:
            type.__setattr__(owner, "__init_subclass__", usual)


def _nothing(cls: Any, /, **_: Any) -> None:
    pass


def _set_class(cls: type, state: Any) -> None:
    """Fill a class; one of this process is left as it is, even if a worker changed its copy."""
    if cls in _owners:
        forget_opened()
        names = frozenset(state[0])
        for name in _names.get(cls, names) - names:
            if name in vars(cls):
                type.__delattr__(cls, name)
        _names[cls] = names
        set_class_state(cls, state[:2])
        if len(state) > 2:
            fill_members(cls, *state[2])
        for name, value in _attributes.get(cls, _Space()).items():
            setattr(cls, name, value)


def is_guest(cls: type) -> bool:
    """Whether a class was defined in another process."""
    return cls in _owners


# -- globals -----------------------------------------------------------------------------------


def set_function(function: Any, state: Any) -> None:
    """Fill a function that was made by value: the last step of its unpickling."""
    set_function_state(function, state)
    have_arrived(function.__globals__)


def have_arrived(space: _Space) -> None:
    """Put what an initializer has set over the globals of a function that has just arrived."""
    if _arriving is not None:
        _arriving.add(space)
    elif _globals:
        space.update(_globals.get(str(space.get("__name__")), ()))


class Arrivals:
    """The globals of what was unpickled for an initializer."""

    def __init__(self) -> None:
        self._spaces: list[_Space] = []
        self._before: list[tuple[_Space, _Space]] = []
        self._classes: list[tuple[type, _Space]] = []

    def add(self, space: _Space) -> None:
        """Some function's globals."""
        if not any(known is space for known in self._spaces):
            self._spaces.append(space)

    def look(self) -> None:
        """The initializer is about to run: remember what there is."""
        self._before = [(space, dict(space)) for space in self._spaces]
        values = [value for space in self._spaces for value in space.values()]
        self._classes = [(each, dict(vars(each))) for each in values if isinstance(each, type)]

    def keep(self) -> None:
        """It has run: keep what it assigned, and the data that it may have changed."""
        for space, before in self._before:
            _globals.setdefault(space.get("__name__", ""), {}).update(_touched(space, before))
        for cls, before in self._classes:
            _attributes[cls] = _touched(dict(vars(cls)), before)


def _touched(now: _Space, before: _Space) -> _Space:
    return {
        name: value
        for name, value in now.items()
        if not name.startswith("__") and not (_is_code(value) and before.get(name) is value)
    }


def _is_code(value: Any) -> bool:
    """Functions, classes, modules, properties: they come with what uses them."""
    return isinstance(value, (type, types.ModuleType)) or hasattr(class_of(value), "__get__")


@contextmanager
def arriving() -> Generator[Arrivals]:
    """Collect the globals of all functions that are unpickled meanwhile."""
    global _arriving
    _arriving = arrivals = Arrivals()
    try:
        yield arrivals
    finally:
        _arriving = None
