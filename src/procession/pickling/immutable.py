"""What never changes, and rows of it: many such values cross in one pickle.

There, what several values hold is written once, and is one object on the far side. That must not be
where one of them could change it. So these are atoms, objects of types that never change, and
tuples, lists and dicts of both, none of which occurs twice. A pickle for each value would take
three times as long: it names its keys and types again.
"""

from __future__ import annotations

import copyreg
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from types import BuiltinFunctionType, SimpleNamespace

from procession.hints import Any
from procession.items import ALONE
from procession.pickling.objects import ATOMS, CONTAINERS, class_of, types_of
from procession.system.cpython import pickle
from procession.system.interrupts import strikes

_DEPTH = 2
"""How deep containers may lie in each other to be looked through. Rows seldom have more."""

_TYPES = {
    "datetime": ("date", "time", "datetime", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "pathlib": ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"),
    "uuid": ("UUID",),
}
"""Modules of the standard library, and their types whose objects never change."""

_SCALARS = "biufcmMSU"
"""Kinds of numpy's types of numbers, times and texts, by `numpy.dtype.kind`."""

_NAMED = (type, BuiltinFunctionType)
"""Types of what a pickle names."""

_known: tuple[list[Any], frozenset[Any]] = ([], ATOMS)


def immutable_types() -> frozenset[Any]:
    """The types whose objects never change, of the modules that are loaded."""
    global _known
    modules = [sys.modules.get(name) for name in (*_TYPES, "numpy")]
    if modules != _known[0]:
        *standard, numpy = modules
        found = set(ATOMS)
        for module, (name, kinds) in zip(standard, _TYPES.items(), strict=True):
            if _is_standard(name, module):
                found.update(getattr(module, kind) for kind in kinds)
        found.update(_of_numpy(numpy))
        _known = modules, frozenset(found)
    return _known[1]


def _of_numpy(numpy: Any) -> Iterator[Any]:
    """The types of its numbers, and what a pickle of them names."""
    for code in getattr(numpy, "typecodes", {}).get("All", ""):
        dtype = numpy.dtype(code)
        if dtype.kind in _SCALARS:
            cls = class_of(dtype)
            yield from (dtype.type, cls, class_of(cls), numpy.float64(0).__reduce__()[0])


def _is_standard(name: str, module: Any) -> bool:
    """Whether a module is loaded, and no other one of this name, which a program may have."""
    folder = os.path.dirname(getattr(module, "__file__", None) or "")
    home = os.path.dirname(os.__file__)
    return folder in (home, os.path.join(home, name))


def pack_whole(values: Sequence[Any], most: int) -> tuple[bytes, int, bool] | None:
    """Pack as many values as fit, each as it is.

    Args:
        values: The values.
        most: Bytes after which no more are taken.

    Returns:
        The pickle of their tuple, how many it holds, and whether none of them ever changes.
        `None` if they cannot go so, or if the first one is large.
    """
    try:
        kinds = _types_that_cross(values)
        if kinds is None:
            return None
        if bytes in kinds and max(map(len, _of_type(bytes, values, kinds)), default=0) >= ALONE:
            return None
        taken: int = len(values)
        while taken:
            body: bytes = _dumps(tuple(values if taken == len(values) else values[:taken]), kinds)
            if len(body) <= most:
                return body, taken, kinds.isdisjoint(CONTAINERS)
            taken = min(taken - 1, taken * most // len(body))
    except BaseException as error:  # another thread changes one of them, say
        if strikes(error):
            raise
    return None


def never_change(values: Sequence[Any]) -> bool:
    """Whether values are of types that never change, or rows of such: they can cross."""
    try:
        kinds = _types_that_cross(values)
        if kinds is None:
            return False
        if _may_hold_others(kinds):
            _Checked(SimpleNamespace(write=len)).dump(tuple(values))  # which keeps nothing
    except BaseException as error:
        if strikes(error):
            raise
        return False
    return True


def _dumps(values: tuple[Any, ...], kinds: set[Any]) -> bytes:
    """The pickle of values that hold objects of these types, and of any as keys of a dict.

    Raises:
        ValueError: One that may change is among them, as a key's or a time's zone can. Or another
            thread has changed a row meanwhile.
    """
    if not _may_hold_others(kinds):
        return pickle.dumps(values, 5)
    pieces: list[bytes] = []
    _Checked(SimpleNamespace(write=pieces.append)).dump(values)
    return b"".join(pieces)


def _may_hold_others(kinds: set[Any]) -> bool:
    """Whether objects of these types may hold what was not looked at: a key, a time's zone."""
    return not kinds.isdisjoint(CONTAINERS) or any(hasattr(kind, "tzinfo") for kind in kinds)


class _Checked(pickle.Pickler):
    """Stops at what may change, the time zone of a `datetime`, say. Of atoms it is not asked."""

    def __init__(self, sink: Any) -> None:
        super().__init__(sink, 5)
        self._types = immutable_types()

    def reducer_override(self, obj: Any) -> Any:
        """As pickle does it, or not at all."""
        kind = class_of(obj)
        if kind in self._types or (kind in _NAMED and obj in self._types):
            return NotImplemented
        raise ValueError


def _types_that_cross(values: Sequence[Any]) -> set[Any] | None:
    """As `_types_within`. `None` also if the program wants one of them pickled its own way."""
    if _types_within(values[:1]) is None:  # it is looked at alone: often it says enough
        return None
    kinds = _types_within(values)
    own = kinds is not None and not (kinds & copyreg.dispatch_table.keys() <= {complex})
    return None if own else kinds


def _types_within(values: Sequence[Any]) -> set[Any] | None:
    """The types of values and of what they hold; `None` if they cannot go as they are."""
    atoms = immutable_types()
    level, kinds = values, types_of(values)
    found, changeable = set(kinds), list[int]()
    for depth in range(_DEPTH + 1):
        if kinds <= atoms:
            return found if len(set(changeable)) == len(changeable) else None
        if depth == _DEPTH or not kinds <= atoms | CONTAINERS:
            break
        groups = [(kind, _of_type(kind, level, kinds)) for kind in kinds & CONTAINERS]
        for kind, group in groups:
            if kind is not tuple:
                changeable += map(id, group)
        below = set[Any]().union(*map(types_of, _members(groups)))
        level = () if below <= atoms else [*chain.from_iterable(_members(groups))]
        kinds = below
        found |= kinds
    return None


def _of_type(kind: Any, values: Sequence[Any], kinds: set[Any]) -> Sequence[Any]:
    return values if len(kinds) == 1 else [each for each in values if type(each) is kind]


_values_of: Callable[[Any], Iterable[Any]] = vars(dict)["values"]


def _members(groups: Iterable[tuple[Any, Sequence[Any]]]) -> Iterator[Iterator[Any]]:
    """What containers of each type hold. A key of a dict can hold nothing that would change it."""
    for kind, group in groups:
        yield chain.from_iterable(map(_values_of, group) if kind is dict else group)
