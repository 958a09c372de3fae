"""The chunks of a map that are under way, and the items that have to be sent once more."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from procession.contract import Backend, Chunk, Item, Reply

__all__ = ["Flight"]


class Flight:
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
        self._chunks: dict[Chunk, dict[int, Item]] = {}

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def chunks(self) -> list[Chunk]:
        """All of them."""
        return list(self._chunks)

    def on(self, backend: Backend) -> int:
        """How many there are on this backend."""
        return sum(1 for chunk in self._chunks if chunk.home is backend)

    def beyond(self, index: int) -> list[Chunk]:
        """Those whose missing items all come after `index`."""
        return [c for c, missing in self._chunks.items() if min(missing, default=0) > index]

    def add(self, chunk: Chunk, size: int) -> None:
        """A chunk is sent, whose items hold so many bytes."""
        self._chunks[chunk] = {item.index: item for item in chunk.items}
        self.bytes += size

    def answered(
        self, chunk: Chunk, replies: Sequence[Reply]
    ) -> list[tuple[Item | None, Reply]] | None:
        """The items of these replies, `None` for one that has been answered before.

        `None` in all if the chunk is over.
        """
        missing = self._chunks.get(chunk)
        if missing is None:
            return None
        return [(missing.pop(reply.index, None), reply) for reply in replies]

    def over(self, chunk: Chunk) -> list[Item] | None:
        """A chunk is over: its items that have no reply; `None` if it was over before."""
        left = self._chunks.pop(chunk, None)
        if left is None:
            return None
        self.bytes -= sum([item.size for item in chunk.items])
        return list(left.values())

    def next_again(self, workers: int, most: int) -> list[Item]:
        """Items to run again: an item that failed alone, those that only lost their worker in
        chunks (a dead worker may leave thousands), such that every worker gets some."""
        again = self.again
        most = min(most, 1 + len(again) // (2 * workers))
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
