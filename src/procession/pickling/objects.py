"""What can be asked of an object that may be anything: its type, what it holds, a short text."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import countOf, methodcaller
from types import SimpleNamespace

from procession.hints import Any, NoReturn
from procession.system.cpython import pickle

SCALARS = frozenset({int, float, bool, complex, type(None)})
"""Types of values that hold nothing and are small."""

THEMSELVES = SCALARS | {str}
"""Types of values that are sent as they are. marshal, which packs messages, knows exactly these
types, no subclasses; bytes in their place are a pickle."""

ATOMS = THEMSELVES | {bytes}
"""Types of values that hold no other object, so that there is nothing to check."""

CONTAINERS = frozenset({tuple, list, dict})
"""Types of values that are rows, if they hold nothing but what never changes."""

HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: of a class that a class statement has made. Those in C never change."""

as_usual = methodcaller("__reduce_ex__", 5)
"""What pickle itself asks an object."""

# -- types -------------------------------------------------------------------------------------


class_of: Callable[[object], type[Any]] = type
"""The type itself, although a proxy's ``__class__`` may name another one. A function of ours would
cost a call for each value."""


def is_one_of(cls: type[Any], kinds: frozenset[Any]) -> bool:
    """Whether a type is one of these. A metaclass may refuse to be hashed, in any way it likes."""
    try:
        return cls in kinds
    except BaseException as error:
        _pass_on(error)
        return False


def types_of(values: Iterable[Any]) -> set[type[Any]]:
    """The types of values; `object` for all of them, if one cannot be hashed."""
    try:
        return set(map(type, values))
    except BaseException as error:
        _pass_on(error)
        return {object}


def all_are(values: Iterable[Any], kinds: frozenset[Any]) -> bool:
    """Whether the type of each value is one of these."""
    try:
        return kinds.issuperset(map(type, values))
    except BaseException as error:
        _pass_on(error)
        return False


def all_of(values: Sequence[Any], kind: type[Any]) -> bool:
    """Whether all values are of this very type. It takes half the time of `all_are`."""
    try:
        return countOf(map(type, values), kind) == len(values)
    except BaseException as error:
        _pass_on(error)
        return False


def _pass_on(error: BaseException) -> None:
    """Raise what a signal handler has raised, and no code of the type's."""
    from procession.system.interrupts import strikes

    if strikes(error):
        raise error


attribute_of: Callable[[type[Any], str], Any] = type.__getattribute__
"""A class's attribute, such as its name, without asking its metaclass."""


def is_a(obj: object, *kinds: type[Any]) -> bool:
    """Whether `obj` is an instance of one of `kinds`.

    For type checkers: `isinstance` would turn what may be anything into a ``list[Unknown]``.
    """
    return isinstance(obj, kinds)


def type_name(cls: type) -> str:
    """``module.Name`` of a class. Its metaclass is not asked."""
    return f"{attribute_of(cls, '__module__')}.{attribute_of(cls, '__qualname__')}"


def bases_of(cls: type) -> list[tuple[type, Mapping[str, Any]]]:
    """A class and its bases, the nearest first, each with what it defines. Asks no metaclass."""
    return [(base, attribute_of(base, "__dict__")) for base in attribute_of(cls, "__mro__")]


def a_type(cls: type) -> str:
    """A class's name in a sentence: with its article, and its module if that says anything."""
    name = type_name(cls).removeprefix("builtins.").removeprefix("__main__.")
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


# -- short texts -------------------------------------------------------------------------------

_LONGEST = 80


class _ShortRepr(reprlib.Repr):
    """`reprlib`, with bytes cut before they are written out, and arrays told by their shape."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = 50

    def repr_bytes(self, x: bytes | bytearray, level: int) -> str:
        """Show the beginning of long bytes."""
        return repr(x) if len(x) <= 24 else f"{x[:16]!r}... ({len(x)} bytes)"

    repr_bytearray = repr_bytes

    def repr_instance(self, x: Any, level: int) -> str:
        """Show arrays and data frames by their shape, and others as `reprlib` does."""
        shape = getattr(x, "shape", None)
        if type(shape) is tuple:
            return f"<{type(x).__name__} of shape {shape}>"
        return super().repr_instance(x, level)


_shown = _ShortRepr()


def short_repr(obj: Any) -> str:
    """One line of at most 80 characters that shows `obj`; never raises, as its ``repr`` may."""
    try:
        text = " ".join(_shown.repr(obj).split())
    except BaseException as error:
        _pass_on(error)
        text = f"<{type_name(class_of(obj))}, whose repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def text_of(error: BaseException) -> str:
    """What an error says; never raises, as its ``str`` may."""
    try:
        return str(error)
    except BaseException as raised:
        _pass_on(raised)
        return f"<its str() raised {type_name(class_of(raised))}>"


# -- nothing but builtin data? -----------------------------------------------------------------

_PAYLOAD = 2 * 64 * 1024 + 4096
"""Larger pieces are one large payload, which the pickler passes on as it is."""

_MOST = 1 << 19
"""Bytes without payloads that are looked at. Values that refer to each other again and again are
gone through again each time, which may never end."""

_NUMBER = 16
"""Bytes per value that are added to this: no float takes more, and no integer of 64 bits."""

_FEW = 64
"""So many values, and texts, have their types looked at: a pickler is sooner on its way then."""


class _Other(Exception):
    """There is something else."""


class _Glance(pickle.Pickler):
    """A pickler that keeps nothing, and stops at all that is no builtin data.

    The C pickler goes through a list of numbers twice as fast as a scan of their types does. It
    sees what is inside of containers, too.
    """

    def __init__(self) -> None:
        sink: Any = SimpleNamespace(write=self._written)
        super().__init__(sink, 5)
        self.fast = True  # without a memo, which takes most of the time; deep cycles are an error
        self.bytes = 0
        self._small = 0
        self._most = _MOST

    def _written(self, piece: bytes) -> None:
        size = len(piece)
        self.bytes += size
        if size < _PAYLOAD:
            self._small += size
            if self._small > self._most:
                raise _Other

    def reducer_override(self, obj: object) -> NoReturn:
        """Called for all but builtin data."""
        raise _Other

    def begin(self, count: int) -> None:
        """Count from 0 again, for so many values."""
        self.bytes = self._small = 0
        self._most = _MOST + _NUMBER * count


_idle: list[_Glance] = []


def builtin_bytes(values: Sequence[Any]) -> int | None:
    """How many bytes a pickle of the values has; 0 if they need none, as they hold nothing.

    `None` if something in them is no builtin data, or there is too much to tell quickly.

    Raises:
        Exception: Anything else that stops a pickler, such as depth.
    """
    kind = class_of(values[0])
    texts = kind is str or kind is bytes
    if texts and all_of(values, kind):
        return 0
    if (texts or len(values) <= _FEW) and all_are(values, ATOMS):
        return 0
    try:
        glance = _idle.pop()
    except IndexError:
        glance = _Glance()
    glance.begin(len(values))
    try:
        glance.dump(values)
    except _Other:
        return None  # and drop the pickler, which may be anywhere
    found = glance.bytes
    _idle.append(glance)
    return found
