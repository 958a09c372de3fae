"""Classes that go by value, described once for values that cross one after the other.

What was described for a column is used for the next one, as long as nothing that the classes are
made of has changed. A single call has one value, and so has its result: they bring the description
as a part of their pickle.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from procession.hints import Any
from procession.pickling.by_value import dumps_by_value
from procession.pickling.descriptions import described
from procession.pickling.dispatch_tables import Pickling
from procession.pickling.freshness import Watch
from procession.pickling.shared_classes import SharedClasses, Whole
from procession.system import after_fork

_MOST_ODD = 32
"""Classes of which it is kept in mind that they cannot be known. They are kept themselves."""

T = TypeVar("T", bound=SharedClasses)


class _OfSingleCalls(SharedClasses):
    """Those of values that bring the description themselves, if it can be used again."""

    most_bytes = 1 << 16  # as each value brings a copy

    def __init__(self, pickling: Pickling, *, guests: bool, vain: int = 0) -> None:
        super().__init__(pickling, guests=guests, vain=vain)
        self._odd: dict[int, type] = {}

    def reference(self, place: int) -> Any:
        """How a class of the description goes: with it."""
        return described, (place, self._description)

    def add(self, cls: type) -> Any:
        """Describe a class, too, if it can be known whether it has changed."""
        if id(cls) not in self._odd and Watch().see([cls]):
            return super().add(cls)
        if len(self._odd) >= _MOST_ODD:
            self._odd.clear()
        self._odd[id(cls)] = cls
        raise Whole

    def _describe(self) -> None:
        super()._describe()
        self._gains = self._gains and self._watch is not None

    @property
    def lasts(self) -> bool:
        """As for the others; also if it was given up, so that it is not tried again."""
        return self.is_given_up or not self._classes or super().lasts

    def dumps_whole(self, value: Any, buffers: list[Any] | None) -> bytes:
        """Pickle a value with its classes.

        Raises:
            Exception: As `dumps_by_value`.
        """
        large: list[Any] = []
        blob = self.dump_apart(value, large)
        if blob is None or (large and buffers is None):
            return dumps_by_value(value, self.pickling, buffers)
        if buffers is not None:
            buffers += large
        return blob


class _Idle(Generic[T]):
    """Those that no thread uses now, of one kind."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._idle: dict[tuple[Pickling, bool], T] = {}
        after_fork.renew_in_child(self._idle.clear)

    def take(self, pickling: Pickling, *, guests: bool) -> T:
        """Those of earlier values, if they are as they were; for this thread until `put`."""
        idle = self._idle.pop((pickling, guests), None)
        if idle is None:
            return self._kind(pickling, guests=guests)
        if not idle.lasts:
            return self._kind(pickling, guests=guests, vain=idle.vain)
        idle.begin_again()
        return idle

    def put(self, classes: T) -> None:
        """Keep them for later values. What was interrupted is not to be kept."""
        self._idle[classes.pickling, classes.guests] = classes


of_columns = _Idle(SharedClasses)
_of_calls = _Idle(_OfSingleCalls)


def dumps_lasting(value: Any, pickling: Pickling, buffers: list[Any] | None) -> bytes:
    """Pickle a value by value; its classes as they were described for an earlier one.

    Raises:
        Exception: As `dumps_by_value`.
    """
    classes = _of_calls.take(pickling, guests=False)
    try:
        blob = classes.dumps_whole(value, buffers)
    except Exception:
        _of_calls.put(classes)
        raise
    _of_calls.put(classes)
    return blob
