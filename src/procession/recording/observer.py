"""Who is told of calls: a profile, or a metric. The engine tells, and knows nothing of either.

Each call has one `CallObserver`, which the engine tells of a few moments: packed, sent, replied,
settled, ran here, finished. While nothing observes, that is `UNOBSERVED`, which does nothing: all
that a map, a chunk or a single call pays is a call of an empty method.
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
