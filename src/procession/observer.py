"""Who is told of calls: a profile, or a metric. The engine tells, and knows nothing of either.

Each call has one `CallObserver`, which the engine tells of a few moments: packed, sent, replied,
settled, ran here, finished. While nothing observes, that is `UNOBSERVED`, which does nothing: all
that a map, a chunk or a single call pays is a call of an empty method. What a map has moved it
counts itself, as a `Traffic`, which may call for a warning.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from threading import current_thread

from procession.contract import Chunk, End
from procession.hints import Any, Protocol
from procession.items import Item, Reply, Settled
from procession.system import after_fork
from procession.system.pristine import perf_counter
from procession.worker.current import in_worker


class CallObserver:
    """Told what one call does, by any thread. This one does nothing with it."""

    __slots__ = ()

    def packed(self, since: float | None = None, refused: int = 0) -> None:
        """Something was pickled since then, or since the call began; so many items cannot be."""

    def sent(self, chunk: Chunk) -> None:
        """A chunk is about to be given to a backend."""

    def replied(self, chunk: Chunk, settled: Iterable[Settled], again: Sequence[Item] = ()) -> None:
        """Items of a chunk have run. Those in `again` will run once more."""

    def settled(self, errors: int, again: int, end: End) -> None:
        """A chunk ended early: so many of its items failed, and so many will run once more."""

    def ran_here(
        self,
        start: int,
        values: Sequence[Any],
        whole: float,
        failed: bool = False,
        each: list[float] | None = None,
    ) -> None:
        """Consecutive items have just run in this very thread.

        Args:
            start: The first one's index.
            values: What they were given.
            whole: Seconds of all together.
            failed: Whether the last one raised.
            each: The seconds of each, if they are known; emptied for the next ones.
        """

    def retried_here(self, times: int) -> None:
        """The last item that ran in this thread was tried again so many times."""

    def finished(self) -> None:
        """The call is over. May be said again."""

    def ends_with(self, holder: object) -> None:
        """The call is over at the latest when this object is forgotten."""

    # -- ways to time what is not timed otherwise --------------------------------------------------

    def timed(self, function: Callable[..., Any]) -> tuple[Callable[..., Any], list[float]]:
        """The function, and a list that is given the seconds of each of its calls."""
        return function, []

    def decoding(self, decode: Callable[..., Any], *, outcomes: bool = False) -> Callable[..., Any]:
        """The function that rebuilds a result here, or an outcome."""
        return decode

    def yielding(self, value: Any, values: Iterator[Any]) -> Iterator[Any]:
        """The values of a generator that runs in this thread; each counts as an item."""
        return values

    def awaiting(self, value: Any, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        """A coroutine that runs in this thread."""
        return awaitable


UNOBSERVED = CallObserver()


class Observer(Protocol):
    """Who is told of calls, and of workers that start: a profile."""

    began: float

    def new_call(self, function: str, began: float, single: bool) -> CallObserver:
        """Make what is told of a call. Only the first observer is asked, all of them share it."""
        ...

    def add_call(self, call: Any) -> None:
        """A call has begun, which `new_call` of one of them has made."""
        ...

    def add_start(self, pid: int, machine: str, began: float, ended: float) -> None:
        """A worker has started; on another machine, if one is named."""
        ...


class Observers:
    """The observers that there are, in this process.

    Attributes:
        active: They are; replaced as a whole, so that it can be read without a lock.
    """

    __slots__ = ("_lock", "active")

    def __init__(self) -> None:
        self.active: tuple[Observer, ...] = ()
        self._lock = after_fork.lock()

    def add(self, observer: Observer) -> None:
        """Have it told of every call from now on."""
        with self._lock:
            self.active = (*self.active, observer)

    def remove(self, observer: Observer) -> None:
        """Tell it of no further call."""
        with self._lock:
            self.active = tuple(each for each in self.active if each is not observer)

    def forget(self) -> None:
        """In a forked child: the observers are its parent's."""
        self.active = ()

    def worker_started(self, pid: int, since: float, until: float, machine: str = "") -> None:
        """A worker process has started, perhaps on another machine."""
        for observer in self.active:
            observer.add_start(pid, machine, max(since, observer.began), until)


observers = Observers()
after_fork.renew_in_child(observers.forget)


def call_began(function: str, since: float | None = None, *, single: bool = False) -> CallObserver:
    """Who is told of a call that begins. One that is made inside an item is a part of that item.

    Args:
        function: Its name.
        since: When it began, if that was earlier.
        single: Whether it is one call, and no map.
    """
    active = observers.active
    if not active or in_worker():
        return UNOBSERVED
    call = active[0].new_call(function, perf_counter() if since is None else since, single)
    for observer in active:
        observer.add_call(call)
    return call


def timing(reply: Callable[..., Reply]) -> Callable[..., Reply]:
    """What runs an item in a thread of this process, and now says when and where."""

    def timed(*args: Any) -> Reply:
        since = perf_counter()
        came = reply(*args)
        spent = perf_counter() - since
        return came._replace(timing=(since, spent, os.getpid(), current_thread().name))

    return timed


# -- what a map moves ----------------------------------------------------------------------------
# One that spends more of its workers' time on moving bytes than on the function would be faster
# with less data: paths instead of arrays, an array in shared memory, or results made smaller there.

_PER_SECOND = 2e9
"""Bytes that a worker is given or gives back in a second: a copy here, fresh pages there. Measured
8 to 24 ms for 40 MB; pipes are slower."""

_WORTH_A_WORD = 256e6
"""Bytes from which on it is worth a warning: less is moved in a tenth of a second. A guess."""


class Traffic:
    """What one map has moved and computed so far. Pure policy: the map counts, this judges."""

    __slots__ = ("bytes_back", "bytes_out", "items", "seconds")

    def __init__(self) -> None:
        self.items = 0
        self.bytes_out = 0
        self.bytes_back = 0
        self.seconds = 0.0

    def moved(self, items: int, out: int, back: int, seconds: float) -> None:
        """Count items that are done: bytes to and from workers, seconds in the function."""
        self.items += items
        self.bytes_out += out
        self.bytes_back += back
        self.seconds += seconds

    @property
    def moving(self) -> float:
        """Seconds that moving the bytes takes, about."""
        return (self.bytes_out + self.bytes_back) / _PER_SECOND

    def warning(self, function: str) -> str | None:
        """What to tell the user at the end of the map, or `None` if all is well."""
        if self.bytes_out + self.bytes_back < _WORTH_A_WORD or self.moving <= self.seconds:
            return None
        more = "results" if self.bytes_back > self.bytes_out else "arguments"
        mend = {
            "results": "Return less: reduce in the worker, or let it write into a shared.array().",
            "arguments": "Send less: a path to load there, a slice of a shared.array(), or "
            "shared.put() what is the same for all items.",
        }[more]
        return (
            f"{function}() moved {self.bytes_out / 1e6:.0f} MB to workers and "
            f"{self.bytes_back / 1e6:.0f} MB back for {self.seconds:.2f} s of computing in "
            f"{self.items} items. Most of the time went into moving its {more}. {mend}"
        )
