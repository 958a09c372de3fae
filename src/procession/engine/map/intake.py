"""The input of a map: what was taken of it, and is neither sent nor run yet."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence

from procession.engine.map.source import Source
from procession.hints import Any
from procession.items import Item
from procession.system import after_fork
from procession.system.pristine import threading


class Intake:
    """The input of one map and what was taken of it and not given away yet.

    Inert input is taken under the map's lock, when it is sent. Other input runs code of the user's:
    it is taken under `taking` by the consumer's thread, or by a feeder, and pickled at once; what
    was `packed` so is then sent by any thread. What the consumer's thread took to run it there, and
    gave back, is pending, too.

    Attributes:
        source: The input.
        most: How many items the consumer is given at once. Where the user has set the window, a
            few, by which the input is behind: those that it was given and has not yielded count.
        lock: The map's, which all its parts share.
        taking: Held while input that may block is taken.
        delivered: Items that the consumer has been given.
        held: Bytes of what is packed and was not sent.
        closed: Whether the map is over or was cancelled.
    """

    def __init__(self, source: Source, window: int, *, exact: bool = False) -> None:
        self.source = source
        self.most = max(1, window // 8) if exact else sys.maxsize
        self.lock = after_fork.lock()
        self.taking = threading.Lock()
        self.delivered = 0
        self.closed = False
        self._full = False  # whether more was wanted than the window allowed
        self._window = window - self.most + 1 if exact else window
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
        """Whether there is nothing more for the consumer."""
        return self.closed or (self.source.ended and self.delivered == self.source.taken)

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
            self._full = True  # first this, then the look: `deliver` does it the other way round
            room = self._window - (self.source.taken - self.delivered)
        return room

    def wants(self, index: int) -> bool:
        """Whether what becomes of the item at `index` still matters."""
        return self._end is None or index < self._end

    def deliver(self, count: int) -> bool:
        """The consumer is given so many items. Whether that lets in more. Under the map's lock."""
        self.delivered += count
        full, self._full = self._full, False
        return full

    # -- taking --------------------------------------------------------------------------------

    def take(self, count: int) -> tuple[int, Sequence[Any]]:
        """Take input: the first index, and the values. The caller holds the right lock."""
        start = self.source.taken
        return start, self.source.take(count) if self.open else []

    def take_here(
        self, count: int, wanted: Callable[[], bool] | None = None
    ) -> tuple[int, Sequence[Any]]:
        """Take input for the consumer's thread to run, what is pending first.

        Args:
            count: How many.
            wanted: Whether it is to run them still. A feeder may take input meanwhile, which waits
                for results that only this thread can give.
        """
        if self.source.inert:
            with self.lock:
                return self._run_of_pending(count) or self.take(count)
        if not self.taking.acquire(blocking=wanted is None):
            return self.source.taken, []
        try:
            if wanted is not None and not wanted():
                return self.source.taken, []
            with self.lock:
                pending = self._run_of_pending(count)
            return pending or self.take(count)
        finally:
            self.taking.release()

    def give_back(self, start: int, values: Sequence[Any]) -> None:
        """The consumer's thread took these and does not run them: they come first again."""
        self.put_back(range(start, start + len(values)), values)

    def put_back(self, indexes: Sequence[int], values: Sequence[Any]) -> None:
        """These were taken and not sent: they come first again."""
        with self.lock:
            pairs = zip(indexes, values, strict=True)
            self._pending.extendleft(reversed([each for each in pairs if self.wants(each[0])]))

    def hold(self, items: Sequence[Item]) -> None:
        """These were taken and pickled: keep them ready to be sent."""
        with self.lock:
            wanted = [item for item in items if self.wants(item.index)]
            self._packed.extend(wanted)
            self.held += sum([item.size for item in wanted])

    def next_packed(self, count: int) -> list[Item]:
        """Up to `count` pickled items for a chunk. Under the map's lock."""
        packed = self._packed
        items = [packed.popleft() for _ in range(min(count, len(packed)))]
        self.held -= sum([item.size for item in items])
        return items

    def next(self, count: int) -> tuple[Sequence[int], Sequence[Any]]:
        """Up to `count` items for a chunk that are to be pickled. Under the map's lock.

        Returns:
            Their indexes, and their values.
        """
        pending = self._run_of_pending(count)
        if pending is None and not self.source.inert:
            return (), ()
        start, values = pending or self.take(count)
        return range(start, start + len(values)), values

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

    def close(self) -> None:
        """The map is over. Under the lock."""
        self.closed = True
        self.stop()
