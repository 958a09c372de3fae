"""Here or in the pool? Decided by measured times. Pure policy.

An item run here costs its own time. An item run in the pool costs this process the sending and
receiving (`ship`). It costs the workers its own time and some more (`work`), shared between them.
Both are learnt while messages come and go. Here wins while items are shorter than what it costs to
send them, or when so little is left that one round trip outlasts it.
"""

from __future__ import annotations

from collections.abc import Callable

from procession.start_costs import StartCosts

SHIP_SECONDS = 0.5e-6
"""What this process spends on an item, besides pickling it, as long as nothing was measured: its
share of a message, and taking a small result. 0.2 to 0.3 µs for numbers in a column."""

WORKER_SECONDS = 1e-6
"""What a worker spends on an item, besides running it, until that was measured: unpickle, context,
result. 0.6 µs for numbers."""

ROUND_TRIP_SECONDS = 150e-6
"""One message to a waiting worker and back, until one was measured. Mostly 60 to 200 µs."""

_FIRST_ITEMS = 64
"""Items after which the newest ones count as much as all before them. The first one alone may have
taken a hundred times what the others do, as it is the first. A guess."""

_FADE = 0.05
"""How much less what was learnt counts with each map. A guess."""

_LEAST_ITEMS = 8
"""In chunks of fewer items, what an item costs is what the message costs."""

_TRUST = 4
"""A measurement counts for at most so many times what was known. A guess."""

_MANY = 256
"""So many items in a chunk make what the message itself costs small. A guess."""

_DOUBT = 0.25
"""How much a measurement counts that is above what is known, in comparison. A guess."""

PLAIN_SECONDS = 0.2e-6
"""What it takes at most to send a number or a text along with others, however few they are."""

FIRST_PICKLE_SECONDS = 5e-6
SLOW_PICKLE_SECONDS = 200e-9
"""What pickling an item, and each byte of it, takes at most at first. Numbers take 0.7 µs, dicts of
1 kB 6 µs, small objects with a ``__reduce__`` in Python about 5 µs."""

HANGS_SECONDS = 20e-3
"""An item that takes so long keeps others waiting, even if there is just one worker."""

_GAIN = 0.3
"""What is gained if no items run in the thread that sends and receives. A guess."""

_MEMORY = 0.5
"""Weight of the newest measurement in the running mean. A guess."""


class Pace:
    """What a function's last maps have shown; kept with the function.

    Attributes:
        item: Seconds that an item took, and `pack` that pickling one did. They only say where a map
            begins: from its first item on, what the map measures itself counts.
        alone: Seconds of items that ran here as no pool was up, since one was last started. Each
            map may be too short for that; all of them are not.
        deadly: Whether one of its items has killed a worker. None runs here from then on.
        hashes: Whether the function hashes, and workers do so otherwise; `None` if not looked at.
        plain: The options last seen that ask for nothing but to run it (`map.whole_list`).
        there: Seconds and bytes of an item, by the last ones that workers ran.
        ship: Seconds that this process spends on an item which goes to a worker, beyond `pack`.
        work: Seconds that a worker spends on one, beyond running it.
    """

    __slots__ = ("alone", "deadly", "hashes", "item", "pack", "plain", "ship", "there", "work")

    def __init__(self) -> None:
        self.item: float | None = None
        self.pack = 0.0
        self.alone = 0.0
        self.deadly = False
        self.hashes: bool | None = None
        self.plain: object = None
        self.there: tuple[float, float] | None = None
        self.ship = SHIP_SECONDS
        self.work = WORKER_SECONDS

    def fade(self) -> None:
        """A map begins: what was learnt is a little less certain, and may be learnt anew.

        Else a wrong measurement could keep all items here for good, where none is made.
        """
        self.ship += _FADE * (SHIP_SECONDS - self.ship)
        self.work += _FADE * (WORKER_SECONDS - self.work)

    def tiny(self, items: int) -> bool:
        """Whether so many items, if they are like the last ones, outlast no round trip."""
        return self.item is not None and items * self.item <= machine.round_trip


class Machine:
    """What any message costs on this machine.

    Attributes:
        round_trip: Seconds from sending one short item to a waiting worker to having its result.
    """

    __slots__ = ("round_trip",)

    def __init__(self) -> None:
        self.round_trip = ROUND_TRIP_SECONDS

    def took(self, seconds: float) -> None:
        """A round trip took so long, beyond what the item itself took."""
        self.round_trip = _learnt(self.round_trip, seconds)


def _learnt(known: float, seen: float, items: int = _MANY) -> float:
    """What is known after one more measurement, of so many items together.

    More than what is known counts less: a thread that had to wait for a processor has measured
    that. So does a small chunk, whose items bear the cost of a whole message.
    """
    weight = _MEMORY * min(1.0, items / _MANY)
    if seen > known:
        weight *= _DOUBT
    return known + weight * (min(max(seen, 0.0), _TRUST * known) - known)


machine = Machine()


class Placement:
    """What one map has measured so far, and where its next items had better run.

    Args:
        workers: How many items can run at once in the pool.
        processors: Tells how many there are for them and for this process.
        pace: What is known of the function; takes what this map measures.
        loaded: Whether the modules that a pool needs are loaded.
        costs: What starts cost on this machine.
        copy: Whether the fork server of a first pool is a copy of this process.
        modules: Tells how many modules a worker may import for the function.
    """

    def __init__(
        self,
        workers: int,
        pace: Pace | None = None,
        *,
        processors: Callable[[], int] | None = None,
        loaded: bool = True,
        costs: StartCosts | None = None,
        copy: bool = False,
        modules: Callable[[], int] | None = None,
    ) -> None:
        self.workers = max(1, workers)
        self._count = processors
        self._processors = 0
        self._spent = 0.0
        costs = StartCosts() if costs is None else costs
        self._start = costs.later if loaded else costs.first(copy=copy)
        self._costs, self._modules = costs, modules
        self.item: float | None = None
        self._ran = 0
        self.pack = 0.0
        self._pace = Pace() if pace is None else pace
        self._pace.fade()

    def ran(self, items: int, seconds: float) -> None:
        """So many items took so many seconds of the function's own time."""
        if not items:
            return
        mean, known = seconds / items, self._pace.item
        if self.item is not None:
            self.item += max(_MEMORY, items / (items + self._ran)) * (mean - self.item)
        elif items < _LEAST_ITEMS and known is not None and mean < known + machine.round_trip:
            self.item = min(mean, known)  # it is like those of the last map, but the first
        else:
            self.item = mean
        self._ran = min(_FIRST_ITEMS, self._ran + items)
        self._pace.item = self.item

    def packed(
        self, items: int, seconds: float, size: int | None = None, *, plain: bool = False
    ) -> None:
        """So many items took so many seconds to pickle; `size` is their bytes, if they are known.

        Those that are `plain` travel as themselves: nothing of it was an item's own.

        The first time is measured in the cold, where it may be ten times what the others take, and
        on it hangs where they run: so it counts for no more than slow pickling of that size.
        """
        if not items:
            return
        if plain:
            seconds = min(seconds, items * PLAIN_SECONDS)
        if self.pack:
            self.pack += _MEMORY * (seconds / items - self.pack)
        else:
            if size is not None:
                seconds = min(seconds, items * FIRST_PICKLE_SECONDS + size * SLOW_PICKLE_SECONDS)
            self.pack = seconds / items
        self._pace.pack = self.pack

    def spent(self, seconds: float) -> None:
        """This process took so long to send items, or to take results, besides pickling."""
        self._spent += seconds

    def shipped(self, items: int) -> None:
        """That was for so many items."""
        if items >= _LEAST_ITEMS:
            self._pace.ship = _learnt(self._pace.ship, self._spent / items, items)
            self._spent = 0.0

    def worked(self, items: int, seconds: float) -> None:
        """A worker took so many seconds for some items, besides running them."""
        if items >= _LEAST_ITEMS:
            self._pace.work = _learnt(self._pace.work, seconds / items, items)

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
        if self._pace.deadly:
            return False
        if self.workers == 1 and item < 1e-3:
            return True
        if remaining is not None and remaining * item <= machine.round_trip:
            return True
        return item <= self._there(item, pack)

    def _there(self, item: float, pack: float) -> float:
        """Seconds until the pool is through with one more item, when it has many.

        This process works for it, too, and needs a processor for that.
        """
        ship, work = self._pace.ship + pack, item + self._pace.work
        least = max(ship, work / self.workers)
        if item <= least:
            return least
        if not self._processors:
            self._processors = max(1, self.workers if self._count is None else self._count())
        return max(least, (work + ship) / min(self.workers + 1, self._processors))

    def leaves(self, remaining: int | None, seconds: float | None, *, warm: bool) -> bool:
        """Whether a pool had better have the rest, while an item runs here.

        Args:
            remaining: How many items are left, as far as is known.
            seconds: What the last items have taken each, if some run now.
            warm: Whether a pool is up.
        """
        if not warm:
            return self.worth_starting(remaining, seconds)
        hangs = seconds is not None and seconds >= HANGS_SECONDS
        return hangs or not self.here(remaining, seconds)

    def ran_alone(self, seconds: float) -> None:
        """Items took so long here that had better run in a pool, had one been up."""
        self._pace.alone += seconds

    def worth_starting(self, remaining: int | None, seconds: float | None = None) -> bool:
        """Whether a cold pool is worth its start, as far as is known.

        It is for a map that is long enough, and once the maps before have lost as much for want of
        one: a program that goes on like that is never slower than twice the better choice
        ("rent or buy": A. R. Karlin et al., Competitive snoopy caching, 1988).

        Args:
            remaining: How many items there are, as far as is known.
            seconds: What an item takes, if something newer is known than the mean.
        """
        item = self.item if seconds is None else seconds
        if item is None:
            return True  # the first item still runs: it may never end
        if remaining is None:
            return not self._here(None, item, self.pack)
        left = remaining * item + self._pace.alone
        return left > self._start_seconds(left) and not self._here(remaining, item, self.pack)

    def worth_another_worker(self, remaining: int | None) -> bool:
        """Whether one more worker had better do what the caller's thread does meanwhile.

        That gains a little, as this thread then sends and receives at once. But a worker may have
        much to import.
        """
        if remaining is None or self.item is None:
            return True
        return _GAIN * remaining * self.item >= self._import_seconds()

    def _start_seconds(self, left: float) -> float:
        """What a start takes from so many seconds of items."""
        share = self.workers / max(1, self.workers - 1)  # one processor of all is busy with it
        if left <= share * self._start:
            return share * self._start
        return share * (self._start + self._import_seconds())

    def _import_seconds(self) -> float:
        return 0.0 if self._modules is None else self._costs.importing(self._modules())

    def starts(self) -> None:
        """A pool is being started."""
        self._pace.alone = 0.0
