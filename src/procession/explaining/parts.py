"""What an object is pickled from.

What is kept of a part is the pair (kind, key), and the object it belongs to. How it is called is
worked out only for the few that end up in a message (see `procession.explaining.paths`).
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import partial

from procession.hints import Any
from procession.pickling.code_rules import dispatched, used_globals
from procession.pickling.objects import class_of, is_a, is_one_of, type_name
from procession.system.cpython import object_makers

Edge = tuple[str, Any, Any]
"""(kind, key, part)."""

_NEW = object_makers()
_NOTHING: dict[Any, Any] = {}
_VIEWS = frozenset(map(class_of, (_NOTHING.keys(), _NOTHING.values(), _NOTHING.items())))
_SET_REDUCES = tuple(vars(kind)["__reduce__"] for kind in (set, frozenset))


class Malformed(Exception):
    """Raised for what ``__reduce__`` returned and pickle does not understand."""


def contents(obj: Any) -> Iterator[Edge] | None:
    """Parts of a builtin container or callable, or `None` if `obj` is something else."""
    cls = class_of(obj)  # not isinstance: proxies say that they are what they wrap
    if cls is list or cls is tuple:
        return (("index", i, part) for i, part in enumerate(obj))
    if cls is dict:
        return _items(obj.items())
    if is_one_of(cls, _VIEWS) or _reduces_as_a_set(cls):
        return _members(obj)
    if cls is types.MappingProxyType:
        return _items(dict(obj).items())
    if cls is types.MethodType:
        return iter([("attribute", "__self__", obj.__self__)])
    if issubclass(cls, partial):
        return _partial(obj)
    if cls is types.CellType:
        return _cell(obj)
    if issubclass(cls, classmethod | staticmethod):
        return iter([("attribute", "__func__", obj.__func__)])
    if cls.__module__.partition(".")[0] in ("numpy", "pandas"):
        return _objects_in_array(obj)
    if issubclass(cls, property):
        return iter([("attribute", n, getattr(obj, n)) for n in ("fget", "fset", "fdel")])
    return None


def _reduces_as_a_set(cls: type) -> bool:
    return any(cls.__reduce__ is each for each in _SET_REDUCES)


def _members(obj: Any) -> Iterator[Edge]:
    yield from (("member", i, part) for i, part in enumerate(obj))
    if hasattr(obj, "__dict__"):
        yield from (("attribute", name, value) for name, value in obj.__dict__.items())


def _items(items: Iterable[tuple[Any, Any]]) -> Iterator[Edge]:
    for i, (key, value) in enumerate(items):
        yield "member", i, key
        yield "key", (i, key), value


def _partial(obj: partial[Any]) -> Iterator[Edge]:
    yield "attribute", "func", obj.func
    yield "attribute", "args", obj.args
    yield "attribute", "keywords", obj.keywords
    yield from (("attribute", name, value) for name, value in obj.__dict__.items())


def _objects_in_array(obj: Any) -> Iterator[Edge] | None:
    """Elements of arrays and columns of any objects; `None` for what holds only numbers."""
    if hasattr(obj, "flat") and getattr(obj.dtype, "kind", "") == "O":
        return (("array", i, part) for i, part in enumerate(obj.flat))
    if hasattr(obj, "iloc"):
        if hasattr(obj, "columns"):
            return (("suffix", f"[{name!r}]", obj[name]) for name in obj.columns)
        if getattr(obj.dtype, "kind", "") == "O":
            return (("suffix", f".iloc[{i}]", part) for i, part in enumerate(obj))
        return iter(())
    return None


def _cell(cell: types.CellType) -> Iterator[Edge]:
    try:
        yield "attribute", "cell_contents", cell.cell_contents
    except ValueError:
        return


def parts_of_function(function: types.FunctionType) -> Iterator[Edge]:
    """What a function that goes by value takes along."""
    registered = dispatched(function)
    if registered is not None:
        yield from (("suffix", f".registry[{cls.__qualname__}]", one) for cls, one in registered)
        return
    for i, (name, cell) in enumerate(
        zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    ):
        for _, _, value in _cell(cell):
            yield "cell", (i, name), value
    for i, value in enumerate(function.__defaults__ or ()):
        yield "default", i, value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield "suffix", f".__kwdefaults__[{name!r}]", value
    for name, value in used_globals(function).items():
        yield "suffix", f".__globals__[{name!r}]", value
    for name, value in function.__annotations__.items():
        yield "suffix", f".__annotations__[{name!r}]", value
    for name, value in function.__dict__.items():
        yield "attribute", name, value


_AS_WRITTEN = {"_value_": "value", "_name_": "name"}


def parts_of_class(cls: type) -> Iterator[Edge]:
    """What a class that goes by value takes along."""
    left_out = {"__dict__", "__weakref__", "_abc_impl", "__annotate_func__", *_slots_of(cls)}
    if issubclass(cls, Enum):
        left_out |= {"_member_map_", "_value2member_map_", "_generate_next_value_"}
        left_out |= set(cls.__members__)
        for member, own in ((f".{name}.", m.__dict__) for name, m in cls.__members__.items()):
            yield from (
                ("suffix", f"{member}{_AS_WRITTEN.get(name, name)}", value)
                for name, value in own.items()
                if name != "__objclass__"
            )
    for name, value in cls.__dict__.items():
        if name not in left_out:
            yield "attribute", name, value
    for i, base in enumerate(cls.__bases__):
        yield "suffix", f".__bases__[{i}]", base


def _slots_of(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def parts(obj: Any, reduced: Any) -> Iterator[Edge]:
    """What an object is rebuilt from, by what its ``__reduce_ex__`` returned.

    Raises:
        Malformed: If pickle would not understand it.
    """
    if not is_a(reduced, tuple) or not 2 <= len(reduced) <= 6:
        raise Malformed(f"returned {type(reduced).__name__}, not a string or 2 to 6 values")
    filled: list[Any] = [*reduced, *[None] * (6 - len(reduced))]
    make, args, state, items, pairs, setter = filled
    if not callable(make) or not is_a(args, tuple):
        raise Malformed("did not return a callable and a tuple of arguments first")
    if make is _NEW[0] and args and obj.__class__ is not args[0]:
        raise Malformed(
            f"makes {type_name(args[0])}, while __class__ says {type_name(obj.__class__)}"
        )
    if make is type(obj):
        yield "class", None, make
    elif not any(make is each for each in _NEW):
        yield "reduced", (0,), make
    for i, arg in enumerate(args):
        yield ("class", None, arg) if arg is type(obj) else ("reduced", (1, i), arg)
    indexable = hasattr(class_of(obj), "__getitem__")
    if items is not None:
        kind = "index" if indexable else "added"
        yield from ((kind, i, part) for i, part in enumerate(items))
    if pairs is not None:
        yield from _items(pairs) if indexable else (("pair", i, p) for i, p in enumerate(pairs))
    yield from _state(obj, state)
    if setter is not None:
        yield "reduced", (5,), setter


def _state(obj: Any, state: Any) -> Iterator[Edge]:
    if is_a(state, tuple) and len(state) == 2 and is_a(state[1], dict):
        # (instance dictionary, slots)
        yield from _state(obj, state[0])
        yield from _state(obj, state[1])
    elif class_of(state) is dict:
        for key, value in state.items():
            yield "state", key, value
    elif class_of(state) is list or class_of(state) is tuple:
        yield from (("state item", i, part) for i, part in enumerate(state))
    elif state is not None:
        yield "whole state", None, state
