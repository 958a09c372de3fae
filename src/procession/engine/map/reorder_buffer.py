"""Items that are over and wait for their consumer, in input order or as they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from procession.contract import Settled

__all__ = ["Ready"]


class Ready:
    """Settled items. Under the map's lock."""

    def __init__(self, ordered: bool) -> None:
        self.ordered = ordered
        self._by_index: dict[int, Settled] = {}
        self._as_they_came: deque[Settled] = deque()

    def add(self, settled: Iterable[Settled]) -> None:
        """Take in items that are over."""
        if self.ordered:
            self._by_index.update((each.item.index, each) for each in settled)
        else:
            self._as_they_came.extend(settled)

    def pop(self, index: int) -> Settled | None:
        """The item at `index`, or whichever came first; `None` if it is not there."""
        if self.ordered:
            return self._by_index.pop(index, None)
        return self._as_they_came.popleft() if self._as_they_came else None

    def drain(self) -> list[Settled]:
        """Everything there is, if the order does not matter."""
        all_of_it = list(self._as_they_came)
        self._as_they_came.clear()
        return all_of_it

    def has(self, index: int) -> bool:
        """Whether `pop` would give something."""
        return index in self._by_index if self.ordered else bool(self._as_they_came)
