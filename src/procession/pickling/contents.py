"""What a pickle by value has of an object, to see later whether it has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import chain
from operator import attrgetter, is_, methodcaller
from types import (
    BuiltinFunctionType,
    CellType,
    ClassMethodDescriptorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)

from procession.hints import Any
from procession.pickling.objects import HEAP_TYPE, as_usual, class_of, is_a

HeldBy = Callable[[Any], Iterable[Any]]
"""Gives what an object holds."""

CACHED = type(cache(int))
"""The type of functions under ``functools.cache`` and ``lru_cache``."""

_CONSTANT = (
    *(ModuleType, BuiltinFunctionType, type(Ellipsis), type(NotImplemented), range),
    *(GetSetDescriptorType, MemberDescriptorType, MethodDescriptorType),
    *(ClassMethodDescriptorType, WrapperDescriptorType),
)
_CONSTANT_BY_NAME = frozenset(
    {
        *("re.Pattern", "datetime.date", "datetime.timedelta", "decimal.Decimal", "uuid.UUID"),
        *("fractions.Fraction", "pathlib.PosixPath", "pathlib.PurePosixPath"),
        *("logging.Logger", "logging.RootLogger"),  # they go by their names
        "_abc._abc_data",  # in its place goes what `virtual_subclasses` gives
        *("datetime.timezone", "zoneinfo.ZoneInfo", "operator.itemgetter", "operator.attrgetter"),
        *("numpy.ufunc", "numpy.float64", "numpy.float32", "numpy.int64", "numpy.int32"),
    }
)
_MAPPINGS = frozenset(
    {
        *("builtins.dict", "builtins.mappingproxy"),
        *("collections.OrderedDict", "collections.Counter", "collections.defaultdict"),
    }
)
_MOST_COPIED = 1 << 14
"""Bytes that are copied and compared: 2 µs. What is larger is pickled each time."""
_HINTS = ("types.GenericAlias", "types.UnionType")
_OF_HINT = ("__origin__", "__args__", "__bound__", "__constraints__", "__metadata__")

values: HeldBy = methodcaller("values")
of_class: HeldBy = attrgetter("__class__", "__bases__", "__name__", "__qualname__")
of_defaultdict: HeldBy = attrgetter("__class__", "default_factory")
of_function: Callable[[Any], tuple[Any, ...]] = attrgetter(
    *("__code__", "__defaults__", "__kwdefaults__", "__annotations__"),
    *("__name__", "__qualname__", "__doc__", "__dict__"),
)

BY_TYPE: Mapping[str, HeldBy] = {
    "builtins.list": iter,
    "builtins.set": iter,
    "collections.deque": iter,
    "builtins.method": attrgetter("__self__", "__func__"),
    "builtins.staticmethod": attrgetter("__func__", "__dict__"),
    "builtins.classmethod": attrgetter("__func__", "__dict__"),
    "builtins.property": attrgetter("fget", "fset", "fdel", "__doc__"),
    "functools.cached_property": attrgetter("func", "attrname"),
    "functools.partial": attrgetter("func", "args", "keywords", "__dict__"),
    "functools._lru_cache_wrapper": attrgetter("__wrapped__", "__dict__"),
    "_collections._tuplegetter": attrgetter("__class__", "__doc__"),
    "collections._tuplegetter": attrgetter("__class__", "__doc__"),  # since 3.13
    "dataclasses._FIELD_BASE": attrgetter("__class__", "name"),
}

_usual_state: Any = getattr(object, "__getstate__")  # noqa: B009 - not known to type checkers


def of_cell(cell: CellType) -> Iterable[Any]:
    """What a cell of a closure holds."""
    return (cell.cell_contents,)


def is_constant(value: Any) -> bool:
    """Whether a value never changes, and holds nothing that may."""
    return isinstance(value, _CONSTANT) or (is_a(value, type) and not value.__flags__ & HEAP_TYPE)


def parts_that_stay(value: Any, name: str) -> Iterable[Any] | None:
    """What is in a value that always holds the same; `None` if it does not.

    Args:
        value: Any.
        name: Of its type, as in the functions below.
    """
    if name in _CONSTANT_BY_NAME:
        return ()
    kind = class_of(value)
    if kind is tuple or kind is frozenset:
        return tuple(value)
    if name in ("datetime.datetime", "datetime.time"):
        return (value.tzinfo,)
    if kind.__module__ == "typing" or name in _HINTS:
        return [getattr(value, each, None) for each in _OF_HINT]
    return None


def is_mapping(name: str) -> bool:
    """Whether objects of a type are mappings that Python's library has, and nothing else."""
    return name in _MAPPINGS


def copier(value: Any, name: str) -> Callable[[Any], Any] | None:
    """What takes a copy of a small value of bytes, to be compared with a later one; or `None`."""
    if name == "builtins.bytearray" and len(value) <= _MOST_COPIED:
        return bytes
    if name == "numpy.ndarray" and value.nbytes <= _MOST_COPIED and not value.dtype.hasobject:
        return _of_array
    return None


def _of_array(array: Any) -> tuple[Any, ...]:
    return array.dtype.str, array.shape, array.strides, array.dtype.names, array.tobytes()


def is_plain(kind: Any) -> bool:
    """Whether pickle takes an object of this class as its attributes, and asks no code for them."""
    from procession.pickling.by_value import VALUE

    usual = ("__reduce__", "__reduce_ex__", "__getattribute__")
    given: Any = kind.__getstate__
    return (
        VALUE[kind] is as_usual
        and all(getattr(kind, name) is getattr(object, name) for name in usual)
        and (given is _usual_state or given.__module__ == "dataclasses")  # those with slots
        and not any(hasattr(kind, name) for name in ("__getnewargs__", "__getnewargs_ex__"))
        and all(base is object or base.__flags__ & HEAP_TYPE for base in kind.__mro__)
    )


class Batch:
    """Objects that are looked at in the same way, all together in C.

    Args:
        held_by: What an object holds.
    """

    __slots__ = ("_before", "_held_by", "things")

    def __init__(self, held_by: HeldBy) -> None:
        self._held_by = held_by
        self.things: list[Any] = []
        self._before: list[Any] = []

    def add(self, thing: Any) -> list[Any]:
        """Look at one more; what it holds."""
        held = list(self._held_by(thing))
        self.things.append(thing)
        self._before += held
        return held

    def holds(self) -> bool:
        """Whether all of them hold the very same."""
        now = [*chain.from_iterable(map(self._held_by, self.things))]
        return len(now) == len(self._before) and all(map(is_, now, self._before))
