"""Here or in the pool? Decided by measured times. Pure policy.

An item run here costs its own time. An item run in the pool costs this process the sending and
receiving (`ship`), and the workers its own time shared between them. Here wins while items are
shorter than what it costs to send them, or when so little is left that one round trip outlasts it.
"""

from __future__ import annotations

__all__ = ["Pace", "Placement"]

SHIP_SECONDS = 8e-6
"""What this process spends on an item beside pickling it: bookkeeping, its share of a message, and
unpickling a small result. Measured at 6 to 9 µs per item for chunks of some hundred."""

WORKER_SECONDS = 6e-6
"""What a worker spends on an item beside running it (unpickle, context, reply). Measured alike."""

ROUND_TRIP_SECONDS = 150e-6
"""One message to a waiting worker and back. Measured at 60 to 200 µs."""

FIRST_PICKLE_SECONDS = 5e-6
SLOW_PICKLE_SECONDS = 200e-9
"""What pickling an item, and each byte of it, takes at most at first. Numbers take 0.7 µs, dicts of
1 kB 6 µs, small objects with a ``__reduce__`` in Python about 5 µs."""

START_SECONDS = 60e-3
"""A pool's first result, from cold: 60 ms by forkserver here, 150 ms by loky; see benchmarks."""

_MEMORY = 0.5
"""Weight of the newest measurement in the running mean. A guess."""


class Pace:
    """How long a function's items took in its last map; kept with the function.

    It only says where a map begins: from its first item on, what the map measures itself counts.
    """

    __slots__ = ("item", "pack")

    def __init__(self) -> None:
        self.item: float | None = None
        self.pack = 0.0


class Placement:
    """What one map has measured so far, and where its next items had better run.

    Args:
        workers: How many items can run at once in the pool.
        pace: What is known of the function; takes what this map measures.
    """

    def __init__(self, workers: int, pace: Pace | None = None) -> None:
        self.workers = max(1, workers)
        self.item: float | None = None
        self.pack = 0.0
        self._pace = Pace() if pace is None else pace

    def ran(self, items: int, seconds: float) -> None:
        """So many items took so many seconds of the function's own time."""
        if items:
            mean = seconds / items
            self.item = mean if self.item is None else self.item + _MEMORY * (mean - self.item)
            self._pace.item = self.item

    def packed(self, items: int, seconds: float, size: int | None = None) -> None:
        """So many items took so many seconds to pickle; `size` is their bytes, if they are known.

        The first time is measured in the cold, where it may be ten times what the others take, and
        on it hangs where they run: so it counts for no more than slow pickling of that size.
        """
        if not items:
            return
        if self.pack:
            self.pack += _MEMORY * (seconds / items - self.pack)
        else:
            if size is not None:
                seconds = min(seconds, items * FIRST_PICKLE_SECONDS + size * SLOW_PICKLE_SECONDS)
            self.pack = seconds / items
        self._pace.pack = self.pack

    def begins_here(self, items: int | None) -> bool:
        """Whether a map of so many items, if that is known, is to begin here though a pool is up.

        Only if the function's last items were tiny: to send one, and to wait for its reply before
        any other is sent, takes longer than all of a short map.
        """
        pace = self._pace
        return pace.item is not None and self._here(items, pace.item, pace.pack)

    def here(self, remaining: int | None, seconds: float | None = None) -> bool:
        """Whether the next items are done sooner here than in a warm pool.

        Args:
            remaining: How many there are, as far as is known.
            seconds: What an item takes, if something newer is known than the mean.
        """
        item = self.item if seconds is None else seconds
        return item is not None and self._here(remaining, item, self.pack)

    def _here(self, remaining: int | None, item: float, pack: float) -> bool:
        if self.workers == 1 and item < 1e-3:
            return True
        if remaining is not None and remaining * item <= ROUND_TRIP_SECONDS:
            return True
        ship = SHIP_SECONDS + 2 * pack
        return item <= max(ship, (item + WORKER_SECONDS + pack) / self.workers)

    def worth_starting(self, remaining: int | None) -> bool:
        """Whether a cold pool is worth its start, as far as is known."""
        if self.item is None:
            return True  # the first item still runs: it may never end
        if self.here(remaining):
            return False
        return remaining is None or remaining * self.item > START_SECONDS
