"""Classes that go by value, described once for values that cross one after the other.

The values of a column cross together, and `procession.pickling.shared_classes` describes their
classes once. A single call has one value, and so has its result. So what was described for one is
used for the next, as long as nothing that the classes are made of has changed.
"""

from __future__ import annotations

from procession.hints import Any
from procession.pickling.by_value import dumps_by_value
from procession.pickling.dispatch_tables import Pickling
from procession.pickling.freshness import Watch
from procession.pickling.shared_classes import SharedClasses, Whole
from procession.system import after_fork

_MOST_VAIN = 16
"""So many more descriptions than values that used one: then it is given up. A guess."""


class _LastingClasses(SharedClasses):
    """Those of one kind of pickling, until one of them changes.

    Args:
        pickling: As for `dumps`.
        vain: How many descriptions have not paid, so far.
    """

    def __init__(self, pickling: Pickling, vain: int = 0) -> None:
        super().__init__(pickling, guests=False)
        self.vain = vain
        self._watch = Watch()
        self._odd: dict[int, type] = {}

    def dumps_again(self, value: Any, buffers: list[Any] | None) -> bytes:
        """Pickle a value.

        Raises:
            Exception: As `dumps_by_value`.
        """
        large: list[Any] = []
        described = self._told
        self._functions.clear()  # their names may lead to others by now
        blob = self.dump_apart(value, large)
        if blob is None or (large and buffers is None):
            return dumps_by_value(value, self._pickling, buffers)
        if described == self._told:
            self.vain -= self.vain > 0
        if buffers is not None:
            buffers += large
        return blob

    @property
    def last(self) -> bool:
        """Whether they can be used for the next value."""
        return self._is_given_up or (self._gains and self._watch.holds())

    @property
    def _is_given_up(self) -> bool:
        return self.vain > _MOST_VAIN

    def add(self, cls: type) -> Any:
        """Describe a class, too, if it can be known whether it has changed."""
        if id(cls) not in self._odd and Watch().see([cls]):
            return super().add(cls)
        self._odd[id(cls)] = cls
        raise Whole

    def _describe(self) -> None:
        self.vain += 1
        self._watch = Watch()
        known = self._watch.see(self._classes)  # before: what changes meanwhile is noticed
        super()._describe()
        self._gains = self._gains and known and not self._is_given_up


_lasting: dict[Pickling, _LastingClasses] = {}
after_fork.renew_in_child(_lasting.clear)


def dumps_lasting(value: Any, pickling: Pickling, buffers: list[Any] | None) -> bytes:
    """Pickle a value by value; its classes as they were described for an earlier one.

    Raises:
        Exception: As `dumps_by_value`.
    """
    classes = _lasting.pop(pickling, None)  # a thread that calls meanwhile makes others
    if classes is None or not classes.last:
        classes = _LastingClasses(pickling, 0 if classes is None else classes.vain)
    try:
        blob = classes.dumps_again(value, buffers)
    except Exception:
        _lasting[pickling] = classes
        raise
    _lasting[pickling] = classes
    return blob
