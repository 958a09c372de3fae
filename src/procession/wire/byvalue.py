"""Pickles by value what a worker cannot import: cloudpickle's reducers with refusals of ours.

Three things differ from cloudpickle. What is bound to this process is refused. Under ``"strict"``
so are lambdas and what is defined inside functions, unless it is part of code that goes by value
anyway (a method that some decorator made, a helper that a ``__main__`` function calls). And a
class that comes home from a worker never overwrites the class of its owner.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Iterable
from operator import methodcaller
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from cloudpickle import cloudpickle

from procession.wire.importing import find, importable, resolves
from procession.wire.pickling import Pickling, keep_small
from procession.wire.references import reduce_reference, why_not_by_value
from procession.wire.refusals import Refused
from procession.wire.tables import Table

__all__ = ["ValuePickler", "dumps_by_value"]

_Owner = tuple[str, int]

_FAMILY = uuid4().hex
_owners: WeakKeyDictionary[type, _Owner] = WeakKeyDictionary()
"""Classes that were defined in another process, and in which."""

_named: dict[tuple[str, str], Any] = {}
_PLAIN_CONTAINERS = (list, tuple, set, frozenset, dict)
_DEEPEST = 3


def _me() -> _Owner:
    return _FAMILY, os.getpid()  # asked each time: a forked child has our family, not our pid


def dumps_by_value(
    obj: Any, pickling: Pickling = "strict", buffers: list[Any] | None = None, code: bool = False
) -> bytes:
    """Pickle with by-value reducers; `code` says that `obj` is a function to be run there.

    Raises:
        Refused: At something that must not cross.
        Exception: Whatever the objects' own code raises.
    """
    pieces: list[Any] = []
    large: list[Any] = []
    sink: Any = types.SimpleNamespace(write=pieces.append)
    callback = None if buffers is None else keep_small(large)
    VALUE.keep_in_step()
    pickler = ValuePickler(sink, callback, strict=pickling == "strict")
    if code:
        pickler.accept([obj])
    pickler.dump(obj)
    if buffers is not None:
        buffers += large
    return b"".join(pieces)


def _extra(cls: type) -> Callable[[Any], Any] | None:
    reduce: Callable[[Any], Any] | None = cloudpickle.Pickler._dispatch_table.get(cls)
    if reduce is not None:
        return reduce
    if any("__reduce__" in base.__dict__ or "__reduce_ex__" in base.__dict__ for base in _own(cls)):
        return _reduce_named
    return None


def _own(cls: type) -> list[type]:
    """The classes among the bases that go by value."""
    return [b for b in cls.__mro__ if not importable(b.__module__) or b.__name__ == "NewType"]


def _reduce_named(obj: Any) -> Any:
    """Objects whose ``__reduce__`` gives a name: singletons of a module that goes by value."""
    reduced = obj.__reduce_ex__(5)
    module = getattr(obj, "__module__", None)
    if not isinstance(reduced, str) or importable(module) or not isinstance(module, str):
        return reduced
    make, args, state, *_ = *object.__reduce_ex__(obj, 5), None
    return named_object, (module, reduced, make, args, state)


def named_object(module: str, name: str, make: Any, args: Any, state: Any) -> Any:
    """The object that `module` holds under `name`; made once if the module is not here."""
    here = find(module, name)
    if here is not None:
        return here
    if (module, name) not in _named:
        made = _named[module, name] = make(*args)
        if isinstance(state, tuple):
            made.__dict__.update(state[0] or {})
            for attribute, value in state[1].items():
                setattr(made, attribute, value)
        else:
            made.__dict__.update(state or {})
    return _named[module, name]


VALUE = Table(methodcaller("__reduce_ex__", 5), _extra)


class ValuePickler(cloudpickle.Pickler):
    """A C pickler that names what can be imported and describes the rest."""

    dispatch_table = VALUE

    def __init__(
        self, file: Any, buffer_callback: Callable[[Any], Any] | None, *, strict: bool
    ) -> None:
        super().__init__(file, 5, buffer_callback)
        self.strict = strict
        self.code: set[int] = set()

    def reducer_override(self, obj: Any) -> Any:
        """Asked by the C pickler for every object that is no builtin atom or container."""
        cls = type(obj)
        if cls in VALUE:  # seen before: neither a function nor a class
            return NotImplemented
        if cls is types.FunctionType:
            return self.reduce_function(obj)
        if issubclass(cls, type):
            return self.reduce_class(obj)
        return NotImplemented

    def reduce_function(self, function: types.FunctionType) -> Any:
        """By name if the name leads back to this function, else by value."""
        if importable(function.__module__):
            if resolves(function):
                return NotImplemented
            reference = reduce_reference(function)
            if reference is not None:
                return reference
        self.check(function)
        self.accept([function.__closure__, function.__defaults__, function.__kwdefaults__])
        self.accept(used_globals(function).values())
        self.accept([function.__dict__])
        return self._dynamic_function_reduce(function)

    def reduce_class(self, cls: type) -> Any:
        """By name if the name leads back to this class, else by value."""
        if cls in cloudpickle._BUILTIN_TYPE_NAMES or cls in _SINGLETONS:
            return cloudpickle._class_reduce(cls)
        if importable(cls.__module__) and (resolves(cls) or not is_python_class(cls)):
            return NotImplemented
        self.check(cls)
        self.accept([cls.__bases__, type(cls), cls.__dict__])
        make, args, *rest = cloudpickle._dynamic_class_reduce(cls)
        return _make_class, (_owners.get(cls) or _me(), make, args), rest[0], None, None, _set_class

    def check(self, obj: Any) -> None:
        """Refuse what has no name of its own, unless it belongs to code that goes by value."""
        if self.strict and id(obj) not in self.code and why_not_by_value(obj):
            raise Refused(f"{obj.__qualname__}: {why_not_by_value(obj)}")

    def accept(self, values: Iterable[Any], depth: int = 0) -> None:
        """Note functions and classes that are part of code which goes by value."""
        for value in values:
            if isinstance(value, types.FunctionType | type):
                self.code.add(id(value))
            elif depth < _DEEPEST:
                self.accept(parts_of_code(value), depth + 1)


_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_SINGLETONS = (type(None), type(Ellipsis), type(NotImplemented))


def is_python_class(cls: type) -> bool:
    """Whether a class was made by a class statement, not in C."""
    return bool(cls.__flags__ & _HEAP_TYPE)


def used_globals(function: types.FunctionType) -> dict[str, Any]:
    """The globals that a function's code names, with the functions nested in it."""
    names = cloudpickle._extract_code_globals(function.__code__)
    space = function.__globals__
    return {name: space[name] for name in names if name in space}


def parts_of_code(value: Any) -> Iterable[Any]:
    """What a wrapper, a cell or a plain container of functions holds."""
    if isinstance(value, types.CellType):
        try:
            return [value.cell_contents]
        except ValueError:
            return []
    if isinstance(value, dict | types.MappingProxyType):
        return list(value.values())
    if type(value) in _PLAIN_CONTAINERS:
        return list(value)
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    found = [getattr(value, name, None) for name in ("__func__", "func", "default_factory")]
    wrapped = getattr(type(value), "__wrapped__", None) or getattr(value, "__dict__", {})
    if isinstance(wrapped, dict):
        found += wrapped.values()
    return [part for part in found if part is not None]


def _make_class(owner: _Owner, make: Callable[..., type], args: tuple[Any, ...]) -> type:
    """Find a class by its tracker id, or make its skeleton."""
    known = args[-2] in cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID
    cls = make(*args)
    if owner != _me() or not known:
        _owners[cls] = owner
    return cls


def _set_class(cls: type, state: Any) -> None:
    """Fill a class; our own is left as it is, whatever a worker did to its copy."""
    if cls in _owners:
        cloudpickle._class_setstate(cls, state)
