"""Judges types for the C pickler: once per type, not once per object.

The C pickler asks a dispatch table for each object that is no builtin atom or container. The tables
here judge a type when it is first seen and remember what they found. For types that may cross that
is a C callable, which does what the pickler would do itself: the happy path costs nothing.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from enum import Enum

from procession.hints import Any, Literal, NoReturn
from procession.pickling.importable import CYTHON, importable
from procession.pickling.objects import as_usual, class_of
from procession.pickling.reducers import (
    Reduce,
    array_reducer,
    has_own_reduce,
    reduce_exception,
    registered,
    special_reducer,
)
from procession.pickling.refusals import Refusal, Refused
from procession.pickling.refused_types import refusal_of
from procession.system.cpython import pickle

Pickling = Literal["strict", "by-value"]

LARGE = 128 * 1024
"""Buffers of this many bytes and more leave the pickle, if the caller takes them. Measured with one
array, pickled, sent to another process and rebuilt there, through a socket and through a segment:
149 and 181 µs at 128 KiB, 813 and 268 µs at 256 KiB, 2.9 and 0.6 ms at 1 MiB."""

_MOST_TYPES = 4096

_wrappers: dict[type, list[Callable[[Reduce], Reduce]]] = {}
_tables: list[Table] = []


class ByValue(Exception):
    """Raised while pickling by reference at something that a worker cannot import."""


def keep_small(large: list[Any]) -> Callable[[pickle.PickleBuffer], bool]:
    """A ``buffer_callback`` that takes large buffers out of the pickle, into `large`."""

    def keep(buffer: pickle.PickleBuffer) -> bool:
        with memoryview(buffer) as view:
            if view.nbytes < LARGE or not view.contiguous:
                return True
        large.append(buffer)
        return False

    return keep


def refuse(obj: Any) -> NoReturn:
    """Reducer of types that must not cross."""
    refusal = refusal_of(class_of(obj))
    raise Refused(refusal or Refusal(f"a {type(obj).__qualname__}", "It must not cross.", ""))


def _by_value(obj: Any) -> NoReturn:
    raise ByValue


def _reduce_compiled(function: Any) -> Any:
    """A function that Cython has compiled, such as those that make pandas' frames again.

    No module has its type, and it goes by its name.
    """
    if not importable(function.__module__):
        raise ByValue
    return as_usual(function)


def _reduce_class(cls: type) -> str:
    """A class with a metaclass (plain ones never come here)."""
    if not importable(cls.__module__):
        raise ByValue
    return cls.__qualname__


def wrap_reducer(cls: type, wrapper: Callable[[Reduce], Reduce]) -> None:
    """Have some objects of a type, and of its subclasses, pickled in another way.

    Args:
        cls: The type.
        wrapper: Given the usual reducer, makes the one to be asked instead.
    """
    _wrappers.setdefault(cls, []).append(wrapper)
    for table in _tables:
        table.clear()


def _wrapped(cls: type, reduce: Reduce) -> Reduce:
    for base in cls.__mro__:
        for wrapper in _wrappers.get(base, ()):
            reduce = wrapper(reduce)
    return reduce


class Table(dict[type, Reduce]):
    """A dispatch table that fills itself.

    Args:
        named: Whether classes can only be named, so that objects of others are given up.
        extra: Says more about some types.

    Attributes:
        registered: How many reducers `copyreg` had when the table was last cleared.
    """

    def __init__(self, named: bool, extra: Callable[[type], Reduce | None]) -> None:
        super().__init__()
        self._named = named
        self._extra = extra
        self._cleared = 0
        self.registered = 0
        _tables.append(self)

    def keep_in_step(self) -> None:
        """Forget everything when reducers were registered with `copyreg` since."""
        registered = len(copyreg.dispatch_table)
        if registered != self.registered:
            self.clear()
            self.registered = registered

    def clear(self) -> None:
        """Forget everything, and what other threads are finding now."""
        self._cleared += 1
        super().clear()

    def __missing__(self, cls: type) -> Reduce:
        found = registered(cls)
        if found is not None:
            return _wrapped(cls, found)  # not remembered: it may be replaced
        if not self._named and issubclass(cls, type):
            raise KeyError(cls)  # the by-value pickler looks at each class itself
        if len(self) > _MOST_TYPES:
            self.clear()  # it holds on to classes that may be gone otherwise
        cleared = self._cleared
        reduce = self[cls] = _wrapped(cls, self._judge(cls)) if _wrappers else self._judge(cls)
        if cleared != self._cleared:  # meanwhile, by another thread: this may be out of date
            self.pop(cls, None)
        return reduce

    def _judge(self, cls: Any) -> Reduce:
        if issubclass(cls, type):  # not `type in`: a metaclass may have an == of its own
            return _reduce_class
        special = special_reducer(cls)
        if special is not None:
            return special
        if refusal_of(cls) is not None:
            return refuse
        if self._named and not importable(cls.__module__):
            return _reduce_compiled if cls.__module__.startswith(CYTHON) else _by_value
        if issubclass(cls, BaseException) and cls.__module__ != "builtins":
            return as_usual if has_own_reduce(cls) else reduce_exception
        return _of_enum(cls) or self._extra(cls) or array_reducer(cls) or as_usual


def _of_enum(cls: Any) -> Reduce | None:
    if not issubclass(cls, Enum):
        return None
    from procession.pickling.enums import member_reducer  # a first pool needs no more than it has

    return member_reducer(cls)


PLAIN = Table(named=True, extra=lambda cls: None)
"""For pickling by reference."""
