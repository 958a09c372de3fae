"""Pickles by value what a worker cannot import: cloudpickle's reducers with refusals of ours.

Three things differ from cloudpickle. What is bound to this process is refused. Functions and
classes follow `procession.pickling.code_rules`. And a class that comes home from a worker never
overwrites the class of its owner.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable

from procession.hints import Any
from procession.pickling.cloudpickle_names import (
    Pickler,
    reduce_class,
    reduce_code,
    reduce_function,
    registered_reducer,
)
from procession.pickling.code_rules import Code, dispatched, standard_stream, stream_name
from procession.pickling.dispatch_tables import Pickling, Table, keep_small, refuse
from procession.pickling.dynamic_code import reduce_dynamic_class, set_function
from procession.pickling.importable import find, importable, resolves
from procession.pickling.objects import class_of, is_a
from procession.pickling.reducers import named_attribute
from procession.pickling.references import Named, resolve
from procession.system.cpython import pickle

_named: dict[tuple[str, str], Any] = {}


def dumps_by_value(
    obj: Any,
    pickling: Pickling = "strict",
    buffers: list[Any] | None = None,
    code: bool = False,
    named: Named | None = None,
) -> bytes:
    """Pickle with by-value reducers (see `procession.pickling.pickler.dumps`).

    Args:
        obj: Anything.
        pickling: As there.
        buffers: As there.
        code: Whether `obj` is a function to be run there.
        named: Objects that go by name.

    Raises:
        Refused: At something that must not cross.
    """
    pieces: list[Any] = []
    large: list[Any] = []
    sink: Any = types.SimpleNamespace(write=pieces.append)
    callback = None if buffers is None else keep_small(large)
    VALUE.keep_in_step()
    rules = Code(pickling == "strict", [obj] if code else None)
    ValuePickler(sink, callback, rules, named or {}).dump(obj)
    if buffers is not None:
        buffers += large
    return b"".join(pieces)


def _extra(cls: type) -> Callable[[Any], Any] | None:
    if cls is types.CodeType:
        return _reduce_code
    if cls is functools.cached_property:
        return _reduce_cached_property
    reduce = registered_reducer(cls)
    if reduce is not None:
        return reduce
    if any("__reduce__" in base.__dict__ or "__reduce_ex__" in base.__dict__ for base in _own(cls)):
        return _reduce_named
    return None


def _reduce_code(code: types.CodeType) -> Any:
    # Some releases of cloudpickle leave the file out. Tracebacks and warnings need it.
    make, args, *_ = reduce_code(code)
    file = code.co_filename
    # Some of them are bytes, which under `python -bb` are not to be compared with a str.
    return make, tuple(
        file if type(each) is str and each == "<dynamic-code>" else each for each in args
    )


def _own(cls: type) -> list[type]:
    """The classes among the bases that go by value."""
    return [b for b in cls.__mro__ if not importable(b.__module__) or b.__name__ == "NewType"]


def _reduce_named(obj: Any) -> Any:
    """Objects whose ``__reduce__`` gives a name: singletons of a module that goes by value."""
    reduced = obj.__reduce_ex__(5)
    module = getattr(obj, "__module__", None)
    if not isinstance(reduced, str) or importable(module) or not isinstance(module, str):
        return reduced
    return named_object, (module, reduced, type(obj), obj.__getstate__())


def named_object(module: str, name: str, cls: Any, state: Any) -> Any:
    """The object that `module` holds under `name`; made once if the module is not here."""
    here = find(module, name)
    if here is not None:
        return here
    if (module, name) not in _named:
        made = _named[module, name] = cls.__new__(cls)
        if is_a(state, tuple):
            made.__dict__.update(state[0] or {})
            for attribute, value in state[1].items():
                setattr(made, attribute, value)
        else:
            made.__dict__.update(state or {})
    return _named[module, name]


VALUE = Table(named=False, extra=_extra)


class ValuePickler(Pickler):
    """A C pickler that names what can be imported and describes the rest."""

    dispatch_table = VALUE

    def __init__(
        self, file: Any, buffer_callback: Callable[[Any], Any] | None, code: Code, named: Named
    ) -> None:
        super().__init__(file, 5, buffer_callback)
        self.code = code
        self.named = named

    def dump(self, obj: Any) -> None:
        """Pickle an object. Called from here, its ``__reduce_ex__`` sees who asks."""
        pickle.Pickler.dump(self, obj)

    def reducer_override(self, obj: Any) -> Any:
        """Asked by the C pickler for every object that is no builtin atom or container."""
        cls = class_of(obj)
        if self.named and id(obj) in self.named:
            return named_attribute, self.named[id(obj)]
        if VALUE.get(cls, refuse) is not refuse:  # seen before: neither a function nor a class
            return NotImplemented
        if cls is types.FunctionType:
            return self.reduce_function(obj)
        if issubclass(cls, type):
            return self.reduce_class(obj)
        if self.code.takes_stream(obj):
            return standard_stream, (stream_name(obj),)
        return NotImplemented

    def reduce_function(self, function: types.FunctionType) -> Any:
        """By name if the name leads back to this function, else by value."""
        reference = self.code.reference(function)
        if reference is None:
            registered = dispatched(function)
            if registered is not None:
                return _make_dispatch, (function.__module__, registered)
            return (*reduce_function(self, function)[:5], set_function)
        return NotImplemented if resolves(function) else (resolve, reference)

    def reduce_class(self, cls: type) -> Any:
        """By name if the name leads back to this class, else by value."""
        if self.code.is_named(cls):
            by_name = importable(cls.__module__) and resolves(cls)
            return NotImplemented if by_name else reduce_class(cls)
        return reduce_dynamic_class(cls)


def _make_dispatch(module: str, registered: list[tuple[type, Any]]) -> Any:
    functions = dict(registered)
    made: Any = functools.singledispatch(functions.pop(object))
    for cls, function in functions.items():
        made.register(cls, function)
    made.__module__ = module
    return made


def _reduce_cached_property(prop: Any) -> Any:
    # 3.11 keeps a lock in it.
    return _make_cached_property, (prop.func, prop.attrname)


def _make_cached_property(function: Any, name: str | None) -> Any:
    made: Any = functools.cached_property(function)
    made.attrname = name
    return made
