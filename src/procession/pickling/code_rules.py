"""Which functions, classes and streams go by name, which by value, and which not at all.

Shared by the pickler that sends them and the search that explains why one cannot be sent.

A function or class goes by name if a worker that follows the name finds the very same one. Else it
goes by value. Under ``"strict"`` it must have a name in its own process for that, or be part of
code that goes by value anyway. A standard stream that code uses goes by name, too; as an argument
it is refused.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable

from procession.hints import Any
from procession.pickling.cloudpickle_names import BUILTIN_TYPES, code_globals
from procession.pickling.importable import importable, resolves
from procession.pickling.objects import HEAP_TYPE, class_of, is_a, is_one_of
from procession.pickling.references import Reference, reference_to, why_not_by_value
from procession.pickling.refusals import Refusal, Refused
from procession.system.cpython import slot_names

_SINGLETONS = (type(None), type(Ellipsis), type(NotImplemented))
_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
_DEEPEST = 3
_DEEPEST_HELD = 6
_MOST_HELD = 2000


def stream_name(obj: Any) -> str | None:
    """The name in `sys` of a standard stream; `None` for anything else."""
    if obj is None:
        return None
    return next((name for name in _STREAMS if getattr(sys, name, None) is obj), None)


def standard_stream(name: str) -> Any:
    """The stream of that name in this process."""
    return getattr(sys, name)


class Code:
    """The code that one pickle carries by value.

    Args:
        strict: Whether lambdas and what is defined inside functions are refused, unless they are
            part of code that goes by value anyway: a method that some decorator made, a helper
            that a ``__main__`` function calls, a field's default factory.
        roots: What is pickled, if all of it is code, with what it uses.
    """

    def __init__(self, strict: bool, roots: Iterable[Any] | None = None) -> None:
        self._strict = strict
        self._accepted: set[int] = set()
        self._is_all = roots is not None
        self._accept(roots or ())

    def reference(self, function: types.FunctionType) -> Reference | None:
        """The name a function goes by; `None` if it goes by value.

        Raises:
            Refused: If it does not go at all.
        """
        if importable(function.__module__):
            reference = reference_to(function)
            if reference is not None:
                return reference
        self._check(function)
        self._accept([function.__closure__, function.__defaults__, function.__kwdefaults__])
        self._accept(used_globals(function).values())
        self._accept([function.__dict__, dispatched(function)])
        return None

    def is_named(self, cls: type) -> bool:
        """Whether a class goes by its name.

        Raises:
            Refused: If it does not go at all.
        """
        # Not `in`: a metaclass may have an == of its own.
        if any(cls is one for one in (*_SINGLETONS, *BUILTIN_TYPES)):
            return True
        if importable(cls.__module__) and (resolves(cls) or not cls.__flags__ & HEAP_TYPE):
            return True
        _check_mapped(cls)
        self._check(cls)
        self._accept([cls.__bases__, type(cls), cls.__dict__])
        self._accept_all(cls.__dict__.values())
        return False

    def takes_stream(self, obj: Any) -> bool:
        """Whether `obj` is a standard stream that code uses: it goes by its name."""
        return (self._is_all or id(obj) in self._accepted) and stream_name(obj) is not None

    def _check(self, obj: Any) -> None:
        if self._strict and id(obj) not in self._accepted:
            refusal = why_not_by_value(obj)
            if refusal is not None:
                raise Refused(refusal)

    def _accept(self, values: Iterable[Any], depth: int = 0) -> None:
        """Note functions and classes that are part of code which goes by value."""
        for value in values:
            # Not isinstance: a decorated function says that it is a function.
            is_code = type(value) is types.FunctionType or issubclass(type(value), type)
            if is_code or stream_name(value) is not None:
                self._accepted.add(id(value))
            elif depth < _DEEPEST:
                self._accept(_parts(value), depth + 1)

    def _accept_all(self, values: Iterable[Any]) -> None:
        """Note the functions and classes of what a class holds: a decorator put it there.

        attrs, for example, keeps a tuple of a class of its own, whose items hold validators.
        """
        waiting = [(value, 0) for value in values]
        seen: set[int] = set()
        for value, depth in waiting:
            cls = class_of(value)
            if len(seen) > _MOST_HELD:
                return
            if (cls.__module__ == "builtins" and cls is not tuple) or id(value) in seen:
                continue
            seen.add(id(value))
            self._accept([cls])
            held = _held(value)
            self._accept(held)
            if depth < _DEEPEST_HELD:
                waiting += [(part, depth + 1) for part in held]


def _check_mapped(cls: type) -> None:
    """Refuse SQLAlchemy's declarative classes by value, in place of what their registry holds."""
    if not any(each.__module__.startswith("sqlalchemy.orm.") for each in (type(cls), *cls.__mro__)):
        return
    raise Refused(
        Refusal(
            f"the SQLAlchemy class {cls.__qualname__}, which is defined in {cls.__module__}",
            "A mapped class belongs to the registry of its module, which a worker has to import.",
            "Define the mapped classes in a module of their own, and import them from there.",
        )
    )


def used_globals(function: types.FunctionType) -> dict[str, Any]:
    """The globals that a function's code names, with the functions nested in it."""
    space = function.__globals__
    return {name: space[name] for name in global_names(function) if name in space}


def global_names(function: types.FunctionType) -> list[str]:
    """The names of globals and builtins in a function's code, and in functions nested in it."""
    return list(code_globals(function.__code__))


def dispatched(function: types.FunctionType) -> list[tuple[type, Any]] | None:
    """What a `functools.singledispatch` function calls by type; `None` for other functions.

    Its closure holds a cache of weak references, which cannot and need not be sent.
    """
    registry: Any = function.__dict__.get("registry")
    if class_of(registry) is types.MappingProxyType and "dispatch" in function.__dict__:
        return list(registry.items())
    return None


_COLLECTIONS: frozenset[type] = frozenset({list, tuple, set, frozenset})


def _parts(value: Any) -> Iterable[Any]:
    """What a wrapper, a cell or a plain container of functions holds."""
    if isinstance(value, types.CellType):
        try:
            return [value.cell_contents]
        except ValueError:
            return []
    kind = class_of(value)
    if kind is dict or kind is types.MappingProxyType:
        return list(value.values())
    if is_one_of(kind, _COLLECTIONS):
        return list(value)
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    found = [_attribute(value, name) for name in ("__func__", "func", "default_factory")]
    wrapped = _attribute(value, "__wrapped__")
    return [part for part in (*found, wrapped) if part is not None]


def _held(value: Any) -> list[Any]:
    """The items and attributes of an object."""
    iterate: Any = getattr(tuple, "__iter__")  # noqa: B009 - not what a subclass makes of it
    found: list[Any] = list(iterate(value)) if is_a(value, tuple) else []
    own = _attribute(value, "__dict__")
    if type(own) is dict:
        found += own.values()
    return found + [_attribute(value, name) for name in slot_names(class_of(value))]


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:
        return None
