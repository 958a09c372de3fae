"""What a profile has recorded, and its figures: where the time went, how short it could have been.

A *stretch* is a time in which calls were open without a pause: a map, or futures that overlap. The
workers' time is the length of all stretches, times the workers that the calls could have had then.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence

from procession.profiling.call_record import SLOWEST, CallRecord, Place, Slow
from procession.system import after_fork
from procession.system.pristine import perf_counter, time
from procession.system.resources import usable_cpus


class Recorded:
    """What was recorded while a profile was open: its calls, and the workers that started.

    Attributes:
        began: When it was opened, by `time.perf_counter`.
        at: The same, by the wall's clock.
        ended: When it was closed; `None` as long as it is open.
    """

    def __init__(self) -> None:
        self._lock = after_fork.lock()
        self._calls: list[CallRecord] = []
        self._starts: dict[Place, tuple[float, float]] = {}
        self.began = perf_counter()
        self.at = time.time()
        self.ended: float | None = None

    def new_call(self, function: str, began: float, single: bool) -> CallRecord:
        """Make the record of a call."""
        return CallRecord(function, began, single)

    def add_call(self, call: CallRecord) -> None:
        """A call has begun."""
        with self._lock:
            self._calls.append(call)

    def add_start(self, pid: int, machine: str, began: float, ended: float) -> None:
        """A worker has started; on another machine, if one is named."""
        with self._lock:
            self._starts[pid, machine] = (began, ended)

    @property
    def calls(self) -> list[CallRecord]:
        """What was recorded of each call, in the order in which they began."""
        with self._lock:
            return list(self._calls)

    @property
    def starts(self) -> dict[Place, tuple[float, float]]:
        """When each worker that started meanwhile began and ended to do so, by its place."""
        with self._lock:
            found = dict(self._starts)
        for call in self.calls:
            for place, start in call.starts.copy().items():
                found.setdefault(place, start)
        return found


class Stretch:
    """Calls that overlap.

    Attributes:
        calls: They are.
        began: When the first began.
        ended: When the last ended, or now.
        capacity: The seconds that all workers together had.
    """

    def __init__(self, calls: Sequence[CallRecord], now: float) -> None:
        self.calls = calls
        self.began = min(call.began for call in calls)
        self.ended = max(_end(call, now) for call in calls)
        self.capacity = _capacity(calls, now)
        self.computing = sum(call.computing for call in calls)
        self.longest = max(call.longest for call in calls)
        self.items = sum(call.items for call in calls)

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.ended - self.began

    @property
    def lanes(self) -> float:
        """How many workers it had, on average."""
        return max(1.0, self.capacity / self.seconds) if self.seconds > 0 else 1.0

    def shared(self, cpus: int) -> float:
        """Its computing, shared among as many workers as there are CPUs (or were workers)."""
        return self.computing / max(cpus, *(call.workers for call in self.calls))

    def ideal(self, cpus: int) -> float:
        """The shortest it could have been: each item in one piece, nothing but computing."""
        return min(max(self.longest, self.shared(cpus)), self.seconds)

    @property
    def startup(self) -> float:
        """Seconds until the first item began."""
        first = min((call.first for call in self.calls if call.first is not None), default=None)
        return 0.0 if first is None else max(0.0, min(first, self.ended) - self.began)

    @property
    def tail(self) -> float:
        """Seconds at the end in which workers had nothing left to do, spread over all of them."""
        last: dict[object, float] = {}
        for call in self.calls:
            for place, track in call.tracks.copy().items():
                if track.blocks:
                    last[place] = max(last.get(place, 0.0), track.blocks[-1].stop)
        if len(last) < 2:
            return 0.0
        end = max(last.values())
        return sum(end - stop for stop in last.values()) / max(self.lanes, len(last))


class Figures:
    """All figures of a profile, as of now."""

    def __init__(self, profile: Recorded, cpus: int | None = None) -> None:
        now = perf_counter()
        self.calls = calls = profile.calls
        self.cpus = usable_cpus() if cpus is None else cpus
        self.stretches = list(_stretches(calls, now))
        self.seconds = sum(stretch.seconds for stretch in self.stretches)
        self.duration = (profile.ended or now) - profile.began
        self.items = sum(call.items for call in calls)
        self.here = sum(call.here for call in calls)
        self.errors = sum(call.errors for call in calls)
        self.retries = sum(call.retries for call in calls)
        self.computing = sum(call.computing for call in calls)
        self.here_computing = sum(call.here_computing for call in calls)
        self.crossing = sum(call.crossing for call in calls)
        self.packing = sum(call.packing for call in calls)
        self.unpacking = sum(call.unpacking for call in calls)
        self.lost = sum(call.lost for call in calls)
        self.bytes_out = sum(call.traffic.bytes_out for call in calls)
        self.bytes_back = sum(call.traffic.bytes_back for call in calls)
        self.starts = profile.starts
        self.starting = sum(ended - began for began, ended in self.starts.values())
        self.capacity = sum(stretch.capacity for stretch in self.stretches)
        self.workers = max((call.workers for call in calls), default=0)
        self.backends = sorted({call.backend for call in calls if call.backend})

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds if self.seconds > 0 else 0.0

    @property
    def utilisation(self) -> float:
        """The part of the workers' time that was spent in the functions, from 0 to 1."""
        return min(1.0, self.computing / self.capacity) if self.capacity > 0 else 0.0

    @property
    def waiting(self) -> float:
        """The workers' seconds that were spent on nothing that is known."""
        spent = self.computing + self.crossing + self.starting + self.lost
        return max(0.0, self.capacity - spent)

    @property
    def ideal(self) -> float:
        """The shortest that the calls could have taken on this machine, in seconds."""
        return sum(stretch.ideal(self.cpus) for stretch in self.stretches)

    @property
    def speedup(self) -> float:
        """How many times as fast as one call after the other it was."""
        return self.computing / self.seconds if self.seconds > 0 else 0.0

    @property
    def possible(self) -> float:
        """How many times as fast it could be at most; 0 if nothing was computed."""
        return self.computing / self.ideal if self.ideal > 0 else 0.0

    @property
    def slowest(self) -> list[Slow]:
        """The slowest items of all calls, the slowest first."""
        slow = [each for call in self.calls for each in call.slowest]
        return sorted(slow, key=lambda each: -each.seconds)[:SLOWEST]

    @property
    def places(self) -> list[tuple[int, str]]:
        """Where items ran or workers started: this process first."""
        found = {place for call in self.calls for place in call.tracks.copy()}
        found.update(self.starts)
        return sorted(found, key=lambda place: (place[0] != os.getpid(), place))


def _end(call: CallRecord, now: float) -> float:
    return max(call.began, now if call.ended is None else call.ended)


def _stretches(calls: Iterable[CallRecord], now: float) -> Iterable[Stretch]:
    """The calls, by stretches, in order."""
    group: list[CallRecord] = []
    until = 0.0
    for call in sorted(calls, key=lambda call: call.began):
        if group and call.began > until:
            yield Stretch(group, now)
            group = []
        until = max(until, _end(call, now)) if group else _end(call, now)
        group.append(call)
    if group:
        yield Stretch(group, now)


def _capacity(calls: Iterable[CallRecord], now: float) -> float:
    """Seconds times workers: at each moment, as many as the call had that had most."""
    edges: list[tuple[float, int, int]] = []
    for call in calls:
        edges += [(call.began, 1, call.workers), (_end(call, now), -1, call.workers)]
    edges.sort()
    total, before = 0.0, 0.0
    open_now: Counter[int] = Counter()
    for at, change, workers in edges:
        if +open_now:
            total += (at - before) * max(+open_now)
        open_now[workers] += change
        before = at
    return total
