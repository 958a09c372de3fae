"""Whether values that stay in this process could have gone to a worker, and come back.

An item that runs here is the caller's own object, and so is its result. A lock is to be refused all
the same, wherever it happens to run. So they are pickled for nothing, as far as that costs little
next to the items themselves:

* numbers, texts and bytes hold nothing, and are not pickled;
* the first values of a map are, and the first of each type;
* the others are as long as all that takes at most a fifth of the time of the items.

Under `procession_strict` they cross in earnest: see `in_process`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from procession.hints import Any
from procession.pickling.objects import (
    ATOMS,
    all_are,
    all_of,
    builtin_bytes,
    class_of,
    is_one_of,
    types_of,
)
from procession.pickling.out_of_band import bytes_out_of_band
from procession.pickling.pickler import Pickling, dumps
from procession.system import NamedTuple
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter

_SHARE = 0.2
"""Most of the items' own time that checks take once the first values have passed."""

_FIRST = 64
_FIRST_BYTES = 1 << 16
_LEAST = 3
"""So many values are checked at any cost, while their pickles have no more bytes than that. A few
are in any case."""

_CHEAP = 40e-9
"""Seconds per value that are not counted: to look at its type takes half as long."""

_PIECE = 1 << 15
_UNLIMITED = 1 << 62

Refusal = Callable[[int, Any], "BaseException | None"]


class Refused(NamedTuple):
    """The first value that is refused: its place among those looked at, and the error."""

    at: int
    error: BaseException


class Budget:
    """The time of a map's items here, and of the checks of its items and results."""

    __slots__ = ("earned", "ran", "spent")

    def __init__(self) -> None:
        self.earned = 0.0
        self.ran = 0
        self.spent = 0.0

    def add(self, ran: int, seconds: float) -> None:
        """So many items have run, and took so long."""
        self.ran += ran
        self.earned += seconds

    def left(self, coming: int) -> float:
        """Seconds that checks may take, if so many more items are about to run."""
        expected = self.earned + (self.earned / self.ran * coming if self.ran else 0.0)
        return _SHARE * expected - self.spent


class Checks:
    """Checks the items, or the results, of one map.

    Args:
        refusal: Tells why the value of this index cannot cross; `None` if it can.
        pickling: How the function's values are pickled.
        budget: Shared by the checks of items and results.
        star: Whether each value is a tuple of arguments, whose types are those that count.
    """

    def __init__(
        self, refusal: Refusal, pickling: Pickling, budget: Budget, *, star: bool = False
    ) -> None:
        self._refusal = refusal
        self._pickling: Pickling = pickling
        self._budget = budget
        self._star = star
        self._closely = False  # something was met that is no builtin data
        self._looked = self._bytes = 0
        self._rate = 0.0  # seconds that the last value took
        self._seen: set[type] = set()
        self._known: tuple[int, BaseException] | None = None

    def first(self, start: int, values: Sequence[Any], coming: int = 0) -> Refused | None:
        """The first of these values that is refused, as far as they are looked at.

        Args:
            start: The index of the first one.
            values: Some of the map's values, in order.
            coming: How many items are about to run.
        """
        known = self._known
        if known is not None and 0 <= known[0] - start < len(values):
            return Refused(known[0] - start, known[1])
        at, size, count = 0, 1 if self._closely else _FIRST, len(values)
        if count == 1 and is_one_of(class_of(values[0]), ATOMS):
            return None
        while at < count:
            size = min(size, self._allowed(coming))
            if size < 1:
                return self._noticed(start, self._new_types(start, values, at))
            piece = values[at : at + size] if at or size < count else values
            begin = perf_counter()
            found = None if self._closely else self._builtin(piece)
            if found is None and not self._closely:
                if not at and size > _FIRST:
                    at = _FIRST  # which are known to hold nothing
                self._closely, size = True, 1
                continue
            if found == 0 and not at and size < count:
                if count <= self._allowed(coming):
                    size = count  # likely all are like these, and then no copy is needed
                    continue
                if all_are(values, ATOMS):
                    return None
            refused = self._dump(start + at, piece) if found is None else None
            if found != 0:
                self._took(perf_counter() - begin, piece)
            if refused is not None:
                return self._noticed(start, Refused(at + refused.at, refused.error))
            at += len(piece)
            size = min(size * (2 if self._closely else 8), _PIECE)
        return None

    def _noticed(self, start: int, refused: Refused | None) -> Refused | None:
        """Refuse it the next time, too: what stands before it may run first."""
        if refused is not None:
            self._known = start + refused.at, refused.error
        return refused

    def one(self, index: int, value: Any) -> None:
        """Check one item.

        Raises:
            BaseException: It is refused.
        """
        if is_one_of(class_of(value), ATOMS):
            return
        refused = self.first(index, [value], 1)
        if refused is not None:
            raise refused.error

    def _allowed(self, coming: int) -> int:
        """How many values may be pickled now."""
        if self._rate <= _CHEAP:
            return _UNLIMITED
        first = (_FIRST if self._bytes <= _FIRST_BYTES else _LEAST) - self._looked
        return max(first, int(self._budget.left(coming) / self._rate))

    def _took(self, seconds: float, piece: Sequence[Any]) -> None:
        self._rate = seconds / len(piece)
        if self._rate > _CHEAP:
            self._budget.spent += seconds
            self._looked += len(piece)
            self._seen.update(self._types(piece))

    def _builtin(self, piece: Sequence[Any]) -> int | None:
        """See `builtin_bytes`; `None` also if they cannot be pickled."""
        try:
            size = builtin_bytes(piece)
        except Exception as error:
            if strikes(error):
                raise
            return None
        self._bytes += size or 0
        return size

    def _dump(self, start: int, piece: Sequence[Any]) -> Refused | None:
        """Pickle them; one by one if all together cannot be pickled."""
        try:
            self._bytes += len(dumps(piece, self._pickling, []))
            return None
        except BaseException as error:
            if strikes(error):
                raise
        for at, value in enumerate(piece):
            refused = (
                None if is_one_of(class_of(value), ATOMS) else self._refusal(start + at, value)
            )
            if refused is not None:
                return Refused(at, refused)
        return None

    def _types(self, values: Sequence[Any]) -> set[type]:
        if self._star:
            tuples: list[Any] = [each for each in values if class_of(each) is tuple]
            return types_of(chain.from_iterable(tuples))
        return types_of(values)

    def _new_types(self, start: int, values: Sequence[Any], since: int) -> Refused | None:
        """Check the first value of each type that was not seen before."""
        rest = values[since:] if since else values
        kind = class_of(rest[0])
        if not self._star and all_of(rest, kind):
            rest = rest[:1]  # they are all alike: half the time of a set of their types
        new = self._types(rest) - self._seen - ATOMS
        for at, value in enumerate(rest, since) if new else ():
            kinds = self._types((value,)) & new
            if kinds:
                new -= kinds
                self._seen |= kinds
                refused = self._dump(start + at, (value,))
                if refused is not None:
                    return Refused(at, refused.error)
                if not new:
                    break
        return None


def result_refusal(name: str, pickling: Pickling) -> Refusal:
    """A function that tells why a result could not be sent back, as a worker would."""

    def refusal(index: int, result: Any) -> BaseException | None:
        try:
            dumps(bytes_out_of_band(result), pickling, [])
        except BaseException as error:
            if strikes(error):
                raise
            if isinstance(error, MemoryError):
                return error
            from procession.worker.failures import exited, refused_result

            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                return exited(error, name, "in this process")
            return refused_result(error, result, name, pickling)
        return None

    return refusal


def item_refusal(pack: Callable[[int, Any], Any]) -> Refusal:
    """A function that tells why an item could not be sent; `pack` makes it, or raises why not."""

    def refusal(index: int, value: Any) -> BaseException | None:
        try:
            pack(index, value)
        except Exception as error:
            if strikes(error):
                raise
            return error
        return None

    return refusal
