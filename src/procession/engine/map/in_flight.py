"""The chunks of a map that were sent and are not over, and what is to be sent once more."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from procession.contract import Answered, Backend, Chunk, Divider
from procession.items import Column, Item, Reply
from procession.system.pristine import perf_counter

_WORTH_DIVIDING = 1.5e-3
"""Seconds that the rest of a chunk must take at least to be divided with a worker that has nothing
to do: three times what its message costs, as far as was measured (0.3 to 0.5 ms)."""

WORTH_TAKING = 10e-3
"""The same to have it taken back as its worker says how far it came. A guess: far more than the
messages take, and half of what chunks aim at."""


class _Sent:
    """A chunk on its way."""

    __slots__ = ("answered", "since", "stopped")

    def __init__(self) -> None:
        self.answered = Answered()
        self.since = perf_counter()
        self.stopped = False


class InFlight:
    """Chunks that were sent and are not over. Under the map's lock.

    Attributes:
        again: Items to be run again, as they failed or lost their worker.
        suspects: Items to be run again one at a time, since one of them broke an executor.
        bytes: What the chunks' items hold.
    """

    def __init__(self) -> None:
        self.again: deque[Item] = deque()
        self.suspects: deque[Item] = deque()
        self.bytes = 0
        self._chunks: dict[Chunk, _Sent] = {}
        self._on: dict[Backend, int] = {}

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def chunks(self) -> list[Chunk]:
        """All of them."""
        return list(self._chunks)

    def on(self, backend: Backend) -> int:
        """How many there are on this backend."""
        return self._on.get(backend, 0)

    def beyond(self, index: int) -> list[Chunk]:
        """Those whose missing items all come after `index`."""
        return [
            chunk
            for chunk, sent in self._chunks.items()
            if sent.answered.first >= len(chunk) or chunk.index(sent.answered.first) > index
        ]

    def longest(self, backend: Backend, divider: Divider) -> tuple[Chunk | None, float]:
        """The chunk whose rest others are to have, if there is one, and how long that rest takes.

        That is guessed by what it has done so far.
        """
        longest, most = None, _WORTH_DIVIDING
        now = perf_counter()
        for chunk, sent in self._chunks.items():
            done = self._done(chunk, divider)
            missing = len(chunk) - done
            if chunk.home is backend and missing > 1 and not sent.stopped:
                left = (now - sent.since) / max(1, done) * (missing - 1)
                if left > most:
                    longest, most = chunk, left
        return longest, most

    def divide(self, chunk: Chunk, divider: Divider) -> Column | None:
        """Take half of what a chunk has left, if it is certain that its worker will not run it."""
        position = len(chunk) - (len(chunk) - self._done(chunk, divider) - 1) // 2
        if position >= len(chunk) or not divider.divide(chunk, position):
            return None
        size = chunk.size
        rest = chunk.divide(position)
        self.bytes -= size - chunk.size
        return rest

    def _done(self, chunk: Chunk, divider: Divider) -> int:
        """How many of its items are done, as far as is known here or told by its worker."""
        return max(self._chunks[chunk].answered.first, divider.reached(chunk))

    def stop(self, chunk: Chunk) -> None:
        """Its rest is being taken back."""
        self._chunks[chunk].stopped = True

    def add(self, chunk: Chunk) -> None:
        """A chunk is sent."""
        self._chunks[chunk] = _Sent()
        self._on[chunk.home] = self._on.get(chunk.home, 0) + 1
        self.bytes += chunk.size

    def answered(
        self, chunk: Chunk, replies: Sequence[Reply]
    ) -> list[tuple[Item | None, Reply]] | None:
        """The items of these replies, `None` for one that has been answered before.

        `None` in all if the chunk is over.
        """
        sent = self._chunks.get(chunk)
        if sent is None:
            return None
        answered = sent.answered
        found: list[tuple[Item | None, Reply]] = []
        for reply in replies:
            position = chunk.position(reply.index, answered.first)
            if position < 0 or answered.has(position):
                found.append((None, reply))
            else:
                answered.add(position)
                found.append((chunk.item(position), reply))
        return found

    def returned(self, chunk: Chunk, position: int, count: int) -> bool:
        """Items of a column have results, from this position on. Whether these are the first."""
        sent = self._chunks.get(chunk)
        if sent is None or sent.answered.has(position):
            return False
        sent.answered.add(position, count)
        return True

    def over(self, chunk: Chunk) -> list[Item] | None:
        """A chunk is over: its items that have no reply; `None` if it was over before."""
        sent = self._chunks.pop(chunk, None)
        if sent is None:
            return None
        self._on[chunk.home] -= 1
        self.bytes -= chunk.size
        return chunk.rest(sent.answered)

    def run_again(self, item: Item, *, apart: bool = False) -> None:
        """Have an item sent once more; `apart` if it may have broken an executor."""
        (self.suspects if apart else self.again).append(item)

    def next_again(self, most: int) -> list[Item]:
        """Items to run again: an item that failed alone, those that only lost their worker in
        chunks, of which a dead one may leave thousands."""
        again = self.again
        items = [again.popleft()]
        while again and len(items) < most and items[0].attempt == again[0].attempt == 1:
            items.append(again.popleft())
        return items

    def drop_again(self) -> None:
        """Send nothing again."""
        self.again.clear()
        self.suspects.clear()

    def forget(self) -> None:
        """In a forked child: the chunks are the parent's."""
        self._chunks.clear()
        self._on.clear()
