"""Judges types for the C pickler: once per type, not once per object.

The C pickler asks a dispatch table for each object that is no builtin atom or container. Ours
judges a type when it is first seen and remembers what it found. For types that may cross that is
a C callable which does what the pickler would do itself, so nothing is paid on the happy path.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable
from operator import methodcaller
from types import MethodType, ModuleType
from typing import Any, NoReturn

from procession.pickling.bare_exceptions import has_own_reduce, reduce_exception
from procession.pickling.importable import MAIN, find, importable
from procession.pickling.objects import class_of
from procession.pickling.refusals import Refusal, Refused, refusal_of

__all__ = ["PLAIN", "ByValue", "Table", "refuse", "special_reducers", "wrap_reducer"]

Reduce = Callable[[Any], Any]

_as_usual = methodcaller("__reduce_ex__", 5)
_MOST_TYPES = 4096


class ByValue(Exception):
    """Raised while pickling by reference at something that a worker cannot import."""


def refuse(obj: Any) -> NoReturn:
    """Reducer of types that must not cross."""
    refusal = refusal_of(class_of(obj))
    raise Refused(refusal or Refusal(f"a {type(obj).__qualname__}", "It must not cross.", ""))


def _by_value(obj: Any) -> NoReturn:
    raise ByValue


def _reduce_class(cls: type) -> str:
    """A class with a metaclass (plain ones never come here)."""
    if not importable(cls.__module__):
        raise ByValue
    return cls.__qualname__


def _reduce_module(module: ModuleType) -> Any:
    name = module.__name__
    if sys.modules.get(name) is not module or not importable(name):
        raise Refused(
            Refusal(
                f"the module {name}",
                "A worker cannot import this module by its name.",
                "Import what you need of it inside the function{or_leave_out}.",
            )
        )
    return import_module, (name,)


def import_module(name: str) -> Any:
    """Import and return a module (not its topmost package, as ``__import__`` would)."""
    __import__(name)
    return sys.modules[name]


def _reduce_method(method: MethodType) -> Any:
    # pickle writes getattr(instance, method.__name__): make sure that it leads back here. It does
    # not for private (mangled) methods, and for functions bound under another name.
    name = getattr(method.__func__, "__name__", "")
    try:
        same = getattr(method.__self__, name) == method
    except Exception:
        same = False
    if same:
        return getattr, (method.__self__, name)
    return bind, (method.__func__, method.__self__)


def bind(function: Any, instance: Any) -> MethodType:
    """A method of `instance` (the type itself cannot be pickled)."""
    return MethodType(function, instance)


def _reduce_cached(cached: Any) -> Any:
    """A function under ``functools.lru_cache``."""
    name = cached.__qualname__
    if importable(cached.__module__) and find(cached.__module__, name) is cached:
        return name
    if cached.__module__ in MAIN or not importable(cached.__module__):
        return rebuild_cached, (cached.__wrapped__, cached.cache_parameters())
    return _as_usual(cached)


def rebuild_cached(function: Any, parameters: dict[str, Any]) -> Any:
    """A fresh cache around the same function."""
    from functools import lru_cache

    return lru_cache(**parameters)(function)


def _reduce_variable(variable: Any) -> Any:
    from procession.pickling.context_variables import reduce_variable

    return reduce_variable(variable)


def _array_reducer(cls: type) -> Reduce | None:
    """For arrays, and for their subclasses that do not say themselves how they are pickled."""
    for base in cls.__mro__:
        if f"{base.__module__}.{base.__qualname__}" == "numpy.ndarray":
            break
        if "__reduce__" in base.__dict__ or "__reduce_ex__" in base.__dict__:
            return None
    else:
        return None
    if cls is base:
        from procession.pickling.small_arrays import reduce_array

        return reduce_array
    from procession.pickling.file_arrays import reduce_subclass

    return reduce_subclass


def _reduce_tensor(tensor: Any) -> Any:
    from procession.pickling.file_arrays import reduce_tensor

    return reduce_tensor(tensor)


_GLOBAL_GENERATORS = (("random", "_inst"), ("numpy.random.mtrand", "_rand"))


def _reduce_generator(generator: Any) -> Any:
    """A random generator: a module's own by name, as ``random.random`` is a method of one.

    A copy of it would draw the same numbers in each item, whatever was seeded.
    """
    for module, name in _GLOBAL_GENERATORS:
        if getattr(sys.modules.get(module), name, None) is generator:
            return import_attribute, (module, name)
    return _as_usual(generator)


def import_attribute(module: str, name: str) -> Any:
    """What a module, imported if need be, has under a name."""
    return getattr(import_module(module), name)


special_reducers: dict[str, Reduce] = {
    "random.Random": _reduce_generator,
    "numpy.random.mtrand.RandomState": _reduce_generator,
    "torch.Tensor": _reduce_tensor,
    "builtins.module": _reduce_module,
    "builtins.method": _reduce_method,
    "functools._lru_cache_wrapper": _reduce_cached,
    "_contextvars.ContextVar": _reduce_variable,
}


_wrappers: dict[type, list[Callable[[Reduce], Reduce]]] = {}
_tables: list[Table] = []


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
        """Forget everything when somebody has registered reducers with `copyreg` since."""
        registered = len(copyreg.dispatch_table)
        if registered != self.registered:
            self.clear()
            self.registered = registered

    def clear(self) -> None:
        """Forget everything, and what other threads are finding now."""
        self._cleared += 1
        super().clear()

    def __missing__(self, cls: type) -> Reduce:
        registered = copyreg.dispatch_table.get(cls)
        if registered is not None:
            return _wrapped(cls, registered)  # not remembered: it may be replaced
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
        for base in cls.__mro__:
            special = special_reducers.get(f"{base.__module__}.{base.__qualname__}")
            if special is not None:
                return special
        if refusal_of(cls) is not None:
            return refuse
        if self._named and not importable(cls.__module__):
            return _by_value
        if issubclass(cls, BaseException) and cls.__module__ != "builtins":
            return _as_usual if has_own_reduce(cls) else reduce_exception
        return self._extra(cls) or _array_reducer(cls) or _as_usual


PLAIN = Table(named=True, extra=lambda cls: None)
"""For pickling by reference."""
