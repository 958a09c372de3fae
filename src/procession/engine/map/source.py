"""The input of a map: taken in order, by whichever thread needs the next item.

Some input may wait for the results of its own items: a generator that the consumer wakes. It cannot
be read ahead in the thread that is to consume those results. Such input is known by what it holds:
something made for threads to wait for each other.
"""

from __future__ import annotations

import gc
import operator
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import (
    BuiltinMethodType,
    CellType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)

from procession.engine.local.caller_loop import CallerLoop
from procession.hints import Any
from procession.pickling.objects import ATOMS, class_of, is_a, is_one_of
from procession.system.interrupts import strikes
from procession.worker import current

_BUILTIN: tuple[type, ...] = (
    list,
    tuple,
    range,
    str,
    bytes,
    bytearray,
    dict,
    set,
    frozenset,
    deque,
)
_NONE: dict[Any, Any] = {}
_VIEWS = (_NONE.keys(), _NONE.values(), _NONE.items())
_EMPTY: Any = (
    [],
    (),
    range(0),
    range(1 << 70),
    "",
    "\xff",
    b"",
    bytearray(),
    _NONE,
    set(),
)
_INERT = frozenset(
    (*_BUILTIN, *map(type, _VIEWS), *(type(iter(each)) for each in (*_EMPTY, *_VIEWS)))
)
"""Containers, and their iterators, that run no code of the user's: they never block, in any
thread."""

_SLICED: frozenset[type] = frozenset({list, tuple, range, str, bytes})
"""Containers of which a slice is the fastest way to take items."""

_PLAIN: frozenset[type] = frozenset({range, str, bytes, bytearray})
"""Containers of numbers and texts."""


_WAITED_FOR = frozenset(
    {
        *(("threading", name) for name in ("Barrier", "Condition", "Event", "Semaphore")),
        ("queue", "Queue"),
        ("_queue", "SimpleQueue"),
        ("queue", "_PySimpleQueue"),
        ("concurrent.futures._base", "Future"),
    }
)

_DEEPEST = 3
_MOST = 200
"""Objects that are looked at, and steps from one to the next. Guesses: what a generator waits for
is a variable of its own, or an attribute of one."""


class Source:
    """An iterable that is taken from once, in order, with a guess at its length.

    Attributes:
        inert: Whether taking an item runs no user code, so that any thread may do it at any time.
        plain: Whether its items can be nothing but numbers and texts.
        taken: How many items have been taken.
        ended: Whether the input has no more items, or raised.
        error: What the input raised, if it did.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        numpy = sys.modules.get("numpy")
        kind = class_of(items)
        array = numpy is not None and kind is numpy.ndarray and _plain(items)
        self.inert = array or is_one_of(kind, _INERT)
        self.plain = array or is_one_of(kind, _PLAIN)
        self._length = _length(items)
        self._sliced: Any = items if is_one_of(kind, _SLICED) else None
        self._iterator: Iterator[Any] = iter(())
        if self._sliced is None:
            self._iterator = iter(items)
        self.taken = 0
        self.ended = False
        self.error: BaseException | None = None

    @property
    def length(self) -> int | None:
        """How many items there are in all, as far as is known; never less than were taken."""
        if self.ended:
            return self.taken
        if self._length is None or self._length < self.taken:
            return None
        return self._length

    @property
    def remaining(self) -> int | None:
        """How many items are left to take, as far as is known."""
        length = self.length
        return None if length is None else length - self.taken

    def take(self, count: int) -> Sequence[Any]:
        """Take up to `count` items. Fewer means that the input has ended, or raised.

        One thread at a time. What the input raises is kept in `error`. The items
        before it count.
        """
        if self._sliced is not None:
            sliced: Sequence[Any] = self._sliced[self.taken : self.taken + count]
            self.taken += len(sliced)
            self.ended = self.taken >= len(self._sliced)
            return sliced
        values: list[Any] = []
        try:
            values.extend(islice(self._iterator, count))
        except BaseException as error:
            if strikes(error):
                raise  # the caller's Ctrl-C, and not the input's: it ends the map
            self.error = error
            self.ended = True
        if len(values) < count:
            self.ended = True
        self.taken += len(values)
        return values

    def each(
        self,
        values: list[Any],
        budget: list[Any],
        check: Callable[[int, Any], None] | None = None,
    ) -> Iterator[Any]:
        """Take items one at a time, as they are asked for, and append them to `values` as well.

        As many as there are elements in `budget`, which another thread may shorten meanwhile. It
        is for input that runs code of the user's: an item is used before the next one is made.

        Args:
            values: Takes the items.
            budget: As many elements as items may be taken.
            check: Given the index and the value of what might not cross; raises what refuses it.
        """
        start = self.taken
        take = self._iterator.__next__
        keep = values.append
        for _ in budget:
            try:
                value = take()
            except StopIteration:
                self.ended = True
                return
            except BaseException as error:
                if strikes(error):
                    raise
                self.error = error
                self.ended = True
                return
            keep(value)
            if check is not None and not is_one_of(class_of(value), ATOMS):
                check(start + len(values) - 1, value)
            yield value

    def may_wait(self) -> bool:
        """Whether taking an item may wait: it holds what threads wait for, such as a queue."""
        return not self.inert and may_wait(self._iterator)

    def take_error(self) -> BaseException | None:
        """What the input raised, if it did, once: its traceback would keep what is held here."""
        error, self.error = self.error, None
        return error

    def close(self) -> None:
        """Take nothing more, and let go of the input. Items it keeps are freed, not read."""
        self.ended = True
        self._sliced = None
        self._iterator = iter(())


def _plain(array: Any) -> bool:
    """Whether an array's elements are values, not objects whose making may run code."""
    kind: str = array.dtype.kind
    return kind in "biufcSUmM"


def _length(items: Iterable[Any]) -> int | None:
    """The length that the input claims; `None` if it claims none, or an impossible one."""
    try:
        hint = operator.length_hint(items, -1)
    except Exception:
        return None  # a broken __len__ is no reason not to map
    return hint if hint >= 0 else None


def may_wait(iterator: Any) -> bool:
    """Whether an iterator holds something that threads wait for: a queue, an event, a semaphore."""
    seen = {id(iterator)}
    level = [iterator]
    for _ in range(_DEEPEST):
        level = [each for holder in level for each in _held(holder) if id(each) not in seen]
        seen.update(map(id, level))
        if any(map(_is_waited_for, level)):
            return True
        if len(seen) > _MOST:
            return False
    return False


def _is_waited_for(value: Any) -> bool:
    kinds = class_of(value).__mro__
    return any((kind.__module__, kind.__qualname__) in _WAITED_FOR for kind in kinds)


def _held(holder: Any) -> list[Any]:
    """What an object holds itself."""
    kind = class_of(holder)
    if kind is GeneratorType:
        frame = holder.gi_frame
        if frame is None:
            return []
        named = [frame.f_globals.get(name) for name in holder.gi_code.co_names]
        return [*frame.f_locals.values(), *named]
    if kind in (MethodType, BuiltinMethodType):
        return [holder.__self__]
    if kind is CellType or (
        kind.__module__ in ("builtins", "itertools") and hasattr(kind, "__next__")
    ):
        held = gc.get_referents(holder)
        return [each for one in held for each in (one if class_of(one) is tuple else (one,))]
    if isinstance(holder, (type, ModuleType, FunctionType)):
        return []
    own: Any = getattr(holder, "__dict__", None)
    return list(own.values()) if is_a(own, dict) else []


class Taking(CallerLoop):
    """The loop over input that runs code of the user's: it is taken while the loop runs.

    An item is run before the next one is made, as in a plain loop: its maker may use the same
    memory for both. So there is nothing to be taken away but the right to take more.
    """

    __slots__ = ("_budget", "_source")

    def __init__(
        self, source: Source, most: int, check: Callable[[int, Any], None] | None = None
    ) -> None:
        super().__init__(source.taken, [])
        self._source = source
        self._budget: list[None] = [None] * most
        self.iterator = source.each(self.values, self._budget, check)

    @property
    def taken(self) -> int | None:
        """How many values the loop has taken."""
        return len(self.values)

    def cut(self, give: Callable[[int, list[Any]], None]) -> None:
        """Have the loop take no more."""
        del self._budget[1:]

    def run(
        self, loop: Callable[[CallerLoop], None], task: Callable[[int], current.CurrentTask]
    ) -> None:
        """Run the loop over the input, as `CallerLoop.run` does."""
        try:
            super().run(loop, task)
        finally:
            self._source.taken += len(self.values)
