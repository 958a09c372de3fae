"""How many items go into the next chunk. Pure policy: no clock, no input, no workers of its own.

Three forces, in this order:

* A chunk is long enough to drown what a message costs (Kruskal & Weiss 1985 ask for the same):
  items are added up to `TARGET_SECONDS`, by the time that finished items took.
* Towards the end of an input of known length chunks shrink. So no worker sits on a long one while
  the others have nothing left: at most 1/(2·workers) of what remains, as in factoring
  (Hummel, Schonberg & Flynn 1992).
  Where a chunk that runs can be divided, all that is left is shared out instead. Who has finished
  is given half of what another one still has. So there are few messages.
* Nothing is believed before it was seen: the first chunks hold one item, and sizes grow with what
  was measured. Where a chunk that runs can be divided, the function's last map is believed, too.
"""

from __future__ import annotations

import math

from procession.contract import Costs
from procession.engine.policy.placement import Pace
from procession.hints import Literal

TARGET_SECONDS = 20e-3
"""A chunk's length. A round trip takes 0.1 to 0.15 ms here, so that it costs 0.5 to 0.8 %.
Results do not wait for the chunk's end: a worker sends what it has every 10 ms."""

BLIND_SECONDS = 10e-3
"""A chunk's length if the input's is not known: the last chunk is then as long as any other, and
that is how long all workers but one may have nothing to do."""

HANDLING_SECONDS = 80e-6
"""What the parent spends on sending one chunk and taking its results: about 40 µs each. Chunks
shorter than this times the number of workers would make the parent the bottleneck."""

FLOOR_SECONDS = 0.5e-3
"""Chunks do not shrink below this, and what is left below this goes to one worker: it is three to
five round trips, more than splitting it could gain. In the simulation 0.3 to 1 ms differ by 1 %."""

HERE = Costs(HANDLING_SECONDS, TARGET_SECONDS, BLIND_SECONDS, FLOOR_SECONDS)
"""The costs of a chunk whose worker is a process of this machine."""

MAX_ITEMS = 16 * 1024
"""Most items in a chunk, however short: so many numbers take some milliseconds in a worker."""

MAX_BYTES = 256 * 1024
"""Most bytes in a chunk of several items. Far above what a message costs by itself; measured better
than 1 MiB, which leaves the processors' caches."""

_GROWTH = 8
"""A chunk holds at most so many times the items that have been measured, …"""
_DIVIDED_GROWTH = 32
"""… or so many times, where a chunk that turns out to be long is divided, …"""
_BLIND_GROWTH = 4
"""… and if no length bounds a misjudgement, so many times the items measured at once."""
_SHORT_ITEMS = 4
_MANY_ITEMS = 32
"""Items of a chunk of the usual length, or items for each worker, from which on all that is left is
shared out. Guesses: the last item of a share cannot be taken from its worker before it begins,
which costs its length."""
_ROUNDS = 8
"""Estimates remember about this many chunks of each worker, so that they follow a trend."""
_LEAST_MEMORY = 64


class Schedule:
    """Says how many items the next chunk has, from the times of the items before.

    Not safe for threads by itself: the map that owns it calls it under its own lock.

    Args:
        chunk: A fixed number of items, or ``"auto"``.
        window: Most items between input and consumer; no chunk is larger, and automatic chunks
            leave room for every worker to have one running and one waiting.
        costs: What a chunk costs where it runs.
        divided: Whether a chunk that runs can be divided with a worker that has nothing to do, and
            no one waits for the first results.
        warm: Whether a worker is up. A new one may take its time with its first item.
        pace: What is known of the function; is told the seconds and bytes of an item.

    Attributes:
        trusting: Whether all is shared out before an item was measured, as the last map's items
            were short. If these are not, their chunks are divided.
    """

    __slots__ = (
        "_bytes",
        "_chunk",
        "_costs",
        "_divided",
        "_items",
        "_largest",
        "_last",
        "_pace",
        "_seconds",
        "_seen",
        "_share",
        "_shares",
        "_window",
        "_workers",
        "trusting",
    )

    def __init__(
        self,
        chunk: int | Literal["auto"] = "auto",
        window: int | None = None,
        costs: Costs = HERE,
        *,
        divided: bool = False,
        warm: bool = True,
        pace: Pace | None = None,
    ) -> None:
        self._costs = costs
        self._chunk = None if chunk == "auto" else chunk
        self._window = window
        self._items = 0.0
        self._seconds = 0.0
        self._bytes = 0.0
        self._seen = 0
        self._largest = 0
        self._last = 1
        self._workers = 1
        self._divided = divided
        self._share = self._shares = 0
        self._pace = Pace() if pace is None else pace
        expected = self._pace.there if warm else None
        if expected is not None:
            self._items, self._seconds, self._bytes = 1.0, *expected
        self.trusting = self._chunk is None and expected is not None and self._is_divided()

    @property
    def measured(self) -> tuple[float, float] | None:
        """Seconds and bytes of an item, by the latest ones; `None` before the first is measured."""
        return (self._seconds / self._items, self._bytes / self._items) if self._seen else None

    def observe(self, items: int, seconds: float, size: int = 0) -> None:
        """Take notice of items that are done.

        Args:
            items: How many.
            seconds: How long the function ran for all of them together.
            size: Bytes that were sent and came back for all of them together.
        """
        if items <= 0:
            return
        if not self._seen:
            self._items = self._seconds = self._bytes = 0.0  # what was expected
        self._seen += items
        self._largest = max(self._largest, items)
        self._items += items
        self._seconds += max(0.0, seconds)
        self._bytes += max(0, size)
        memory = max(_LEAST_MEMORY, _ROUNDS * self._workers * max(1, self._last))
        if self._items > memory:
            fade = memory / self._items
            self._items = memory
            self._seconds *= fade
            self._bytes *= fade
        self._pace.there = self.measured

    def next_chunk(
        self,
        *,
        remaining: int | None = None,
        workers: int = 1,
        in_flight: int = 0,
        room: int | None = None,
    ) -> int:
        """How many items the next chunk has.

        Args:
            remaining: Items of the input that were not sent yet, as far as is known. Less than 1
                means that the input's length was wrong, and counts as not known.
            workers: How many chunks can run at once.
            in_flight: Chunks that were sent and are not over.
            room: Most items that may be taken now.

        Returns:
            At least 1; or 0 if every worker has what it needs, and it is better to wait until one
            of them tells how long an item takes.
        """
        self._workers = workers = max(1, workers)
        if self._chunk is not None:
            size = self._chunk
        elif not (self._seen or self.trusting):
            size = 0 if in_flight >= workers * (1 + self._costs.waiting) else 1
        else:
            size = self._automatic(remaining, workers)
        for limit in (self._window, room):
            if limit is not None:
                size = min(size, max(1, limit))
        self._last = size
        return size

    def again(self, items: int, workers: int) -> int:
        """How many of so many items that are run again the next chunk has.

        They are shared between all workers, in chunks of any size that is worth a message.
        """
        if self._chunk is not None:
            return min(self._chunk, 1 + items // (2 * workers))
        return self.next_chunk(remaining=items, workers=workers)

    def _automatic(self, remaining: int | None, workers: int) -> int:
        costs = self._costs
        served = costs.handling * workers
        if remaining is not None and remaining > 0 and self._is_divided(remaining // workers):
            size = self._next_share(remaining, workers)
        elif remaining is not None and remaining > 0:
            size = min(self._worth(max(costs.target, 2 * served)), _GROWTH * self._seen)
            shrunk = max(
                remaining // (2 * workers), min(self._worth(served), -(-remaining // workers))
            )
            if remaining <= self._seen // 4:  # Near the end, and by then times are known well.
                shrunk = max(shrunk, min(self._worth(costs.floor), remaining))
            size = min(size, shrunk)
        else:
            size = min(self._worth(max(costs.blind, 2 * served)), _BLIND_GROWTH * self._largest)
        if self._window is not None:
            size = min(size, -(-self._window // (2 * workers)))
        if self._bytes:
            size = min(size, int(MAX_BYTES * self._items / self._bytes))
        return max(1, size)

    def _is_divided(self, items: int = 0) -> bool:
        """Whether all that is left is shared out, so many items for each worker.

        Not where a single item keeps others waiting for long, in comparison.
        """
        short = self._worth(self._costs.target) >= _SHORT_ITEMS
        return self._divided and (short or items >= _MANY_ITEMS)

    def _next_share(self, remaining: int, workers: int) -> int:
        """An equal share for each worker of what is left, or of as much as is believed."""
        if not self._shares:
            share = -(-remaining // workers)
            if self._seen:
                share = min(
                    _DIVIDED_GROWTH * self._seen, max(share, self._worth(self._costs.floor))
                )
            self._share = min(share, MAX_ITEMS)
            self._shares = workers
        self._shares -= 1
        return self._share

    def _worth(self, seconds: float) -> int:
        """How many items last so long."""
        if self._seconds * MAX_ITEMS <= seconds * self._items:
            return MAX_ITEMS
        return max(1, math.floor(seconds * self._items / self._seconds))
