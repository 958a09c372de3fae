"""What a profile is told, and shown from: for each call where its items ran, when, for how long.

Times are those of `time.perf_counter`. On Linux, macOS and Windows that is one clock for all
processes of a machine, so a worker's times can be compared with the caller's. A backend whose
workers are on other machines moves the first entry of each `Reply.timing` by the clocks'
difference.
"""

from __future__ import annotations

import heapq
import os
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

from procession.contract import Chunk, End
from procession.items import Item, Settled, size_back
from procession.observer import CallObserver, Traffic
from procession.once import Once
from procession.pickling.objects import short_repr
from procession.profiling.tracks import FINEST, Track
from procession.system import NamedTuple, after_fork
from procession.system.pristine import perf_counter
from procession.user_threads import user_threads

SLOWEST = 10
"""The slowest items that are kept with their arguments."""

Place = tuple[int, str]
"""Where items run: a process id, and the thread's name in this process (else ``""``)."""


class Slow(NamedTuple):
    """One of the slowest items.

    Attributes:
        seconds: How long the function ran.
        function: Its name.
        index: Its place in the map's input; `None` for a single call.
        argument: A short text of what it was given, as it was after the call.
    """

    seconds: float
    function: str
    index: int | None  # type: ignore[assignment]  # tuple.index, which is not called here
    argument: str


class CallRecord(CallObserver):
    """One map, or one single call. Written by any thread, under its own lock.

    Attributes:
        function: The function's name.
        began: When it was made.
        ended: When it was over; `None` as long as it is not.
        backend: The kind of its workers, ``""`` if it needed none.
        workers: How many it could have at once.
        items: Items that are over.
        here: How many of them ran in the thread that made the call.
        errors: How many of them failed, for good.
        retries: How often an item was run again after it had failed.
        computing: Seconds in the function, in all workers together.
        crossing: Seconds that workers spent on pickling and unpickling.
        packing: Seconds that this process spent on pickling what it sent.
        unpacking: Seconds that it spent on unpickling what came back.
        lost: Seconds in attempts whose worker was ended, or died.
        traffic: The bytes that were moved, and the judgement on them.
        longest: Seconds of the longest item.
        first: When the first item began.
        tracks: What ran, by place.
        starts: When workers that say nothing of it began and ended to start.
    """

    def __init__(self, function: str, began: float, single: bool = False) -> None:
        self.function = function
        self.began = began
        self.ended: float | None = None
        self.backend = ""
        self.workers = 1
        self.items = self.here = self.errors = self.retries = 0
        self.computing = self.crossing = self.packing = self.unpacking = self.lost = 0.0
        self.here_computing = 0.0
        self.traffic = Traffic()
        self.longest = 0.0
        self.first: float | None = None
        self.tracks: dict[Place, Track] = {}
        self.starts: dict[Place, tuple[float, float]] = {}
        self.single = single
        self._slowest: list[tuple[float, int, Once[Slow]]] = []
        self._order = count()
        self._undescribed: deque[Once[Slow]] = deque()
        self._sent: dict[Chunk, float] = {}
        self._lock = after_fork.rlock()

    # -- told by the engine --------------------------------------------------------------------

    def packed(self, since: float | None = None, refused: int = 0) -> None:
        """Items were pickled, or refused."""
        with self._lock:
            self.packing += perf_counter() - (self.began if since is None else since)
            self.items += refused
            self.errors += refused

    def sent(self, chunk: Chunk) -> None:
        """A chunk is about to be given to a backend."""
        backend = chunk.home
        with self._lock:
            self.backend = type(backend).__name__.removesuffix("Backend").lower()
            self.workers = max(self.workers, backend.workers)
            if not backend.warm:
                self._sent[chunk] = perf_counter()

    def replied(self, chunk: Chunk, settled: Iterable[Settled], again: Sequence[Item] = ()) -> None:
        """Items of a chunk have run; those in `again` will run once more."""
        with self._lock:
            sent = self._sent.pop(chunk, None)
            for item, reply, _ in settled:
                assert reply is not None
                over = item not in again
                self.items += over
                self.retries += not over
                self.errors += over and not reply.ok
                self.computing += reply.seconds
                self.traffic.moved(1, item.size, size_back(item, reply), reply.seconds)
                if reply.timing is None:
                    continue
                begin, whole, pid, thread = reply.timing
                self.crossing += 0.0 if thread else max(0.0, whole - reply.seconds)
                if sent is not None and (pid, "") not in self.starts:
                    self.starts[pid, ""] = (sent, max(sent, begin))
                    sent = None
                self._ran((pid, thread), begin, whole, 1, item.index, not reply.ok)
                self._consider(reply.seconds, item.index, item.value)
        if self._undescribed:
            user_threads.run_soon(self._describe)  # in no thread that others wait for

    def settled(self, errors: int, again: int, end: End) -> None:
        """A chunk ended early: some of its items failed so, others will run once more."""
        if end.kind == "cancelled":
            return  # they are not wanted any more
        with self._lock:
            self.items += errors
            self.errors += errors
            self.lost += end.seconds
            if end.index is not None and not errors:
                self.retries += again > 0  # the others of its chunk did not fail

    def ran_here(
        self,
        start: int,
        values: Sequence[Any],
        whole: float,
        failed: bool = False,
        each: list[float] | None = None,
    ) -> None:
        """Consecutive items have just run in this very thread."""
        count = len(values)
        if not count:
            return
        begin = perf_counter() - whole
        exact = list(each) if each and len(each) == count else [whole / count] * count
        if each:
            each.clear()
        place = (os.getpid(), threading.current_thread().name)
        with self._lock:
            self.items += count
            self.here += count
            self.errors += failed
            self.computing += sum(exact)
            self.here_computing += sum(exact)
            if max(exact) < FINEST or count == 1:
                self._ran(place, begin, whole, count, start, failed)
            else:
                at = begin
                for index, seconds in enumerate(exact, start):
                    wrong = failed and index == start + count - 1
                    self._ran(place, at, seconds, 1, index, wrong)
                    at += seconds
            for seconds, at_index in heapq.nlargest(SLOWEST, zip(exact, range(count), strict=True)):
                self._consider(seconds, start + at_index, values[at_index])
        self._describe()

    def finished(self) -> None:
        """The call is over."""
        if self.ended is None:
            self.ended = perf_counter()
        self._sent.clear()

    def retried_here(self, times: int) -> None:
        """The last item that ran in this thread was tried again so many times."""
        if times:
            with self._lock:
                self.retries += times

    def ends_with(self, holder: object) -> None:
        """The call is over at the latest when this object is forgotten."""
        weakref.finalize(holder, self.finished).atexit = False

    # -- ways to time what is not timed otherwise --------------------------------------------------

    def timed(self, function: Callable[..., Any]) -> tuple[Callable[..., Any], list[float]]:
        """The function, and a list that is given the seconds of each of its calls."""
        seconds: list[float] = []

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds.append(perf_counter() - begin)

        return timed, seconds

    def decoding(self, decode: Callable[..., Any], *, outcomes: bool = False) -> Callable[..., Any]:
        """The function that rebuilds a result, with its time counted, and what it cannot."""

        def timed(settled: Settled, rules: Any) -> Any:
            begin = perf_counter()
            wrong = True
            try:
                result = decode(settled, rules)
                wrong = outcomes and result.error is not None
                return result
            finally:
                spent = perf_counter() - begin
                with self._lock:
                    self.unpacking += spent
                    self.errors += wrong and settled.reply is not None and settled.reply.ok

        return timed

    def yielding(self, value: Any, values: Iterator[Any]) -> Iterator[Any]:
        """The values of a generator that runs in this thread; each counts as an item."""
        try:
            while True:
                begin = perf_counter()
                try:
                    each = next(values)
                except StopIteration:
                    return
                except BaseException:
                    self.ran_here(0, [value], perf_counter() - begin, failed=True)
                    raise
                self.ran_here(0, [value], perf_counter() - begin)
                yield each
        finally:
            self.finished()

    async def awaiting(self, value: Any, awaitable: Awaitable[Any]) -> Any:
        """What a coroutine that runs in this thread comes to."""
        begin = perf_counter()
        failed = True
        try:
            result = await awaitable
            failed = False
            return result
        finally:
            self.ran_here(0, [value], perf_counter() - begin, failed)
            self.finished()

    # -- what there is to see ----------------------------------------------------------------------

    @property
    def slowest(self) -> list[Slow]:
        """The slowest items, the slowest first."""
        with self._lock:
            found = sorted(self._slowest, key=lambda each: -each[0])
        return [slow() for *_, slow in found]

    def _slow(self, seconds: float, index: int, value: Any) -> Slow:
        text = _arguments(value) if self.single else short_repr(value)
        return Slow(seconds, self.function, None if self.single else index, text)

    def _describe(self) -> None:
        """Take down what the slowest items were given, by their own `repr`: under no lock."""
        while self._undescribed:
            try:
                slow = self._undescribed.popleft()
            except IndexError:
                return
            slow()

    def _ran(
        self, place: Place, begin: float, seconds: float, items: int, index: int, failed: bool
    ) -> None:
        track = self.tracks.get(place)
        if track is None:
            track = self.tracks[place] = Track()
        track.add(begin, begin + seconds, items, index, failed)
        if self.first is None or begin < self.first:
            self.first = begin

    def _consider(self, seconds: float, index: int, value: Any) -> None:
        self.longest = max(self.longest, seconds)
        full = len(self._slowest) == SLOWEST
        if full and seconds <= self._slowest[0][0]:
            return
        slow = Once(partial(self._slow, seconds, index, value))
        self._undescribed.append(slow)
        entry = (seconds, -next(self._order), slow)  # of equal ones the first stay
        if full:
            heapq.heapreplace(self._slowest, entry)
        else:
            heapq.heappush(self._slowest, entry)


def _arguments(value: Any) -> str:
    """What a single call was given, as it is written."""
    args, kwargs = value
    return ", ".join(
        [*map(short_repr, args), *(f"{name}={short_repr(each)}" for name, each in kwargs.items())]
    )
