"""Results of a column that are over and wait for the map's consumer, together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from procession.contract import Chunk
from procession.engine.policy.blame import Rules
from procession.hints import Any
from procession.items import Reply, Results, Settled
from procession.pickling.columns import THEMSELVES, open_column, open_value
from procession.system.interrupts import strikes

__all__ = ["Batch"]


class Batch:
    """Consecutive items of one column, each with a result that is not rebuilt yet.

    Attributes:
        first: The index of the first one.
        size: Bytes that it holds.
    """

    __slots__ = ("_chunk", "_each", "_payloads", "_position", "first", "size")

    def __init__(
        self, chunk: Chunk, position: int, payloads: list[Any], each: Any, size: int
    ) -> None:
        self._chunk = chunk
        self._position = position
        self._payloads = payloads
        self._each = each
        self.first = chunk.index(position)
        self.size = size

    @classmethod
    def of(
        cls, chunk: Chunk, position: int, results: Results, begin: int, end: int
    ) -> Iterator[Batch]:
        """The results from `begin` to `end`, in batches whose indexes follow each other.

        Args:
            chunk: A column.
            position: Where the results begin in it.
            results: The results.
            begin: The first of them.
            end: Behind the last of them.
        """
        if begin == end:
            return
        column = chunk.column
        assert column is not None
        payloads, each = results.payloads, results.each
        gaps = [begin, end]
        if not isinstance(column.indexes, range):
            indexes = column.indexes[position + begin : position + end]
            jumps = [at for at in range(1, len(indexes)) if indexes[at] != indexes[at - 1] + 1]
            gaps[1:1] = [begin + at for at in jumps]
        for start, stop in pairwise(gaps):
            size = results.size * (stop - start) // len(payloads)
            part = payloads if stop - start == len(payloads) else payloads[start:stop]
            yield cls(chunk, position + start, part, each[start:stop], size)

    def __len__(self) -> int:
        return len(self._payloads)

    def split(self, count: int) -> Batch:
        """Keep the first `count` only; the others are the batch that is returned."""
        whole, rest = len(self._payloads), self._payloads[count:]
        size = self.size * (whole - count) // whole
        other = Batch(self._chunk, self._position + count, rest, self._each[count:], size)
        del self._payloads[count:]
        self._each = self._each[:count]
        self.size -= size
        return other

    def values(self) -> list[Any]:
        """All values.

        Raises:
            BaseException: One of them cannot be rebuilt. `each` tells which.
        """
        return open_column(self._payloads)

    def each(
        self, decode: Callable[[Settled, Rules], Any], rules: Rules
    ) -> Iterator[tuple[int, Any, BaseException | None]]:
        """Each item's index with its value, or with why it cannot be rebuilt."""
        for at, payload in enumerate(self._payloads):
            value: Any = payload
            failed: BaseException | None = None
            if type(payload) not in THEMSELVES:
                try:
                    value = decode(self.settled(at), rules)
                except BaseException as error:
                    if strikes(error):
                        raise
                    failed = error
            yield self.first + at, value, failed

    def settled(self, at: int) -> Settled:
        """One of its items."""
        payload = self._payloads[at]
        item = self._chunk.item(self._position + at)
        seconds = self._each[at] if self._each else 0.0
        raw = type(payload) in THEMSELVES
        if type(payload) is tuple:
            payload, raw = open_value(payload), True
        return Settled(item, Reply(item.index, True, payload, (), seconds, raw))

    def all_settled(self) -> Iterator[Settled]:
        """Each of its items."""
        return map(self.settled, range(len(self._payloads)))
