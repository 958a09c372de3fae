"""The globals of code that goes by value, so that what an initializer sets is seen by all of it.

Each pickle brings its functions with globals of their own. A script that is used to multiprocessing
has an initializer that sets globals (``global connection``), which its functions then use. So a
worker keeps the globals of its initializer, and puts them over those of each function of the same
module that arrives later; likewise the attributes of classes. What the initializer does not use
goes on arriving as it was sent.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from procession.pickling.cloudpickle_names import set_class_state, set_function_state
from procession.pickling.objects import class_of

__all__ = ["Arrivals", "arriving", "set_class", "set_function"]

_Space = dict[str, Any]

_globals: dict[str, _Space] = {}
_attributes: WeakKeyDictionary[type, _Space] = WeakKeyDictionary()
_arriving: Arrivals | None = None


def set_function(function: Any, state: Any) -> None:
    """Fill a function that was made by value: the last step of its unpickling."""
    set_function_state(function, state)
    space = function.__globals__
    if _arriving is not None:
        _arriving.add(space)
    elif _globals:
        space.update(_globals.get(space.get("__name__"), ()))


def set_class(cls: type, state: Any) -> None:
    """Fill a class that was made by value, for the first time or again."""
    set_class_state(cls, state)
    for name, value in _attributes.get(cls, _Space()).items():
        setattr(cls, name, value)


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
    return isinstance(value, (type, ModuleType)) or hasattr(class_of(value), "__get__")


@contextmanager
def arriving() -> Generator[Arrivals]:
    """Collect the globals of all functions that are unpickled meanwhile."""
    global _arriving
    _arriving = arrivals = Arrivals()
    try:
        yield arrivals
    finally:
        _arriving = None
