"""Classes that go by value, described once for many values that cross together.

To describe a class takes half a millisecond: its methods, their globals, what they use. A script's
own dataclass would cost that for each item and each result. Here it is pickled once, with all other
classes that these values are of. Each value brings that pickle with it, so it can go anywhere and
alone. It is written once for a column, and the far side opens it once.

A value and a class may hold the same object, and functions and classes share globals. So a value
that has a part in common with the classes, or a function that goes by value, is pickled whole.
"""

from __future__ import annotations

import os
import types

from procession.hints import Any
from procession.pickling.by_value import VALUE, ValuePickler, dumps_by_value
from procession.pickling.code_rules import Code
from procession.pickling.descriptions import KEY_BYTES, described, described_by
from procession.pickling.dispatch_tables import LARGE, Pickling, keep_small
from procession.pickling.dynamic_code import is_guest
from procession.pickling.freshness import Watch
from procession.pickling.objects import ATOMS, is_a
from procession.system.interrupts import strikes

_MOST_CLASSES = 32

_MOST_VAIN = 16
"""Then it is given up: a program makes classes, or changes one, for each call. A guess."""

_LARGE = 2 * LARGE
"""Bytes of a pickle of a value that goes alone, in which its classes may be."""

_NO_PARTS = ATOMS | {types.FunctionType, types.BuiltinFunctionType, types.CodeType}
"""Types of what no one can tell from a copy, or what has a name or place of its own; as classes."""


class Whole(Exception):
    """A value has to be pickled with all that it uses."""


class SharedClasses:
    """Pickles values by value, one after the other, each alone.

    The classes are taken as they are when a value first needs one.

    Args:
        pickling: As for `dumps`.
        guests: Whether only classes that were defined in another process are described once. A
            worker's own may change from item to item, and no one knows of them at home.

    Attributes:
        pickling: As given; and so `guests`.
        most_bytes: Of a description: as many as a message aims at.
        vain: How many descriptions have not paid, so far: they were not used a second time.
    """

    most_bytes = 1 << 18

    def __init__(self, pickling: Pickling, *, guests: bool, vain: int = 0) -> None:
        self.vain = vain
        self.pickling: Pickling = pickling
        self.guests = guests
        self._classes: list[type] = []
        self._places: dict[int, int] = {}
        self._description = b""
        self._told = self._told_before = 0
        self._parts: frozenset[int] = frozenset()
        self._functions: dict[int, tuple[Any, Any]] = {}
        self._kept: Any = None
        self._known: dict[int, Any] = {}
        self._watch: Watch | None = None
        self._pickler: _Sharing | None = None
        self._gains = True

    def dumps(self, value: Any) -> bytes | tuple[bytes, bytes] | None:
        """Pickle a value; `None` if it is large, or has large buffers.

        Returns:
            Its pickle; or a description of its classes, and the pickle of all else.

        Raises:
            Exception: As `dumps_by_value`.
        """
        large: list[Any] = []
        blob = self.dump_apart(value, large)
        apart = blob is not None
        if blob is None:  # it passes when it is whole; or that says why not
            blob = dumps_by_value(value, self.pickling, large)
        if large or len(blob) > _LARGE:
            return None
        return (self._description, blob) if apart and self._classes else blob

    @property
    def lasts(self) -> bool:
        """Whether it can be used for values that cross later: no class has changed."""
        return self._gains and self._watch is not None and self._watch.holds()

    @property
    def is_given_up(self) -> bool:
        """Whether too many descriptions were of no use for what crossed later."""
        return self.vain > _MOST_VAIN

    def begin_again(self) -> None:
        """Go on with values that cross later."""
        self.vain -= self._told == self._told_before and self.vain > 0 and not self.is_given_up
        self._told_before = self._told
        self._functions.clear()  # their names may lead to others by now

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
        return None if place is None else self.reference(place)

    def reference(self, place: int) -> Any:
        """How a class of the description goes."""
        return described_by, (self._description[:KEY_BYTES], place)

    def add(self, cls: type) -> Any:
        """Describe a class, too; how it goes."""
        if self.guests and not is_guest(cls):
            raise Whole
        self._places[id(cls)] = place = len(self._classes)
        self._classes.append(cls)
        return self.reference(place)

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
        pickler, self._pickler = self._pickler, None
        if pickler is None:
            pickler = _Sharing(self._code(), self, self._known)
        pickler.dump(value)
        if self._parts and not self._parts.isdisjoint(pickler.memo.copy()):  # slow: 1 µs for each
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
        self._watch = self._watched()  # before it is pickled: what changes meanwhile is noticed
        pieces = [os.urandom(KEY_BYTES)]
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
        self._known = {id(each): self.reference(at) for at, each in enumerate(self._classes)}
        self._known |= dict.fromkeys(map(id, (described, described_by)), NotImplemented)
        few = len(self._classes) <= _MOST_CLASSES
        self._gains = few and len(self._description) <= self.most_bytes

    def _watched(self) -> Watch | None:
        """What tells whether a class has changed, if that can be known and pays."""
        self.vain += 1
        watch = Watch()
        return watch if not self.is_given_up and watch.see(self._classes) else None

    def _code(self) -> Code:
        return Code(self.pickling == "strict")


class _Sharing(ValuePickler):
    """Takes classes that go by value from what was described before."""

    def __init__(self, code: Code, shared: SharedClasses, known: dict[int, Any]) -> None:
        self.pieces: list[bytes] = []
        self.large: list[Any] = []
        sink: Any = types.SimpleNamespace(write=self.pieces.append)
        super().__init__(sink, keep_small(self.large), code, {})
        self._shared = shared
        self._known = known

    def reducer_override(self, obj: Any) -> Any:
        known = self._known.get(id(obj))
        return super().reducer_override(obj) if known is None else known

    def reduce_function(self, function: types.FunctionType) -> Any:
        return self._shared.function(function, self)

    def reduce_class(self, cls: type) -> Any:
        known = self._shared.reduce(cls)
        if known is not None:
            return known  # it is one of those that are not described yet
        return super().reduce_class(cls) if self.code.is_named(cls) else self._shared.add(cls)
