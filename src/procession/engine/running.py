"""Items that run in the caller's thread, of which the helper thread may take away the rest."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from procession import forked

__all__ = ["Running"]

_cutting = forked.lock()
"""One for all of them: it is held for microseconds, and making one takes as long."""


class Running:
    """The slice that runs now, whose end the helper may take away while it does.

    The values are read by a list's iterator, which says how far it is and sees when the list
    becomes shorter. So a slice may be long without keeping from the pool what is behind an item
    that takes long, and the loop over it is a plain comprehension.
    """

    __slots__ = ("_cut", "_looked", "begin", "iterator", "start", "values")

    def __init__(self, start: int, values: list[Any]) -> None:
        self.start = start
        self.values = values
        self.iterator: Any = iter(values)
        self.begin = perf_counter()
        self._looked = (self.begin, 0)
        self._cut: tuple[int, list[Any]] | None = None

    @property
    def taken(self) -> int | None:
        """How many values the loop has taken; `None` once it has seen the end."""
        state = self.iterator.__reduce__()
        return state[2] if len(state) > 2 else None

    def pace(self) -> tuple[int, float] | None:
        """How many items are left, and the seconds that each took since the last look.

        `None` once the loop is over. An item that has run for long counts for what it has run.
        """
        taken = self.taken
        if taken is None:
            return None
        (since, before), now = self._looked, perf_counter()
        if taken > before:
            self._looked = now, taken
        return len(self.values) - taken, (now - since) / max(1, taken - before)

    def cut(self, give: Callable[[int, list[Any]], None]) -> None:
        """Take away the values that the loop has not taken yet, and give them."""
        with _cutting:
            taken = self.taken
            if taken is None or self._cut is not None:
                return
            taken = max(1, taken)  # the first is always the loop's
            self._cut = taken, self.values[taken:]
            del self.values[taken:]
            # The loop may have gone on in between, but takes nothing more that was cut off. Had it
            # seen the end, then how far it came only the loop knows.
            since = self.taken
            if since is not None:
                self._settle(max(taken, since), give)

    def end(self, taken: int, give: Callable[[int, list[Any]], None]) -> None:
        """The loop is over and took so many values: give what was cut off behind them."""
        with _cutting:
            self._settle(taken, give)

    def _settle(self, taken: int, give: Callable[[int, list[Any]], None]) -> None:
        if self._cut is None:
            return
        at, tail = self._cut
        self._cut = None
        self.values.extend(tail[: taken - at])
        give(self.start + taken, tail[taken - at :])
