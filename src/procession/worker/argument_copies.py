"""The arguments that go to every item, as each item is given them: as they were sent.

What cannot change is loaded once, and not here. A small pickle is loaded anew for each item, and
large buffers are mapped anew with it, copied only where they are written to. A large pickle is
loaded once, as long as a look after 1, 2, 4, 8 … items finds that none of them has changed it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from procession.hints import Any
from procession.pickling.objects import is_a
from procession.pickling.out_of_band import BroadcastBuffers
from procession.pickling.pickler import Pickling, dumps, loads
from procession.system.cpython import pickle
from procession.system.interrupts import tried
from procession.system.pristine import threading

Given = tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any]]
"""What comes before the item (an instance or class), what comes after it, and what goes by name."""

_Marks = list[tuple[int | str, Any]]


class _Kept:
    """What one thread keeps, and when it is looked at next."""

    __slots__ = ("given", "items", "looks_at", "marks")

    def __init__(self, given: Given, marks: _Marks) -> None:
        self.given = given
        self.marks = marks
        self.items = 0
        self.looks_at = 1


class ArgumentCopies:
    """Gives them to one item after the other. Any thread may ask.

    What is kept is kept for each thread, so that no item sees what another one does to it
    meanwhile.

    Args:
        blob: The pickled `Given`.
        buffers: Its large buffers, or the ticket of a segment that keeps them unchanged.
        pickling: How they are pickled.
        changed: Told when an item has changed one of them, while they are kept: its place among
            those that go to every item, or its name; and how many of them come before the item.
            `None`: they are not kept, but loaded for each item.
    """

    def __init__(
        self,
        blob: bytes,
        buffers: Sequence[Any],
        pickling: Pickling,
        changed: Callable[[int | str, int], None] | None,
    ) -> None:
        self._blob = blob
        self._buffers = buffers
        self._pickling: Pickling = pickling
        self._changed = changed
        self._mine: dict[int, _Kept] = {}
        self._fresh: list[Given] = []
        self._kept = changed is not None

    @property
    def first(self) -> Given:
        """What is kept; or what the first item is given."""
        if self._kept:
            return self._own().given
        if not self._fresh:
            self._fresh.append(self._load())
        return self._fresh[-1]

    def _own(self) -> _Kept:
        """What this thread keeps."""
        own = self._mine.get(threading.get_ident())
        if own is None:
            given = self._load()
            own = self._mine[threading.get_ident()] = _Kept(given, self._marked(given))
        return own

    def take(self) -> Given:
        """The arguments for the next item; raises what loading them raises."""
        if self._kept:
            own = self._own()
            if own.items == own.looks_at:
                own.looks_at *= 2
                self._look(own)
            own.items += 1
            if self._kept:
                return own.given
        try:
            return self._fresh.pop()
        except IndexError:
            return self._load()

    def calling(self, function: Callable[..., Any], *, star: bool) -> Callable[[Any], Any]:
        """The function of one item's value, with arguments of its own at each call.

        Args:
            function: What is called.
            star: Whether the value is a tuple of arguments.
        """
        take: Callable[[], Given] = self.take
        if not self._kept and not self._buffers:
            # Each costs a short function as much as all else of its call: no step too many.
            take = partial(pickle.loads, self._blob)
        if star:

            def call(value: Any) -> Any:
                prefix, args, kwargs = take()
                return function(*prefix, *value, *args, **kwargs)

        else:

            def call(value: Any) -> Any:
                prefix, args, kwargs = take()
                return function(*prefix, value, *args, **kwargs)

        return call

    def _load(self) -> Given:
        buffers = self._buffers
        if isinstance(buffers, BroadcastBuffers):
            buffers = buffers.sendable()
        if not is_a(buffers, tuple):
            buffers = [bytearray(buffer) for buffer in buffers]
        given: Given = loads(self._blob, buffers)
        return given

    def _look(self, own: _Kept) -> None:
        """Keep them no more if some item has changed them."""
        given, before = own.given, own.marks
        now = self._marked(given)
        if before == now:
            return
        self._kept = False
        self._mine.clear()
        pairs = zip(before, now, strict=False)
        place = next((place for (place, mark), (_, new) in pairs if mark != new), 0)
        if self._changed is not None:
            self._changed(place, len(given[0]))

    def _marked(self, given: Given) -> _Marks:
        """A mark for each argument, which is another one once the argument has changed."""
        prefix, args, kwargs = given
        places: list[tuple[int | str, Any]] = [*enumerate((*prefix, *args)), *kwargs.items()]
        return [(place, self._mark(value)) for place, value in places]

    def _mark(self, value: Any) -> Any:
        buffers: list[Any] = []
        blob: bytes | None = tried(None, dumps, value, self._pickling, buffers)
        if blob is None:
            return object()  # equal to none: it can be pickled no more
        import zlib

        return hash(blob), [zlib.crc32(buffer.raw()) for buffer in buffers]
