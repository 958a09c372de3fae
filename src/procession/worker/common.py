"""The arguments that go to every item: each item is given them as they were sent.

What cannot change is loaded once. A small pickle is loaded anew for each item, and large buffers
are mapped anew with it, copied only where they are written to. A large pickle is loaded once, as
long as a look after 1, 2, 4, 8 … items finds that none of them has changed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from procession.wire.beside import Broadcast
from procession.wire.kinds import is_a
from procession.wire.pickling import dumps, loads

if TYPE_CHECKING:
    from procession.worker.run import Settings

__all__ = ["Common", "Given", "Way"]

Given = tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any]]
"""What comes before the item (an instance or class), what comes after it, and what goes by name."""

Way = Literal["once", "each", "watched"]
"""How they are loaded: once in each worker, for each item anew, or once as long as no item is seen
to have changed them."""


_Marks = list[tuple[int | str, Any]]


class Common:
    """Gives the common arguments to one item after the other. Any thread may ask.

    Args:
        blob: The pickled `Given`.
        buffers: Its large buffers, or the ticket of a segment that keeps them unchanged.
        settings: How the job's items are run.
        function: What is called; for messages.
    """

    def __init__(
        self, blob: bytes, buffers: Sequence[Any], settings: Settings, function: Any
    ) -> None:
        self._blob = blob
        self._buffers = buffers
        self._settings = settings
        self._function = function
        self._first: dict[None, tuple[Given, _Marks]] = {}
        self._fresh: list[Given] = []
        self._kept = settings.common == "watched"
        self._items = 0
        self._looks_at: int = 1

    @property
    def first(self) -> Given:
        """What is kept; or what the first item is given."""
        return self._opened()[0]

    def _opened(self) -> tuple[Given, _Marks]:
        opened = self._first.get(None)
        if opened is None:  # two threads may both load it, and one of the two is taken
            given = self._load()
            marks = self._marked(given) if self._kept else []
            opened = self._first.setdefault(None, (given, marks))
            if not self._kept:
                self._fresh.append(given)
        return opened

    def take(self) -> Given:
        """The arguments for the next item.

        Raises:
            Exception: Whatever loading them raises.
        """
        if self._kept:
            given, marks = self._opened()
            if self._items == self._looks_at:
                self._looks_at *= 2
                self._look(given, marks)
            self._items += 1
            if self._kept:
                return given
        try:
            return self._fresh.pop()
        except IndexError:
            return self._load()

    def _load(self) -> Given:
        buffers = self._buffers
        if isinstance(buffers, Broadcast):
            buffers = buffers.sendable()
        if not is_a(buffers, tuple):
            buffers = [bytearray(buffer) for buffer in buffers]
        given: Given = loads(self._blob, buffers)
        return given

    def _look(self, given: Given, before: _Marks) -> None:
        """Keep them no more if some item has changed them."""
        now = self._marked(given)
        if before == now:
            return
        self._kept = False
        self._first.clear()
        pairs = zip(before, now, strict=False)
        place = next((place for (place, mark), (_, new) in pairs if mark != new), 0)
        self._warn(place, len(given[0]))

    def _warn(self, place: int | str, before: int) -> None:
        from procession.worker.refusing import warn_changed

        item = before if self._settings.style == "value" else None
        warn_changed(self._function, self._settings.name, place, item)

    def _marked(self, given: Given) -> _Marks:
        """A mark for each argument, which is another one once the argument has changed."""
        prefix, args, kwargs = given
        places: list[tuple[int | str, Any]] = [*enumerate((*prefix, *args)), *kwargs.items()]
        return [(place, self._mark(value)) for place, value in places]

    def _mark(self, value: Any) -> Any:
        buffers: list[Any] = []
        try:
            blob = dumps(value, self._settings.pickling, buffers)
        except Exception:
            return object()  # equal to none: it can be pickled no more
        import zlib

        return hash(blob), [zlib.crc32(buffer.raw()) for buffer in buffers]
