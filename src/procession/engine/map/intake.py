"""How a map takes its input: within the window, by the consumer's thread or the feeder."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from procession.contract import Item
from procession.engine.map.source import Source
from procession.system.pristine import threading

__all__ = ["Intake"]


class Intake:
    """The input of one map and what was taken of it and given to nobody yet.

    Inert input is taken under the map's lock, when it is sent. Other input runs code of the user's:
    it is taken under `taking` by the consumer's thread, or by a feeder, and pickled at once; what
    was `packed` so is then sent by any thread. What the consumer's thread took to run it there, and
    gave back, is pending, too.

    Attributes:
        source: The input.
        taking: Held while input that may block is taken.
        delivered: Items that the consumer has been given.
        full: Whether somebody wanted more than the window allowed.
        held: Bytes of what is packed and was not sent.
    """

    def __init__(self, source: Source, window: int, lock: Any) -> None:
        self.source = source
        self.taking = threading.Lock()
        self.delivered = 0
        self.full = False
        self._window = window
        self._lock = lock
        self.held = 0
        self._packed: deque[Item] = deque()
        self._pending: deque[tuple[int, Any]] = deque()
        self._end: int | None = None  # where the input was cut short

    # -- what is left --------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether more input is to be taken."""
        return not self.source.ended and self._end is None

    @property
    def any(self) -> bool:
        """Whether there is, or may be, input that the consumer's thread can run."""
        return bool(self._pending) or (self.open and (self.source.inert or self.room() > 0))

    @property
    def pending(self) -> int:
        """How many items were taken and neither sent nor run."""
        return len(self._pending) + len(self._packed)

    @property
    def packed(self) -> bool:
        """Whether any of that is pickled already, so that it is for the pool."""
        return bool(self._packed)

    @property
    def over(self) -> bool:
        """Whether every item of the input has been given to the consumer."""
        return self.source.ended and self.delivered == self.source.taken

    @property
    def remaining(self) -> int | None:
        """How many items are left to send, as far as is known."""
        remaining = self.source.remaining
        return None if remaining is None else remaining + self.pending

    def room(self) -> int:
        """How many more items the window lets in."""
        if not self.open:
            return 0
        room = self._window - (self.source.taken - self.delivered)
        if room <= 0:
            self.full = (
                True  # first this, then the look: whoever delivers looks the other way round
            )
            room = self._window - (self.source.taken - self.delivered)
        return room

    # -- taking --------------------------------------------------------------------------------

    def take(self, count: int) -> tuple[int, Sequence[Any]]:
        """Take input: the first index, and the values. The caller holds the right lock."""
        start = self.source.taken
        return start, self.source.take(count) if self.open else []

    def take_here(self, count: int) -> tuple[int, Sequence[Any]]:
        """Take input for the consumer's thread to run, what is pending first."""
        if self.source.inert:
            with self._lock:
                return self._run_of_pending(count) or self.take(count)
        with self.taking:
            with self._lock:
                pending = self._run_of_pending(count)
            return pending or self.take(count)

    def give_back(self, start: int, values: Sequence[Any]) -> None:
        """The consumer's thread took these and does not run them: they come first again."""
        with self._lock:
            wanted = values if self._end is None else values[: max(0, self._end - start)]
            self._pending.extendleft(reversed(list(enumerate(wanted, start))))

    def hold(self, item: Item) -> None:
        """An item was taken and pickled: keep it ready to be sent."""
        with self._lock:
            if self._end is None or item.index < self._end:
                self._packed.append(item)
                self.held += item.size

    def next_packed(self, count: int) -> list[Item]:
        """Up to `count` pickled items for a chunk. Under the map's lock."""
        packed = self._packed
        items = [packed.popleft() for _ in range(min(count, len(packed)))]
        self.held -= sum([item.size for item in items])
        return items

    def next(self, count: int) -> list[tuple[int, Any]]:
        """Up to `count` items for a chunk that are to be pickled. Under the map's lock."""
        if self._pending or not self.source.inert:
            return self._next_pending(count)
        start, values = self.take(count)
        return list(enumerate(values, start))

    def _next_pending(self, count: int) -> list[tuple[int, Any]]:
        pending = self._pending
        return [pending.popleft() for _ in range(min(count, len(pending)))]

    def _run_of_pending(self, count: int) -> tuple[int, list[Any]] | None:
        """Up to `count` pending items whose indexes follow each other."""
        if not self._pending:
            return None
        start = self._pending[0][0]
        values: list[Any] = []
        while self._pending and len(values) < count:
            if self._pending[0][0] != start + len(values):
                break
            values.append(self._pending.popleft()[1])
        return start, values

    def stop(self, end: int = 0) -> None:
        """Take nothing more, and forget what is pending from index `end` on. Under the lock."""
        self._end = end if self._end is None else min(end, self._end)
        kept = [(index, value) for index, value in self._pending if index < end]
        self._pending.clear()
        self._pending.extend(kept)
        packed = [item for item in self._packed if item.index < end]
        self._packed.clear()
        self._packed.extend(packed)
        self.held = sum([item.size for item in packed])
