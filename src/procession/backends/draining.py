"""Letting what was submitted go on for some seconds, before all of it is ended.

It may be asked for in a signal handler, which has interrupted the main thread anywhere: amid a lock
of ours, or while it reads a worker's channel. So another thread does the work, and the main thread
only waits for it; if it does not get on, for want of such a lock, until the handler has returned,
it goes on after that.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

from procession.errors import OptionError, PoolClosed
from procession.system.after_fork import outstanding
from procession.system.pristine import start_new_thread, threading, time
from procession.system.wakeup import Wakeup
from procession.worker.current import in_worker

__all__ = ["Draining", "aside", "check_open", "hand_over", "quiet", "seconds_of"]

_LOOK = 0.005
"""Seconds between two looks whether work is left."""

_QUIET = 3
"""Looks in a row that find no work until there is none: a map sends its next chunk in between."""

_STUCK = 8.0
"""Seconds without a sign of life of the thread that does it, until nobody waits for it any more.
More than a worker's exit handlers get."""

_under_way: list[object] = []

quiet: list[Callable[[int], bool]] = []
"""Say whether they have no work that goes on by itself, while this thread only waits. For those
above."""


def seconds_of(drain: Any) -> float:
    """How long to wait, as it was given.

    Raises:
        OptionError: It is no number of seconds.
    """
    rule = "drain must be a number of seconds, 0 or more"
    instead = "Write procession.shutdown(drain=30), or leave it out to end everything now."
    if isinstance(drain, bool) or not isinstance(drain, (int, float)):
        raise OptionError(f"{rule}, and is {drain!r}. {instead}")
    try:
        seconds = float(drain)
    except OverflowError:
        seconds = math.inf
    if math.isnan(seconds) or seconds < 0:
        raise OptionError(f"{rule}, and is {drain!r}. {instead}")
    return seconds


def check_open(name: str) -> None:
    """Refuse a new call while what was submitted before is finished.

    Raises:
        PoolClosed: `shutdown` is under way with ``drain``.
    """
    if _under_way and not in_worker():
        raise PoolClosed(
            f"{name}() cannot start: procession.shutdown(drain=...) is under way, which lets "
            "earlier calls finish and takes no new ones. Call it before that, or after it."
        )


class Draining:
    """From `begin` to its exit no new calls are taken; `wait` returns when the earlier are over.

    Args:
        seconds: How long they may go on.
        pools: Gives the pools that there are.
        caller: The thread that waits for all this, and so does nothing else.

    Attributes:
        alive: When there was progress last, by the monotonic clock.
    """

    def __init__(self, seconds: float, pools: Callable[[], list[Any]], caller: int) -> None:
        self._seconds = seconds
        self._pools = pools
        self._caller = caller
        self.alive = time.monotonic()

    def begin(self) -> None:
        """Take no new calls from here on."""
        _under_way.append(self)

    def __enter__(self) -> Draining:
        return self

    def __exit__(self, *_: object) -> None:
        _under_way.remove(self)

    def wait(self) -> bool:
        """Whether all was over in time."""
        began = time.monotonic()
        looks = 0
        while looks < _QUIET:
            self.alive = now = time.monotonic()
            if now - began >= self._seconds:
                return not self._at_work()
            looks = 0 if self._at_work() else looks + 1
            time.sleep(min(_LOOK, max(0.0, self._seconds - (now - began))))
        return True

    def _at_work(self) -> bool:
        return (
            bool(outstanding)
            or any(pool.at_work for pool in self._pools())
            or not all(each(self._caller) for each in list(quiet))
        )


def aside(work: Callable[[], None], draining: Draining) -> None:
    """Do it in a thread of its own and wait for that; raises what it raises."""
    wakeup = Wakeup()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)
        finally:
            draining.alive = time.monotonic()
            wakeup.wake()

    try:
        start_new_thread(run, ())
    except RuntimeError:  # the interpreter is ending
        run()
    while not wakeup.wait(0.1):
        if time.monotonic() - draining.alive > _STUCK:
            return
    if raised:
        raise raised.pop()


def hand_over(pools: list[Any]) -> None:
    """Have others read what this thread was reading when a signal handler interrupted it."""
    me = threading.get_ident()
    process = sys.modules.get("procession.backends.process")
    for pool in pools:
        if process is not None and isinstance(pool, process.ProcessBackend):
            pool.hand_over(me)
