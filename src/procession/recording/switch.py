"""Whether anybody records: the one thing that calls ask when nobody does.

Everything here is cheap to import and to ask: ``if switch.open:`` is all that a map, a chunk or a
single call pays while no profile is open.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import current_thread
from typing import TYPE_CHECKING, Any, Protocol

from procession.system import after_fork
from procession.system.pristine import perf_counter
from procession.worker.current import in_worker

if TYPE_CHECKING:
    from procession.contract import Reply
    from procession.recording.call_record import CallRecord
    from procession.recording.traffic import Traffic

__all__ = ["begin", "switch", "timing"]


class Observer(Protocol):
    """Who is told of calls, and of workers that start: a profile."""

    began: float

    def add_call(self, record: CallRecord) -> None:
        """A call has begun."""
        ...

    def add_start(self, pid: int, began: float, ended: float) -> None:
        """A worker has started."""
        ...


class Switch:
    """The profiles that are open, in this process.

    Attributes:
        open: They are; replaced as a whole, so that it can be read without a lock.
    """

    __slots__ = ("_lock", "open")

    def __init__(self) -> None:
        self.open: tuple[Observer, ...] = ()
        self._lock = after_fork.lock()

    def add(self, profile: Observer) -> None:
        """Have a profile told of every call from now on."""
        with self._lock:
            self.open = (*self.open, profile)

    def remove(self, profile: Observer) -> None:
        """Tell a profile of no further call."""
        with self._lock:
            self.open = tuple(each for each in self.open if each is not profile)

    def forked(self) -> None:
        """In a forked child: the profiles are its parent's."""
        self.open = ()

    def started(self, pid: int, since: float) -> None:
        """A worker process is ready, which began to start at `since`."""
        for profile in self.open:
            profile.add_start(pid, max(since, profile.began), perf_counter())


switch = Switch()
after_fork.renew_in_child(switch.forked)


def begin(
    function: str,
    since: float | None = None,
    traffic: Traffic | None = None,
    *,
    packed: bool = False,
) -> CallRecord | None:
    """The record of a call that begins; `None` if nobody wants one.

    A call that is made inside an item is a part of that item.

    Args:
        function: Its name.
        since: When it began, if that was earlier.
        traffic: Where the bytes that it moves are counted, if they are.
        packed: Whether the function and what goes to every item were pickled since then.
    """
    profiles = switch.open
    if not profiles or in_worker():
        return None
    from procession.recording.call_record import CallRecord

    now = perf_counter()
    record = CallRecord(function, now if since is None else since)
    if packed:
        record.packed(now - record.began)
    if traffic is not None:
        record.traffic = traffic
    for profile in profiles:
        profile.add_call(record)
    return record


def timing(reply: Callable[..., Reply]) -> Callable[..., Reply]:
    """What runs an item in a thread of this process, and now says when and where."""

    def timed(*args: Any) -> Reply:
        since = perf_counter()
        came = reply(*args)
        spent = perf_counter() - since
        return came._replace(timing=(since, spent, os.getpid(), current_thread().name))

    return timed
