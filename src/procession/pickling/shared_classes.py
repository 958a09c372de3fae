"""Classes that go by value, described once for many values that cross together.

To describe a class takes half a millisecond: its methods, their globals, what they use. A script's
own dataclass would cost that for each item and each result. Here it is pickled once, with all other
classes that these values are of. Each value brings that pickle as it is, so it can go anywhere and
alone, and the far side opens it once.

A value and a class may hold the same object, and functions and classes share globals. So a value
that has a part in common with the classes, or a function that goes by value, is pickled whole.
"""

from __future__ import annotations

import types

from procession.hints import Any
from procession.pickling.by_value import VALUE, ValuePickler, dumps_by_value
from procession.pickling.code_rules import Code
from procession.pickling.dispatch_tables import LARGE, Pickling, keep_small
from procession.pickling.dynamic_code import described, is_guest
from procession.pickling.objects import ATOMS, is_a
from procession.system.interrupts import strikes

_MOST_BYTES = 1 << 16
"""Of a description: with a larger one each value would take longer to copy. A guess."""

_MOST_CLASSES = 32

_LARGE = 2 * LARGE
"""Bytes of a pickle of a value that goes alone: as much again as its classes may take."""

_NO_PARTS = ATOMS | {types.FunctionType, types.BuiltinFunctionType, types.CodeType}
"""Types of what no one can tell from a copy, or what has a name or place of its own; as classes."""


class Whole(Exception):
    """A value has to be pickled with all that it uses."""


class SharedClasses:
    """Pickles values by value, one after the other, each alone.

    The classes are taken as they are when a value first needs one, so it is not to be kept for
    long.

    Args:
        pickling: As for `dumps`.
        guests: Whether only classes that were defined in another process are described once. A
            worker's own may change from item to item, and no one knows of them at home.
    """

    def __init__(self, pickling: Pickling, *, guests: bool) -> None:
        self._pickling: Pickling = pickling
        self._guests = guests
        self._classes: list[type] = []
        self._places: dict[int, int] = {}
        self._description, self._told = b"", 0
        self._parts: frozenset[int] = frozenset()
        self._functions: dict[int, tuple[Any, Any]] = {}
        self._kept: Any = None
        self._pickler: _Sharing | None = None
        self._gains = True

    def dumps(self, value: Any) -> bytes | None:
        """Pickle a value; `None` if it is large, or has large buffers.

        Raises:
            Exception: As `dumps_by_value`.
        """
        large: list[Any] = []
        blob = self.dump_apart(value, large)
        if blob is None:  # it passes when it is whole; or that says why not
            blob = dumps_by_value(value, self._pickling, large)
        return None if large or len(blob) > _LARGE else blob

    def has(self, cls: type) -> bool:
        """Whether a class goes by value, and was met before."""
        return id(cls) in self._places

    def function(self, function: types.FunctionType, pickler: ValuePickler) -> Any:
        """How a function goes that has a name."""
        known = self._functions.get(id(function))
        if known is None:
            if pickler.code.reference(function) is None:
                raise Whole
            known = function, ValuePickler.reduce_function(pickler, function)
            self._functions[id(function)] = known
        return known[1]

    def reduce(self, cls: type) -> Any:
        """How a class goes, if it was met before."""
        place = self._places.get(id(cls))
        return None if place is None else (described, (place, self._description))

    def add(self, cls: type) -> Any:
        """Describe a class, too; how it goes."""
        if self._guests and not is_guest(cls):
            raise Whole
        self._places[id(cls)] = len(self._classes)
        self._classes.append(cls)
        return self.reduce(cls)

    def dump_apart(self, value: Any, large: list[Any]) -> bytes | None:
        """Pickle a value without its classes; `None` if it does not pass so.

        Args:
            value: Anything.
            large: Takes its large buffers.
        """
        try:
            while self._gains:
                large.clear()
                blob = self._dump(value, large)
                if self._is_complete:
                    return blob
                self._describe()
        except BaseException as error:
            if strikes(error):
                raise
        return None

    def _dump(self, value: Any, large: list[Any]) -> bytes:
        VALUE.keep_in_step()
        # One that has failed, or met a class for the first time, has seen code that later values
        # have no part in.
        pickler, self._pickler = self._pickler or _Sharing(self._code(), self), None
        pickler.dump(value)
        if not self._parts.isdisjoint(pickler.memo.copy()):
            raise Whole
        blob = b"".join(pickler.pieces)
        large += pickler.large
        if self._is_complete and not large:
            pickler.clear_memo()
            pickler.pieces.clear()
            self._pickler = pickler
        return blob

    @property
    def _is_complete(self) -> bool:
        """Whether the description has all classes that were met, also in values that failed."""
        return self._told == len(self._classes)

    def _describe(self) -> None:
        self._gains = False
        pieces: list[bytes] = []
        sink: Any = types.SimpleNamespace(write=pieces.append)
        pickler = ValuePickler(sink, None, self._code(), {})
        pickler.dump(self._classes)
        self._description, self._told = b"".join(pieces), len(self._classes)
        # What was made for the pickle is kept, too, so that no other object has its id.
        self._kept = memo = pickler.memo.copy()
        self._parts = frozenset(
            [
                key
                for key, (_, part) in memo.items()
                if not (type(part) in _NO_PARTS or is_a(part, type))
            ]
        )
        few = len(self._classes) <= _MOST_CLASSES
        self._gains = few and len(self._description) <= _MOST_BYTES

    def _code(self) -> Code:
        return Code(self._pickling == "strict")


class _Sharing(ValuePickler):
    """Takes classes that go by value from what was described before."""

    def __init__(self, code: Code, shared: SharedClasses) -> None:
        self.pieces: list[bytes] = []
        self.large: list[Any] = []
        sink: Any = types.SimpleNamespace(write=self.pieces.append)
        super().__init__(sink, keep_small(self.large), code, {})
        self._shared = shared

    def reduce_function(self, function: types.FunctionType) -> Any:
        return self._shared.function(function, self)

    def reduce_class(self, cls: type) -> Any:
        known = self._shared.reduce(cls)
        if known is not None:
            return known
        if self.code.is_named(cls):
            return super().reduce_class(cls)
        return self._shared.add(cls)
