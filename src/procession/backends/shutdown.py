"""Ending all pools of this process, at once or after what was submitted has had some seconds.

`shutdown` with ``drain`` may be called in a signal handler, which has interrupted the main thread
anywhere: amid a lock of Procession's, or while it reads a worker's channel. So another thread does
the work, and the main thread only waits for it. If that thread needs such a lock, it goes on when
the handler has returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from procession.backends.registry import all_pools, forget_routes, take_all
from procession.buffers.housekeeping import housekeeper
from procession.configuration import precedence
from procession.errors import OptionError, PoolClosed
from procession.hints import Any
from procession.process.pool.at_exit import has_ended
from procession.system import cpython
from procession.system.after_fork import outstanding
from procession.system.pristine import start_new_thread, threading, time
from procession.system.wakeup import Wakeup
from procession.user_threads import user_threads
from procession.worker.current import in_worker
from procession.worker.preparing import forget_initializers

_LOOK = 0.005
"""Seconds between two looks whether work is left."""

_QUIET = 3
"""Looks in a row that find no work until there is none: a map sends its next chunk in between."""

_STUCK = 8.0
"""Seconds without a sign of life of the thread that does it, until it is waited for no longer.
More than a worker's exit handlers get."""

_under_way: list[object] = []

quiet: list[Callable[[int], bool]] = []
"""Say whether they have no work that goes on by itself, while this thread only waits. For those
above."""


def _seconds_of(drain: Any) -> float:
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


def shutdown(*, wait: bool = True, drain: float | None = None) -> None:
    """End all pools of this process now; the next call makes new ones.

        procession.shutdown()            # now
        procession.shutdown(drain=30)    # let calls finish, for 30 seconds at most

    What still runs is ended, and its caller gets `PoolClosed`. Idle workers end in order: their
    exit handlers run, and values of `per_worker` are closed. Pools end by themselves when they are
    idle, and when the program ends: this is for code that must know that nothing is left. A `Pool`
    object that is still held is not ended.

    Args:
        wait: Return only when every worker has ended.
        drain: First let what was submitted go on for so many seconds at most, and take no new calls
            meanwhile: they raise `PoolClosed`. May be called in a signal handler, for example of
            SIGTERM; what the interrupted code itself has yet to submit does not count.

    Raises:
        OptionError: `drain` is no number of seconds, or below 0.
    """
    if drain is None:
        _end(wait, late=False)
        return
    if has_ended():
        return  # the program's end lets what was submitted finish anyhow
    draining = _Draining(_seconds_of(drain), wait=wait)
    forget_routes()  # only now: what finds its way from here on is refused
    for pool in all_pools():
        pool.hand_over(threading.get_ident())  # it was struck here, perhaps while it read
    draining.run()


def _end(wait: bool, *, late: bool) -> None:
    """End all pools; `late` says that what is still at work cannot be waited for any longer."""
    for pool in take_all():
        stuck = late and pool.at_work and not pool.kills
        pool.close(wait=wait and not stuck, kill=True)
    precedence.forget()
    forget_initializers()
    if wait:
        _stop_helpers()


def _stop_helpers() -> None:
    """End the fork server and the helper thread, and give back memory kept for the next use."""
    # Not by way of the pools: executors start processes from Procession's fork server, too.
    server = cpython.loaded("procession.process.start.fork_server")
    if server is not None:
        server.stop_unused()
    user_threads.stop()
    alarm = cpython.loaded("procession.system.alarm")
    if alarm is not None:
        alarm.stop()
    housekeeper.clear()


class _Draining:
    """From its making to its end no new calls are taken, and earlier ones go on for so long.

    Args:
        seconds: How long they may go on.
        wait: Whether to wait for the end of all workers, too.
    """

    def __init__(self, seconds: float, *, wait: bool) -> None:
        self._seconds = seconds
        self._wait = wait
        self._caller = threading.get_ident()  # which waits for all this, and does nothing else
        self._alive = time.monotonic()  # when there was progress last
        self._over = Wakeup()
        self._raised: list[BaseException] = []
        _under_way.append(self)

    def run(self) -> None:
        """Do it in a thread of its own and wait for that; raises what it raises."""
        try:
            start_new_thread(self._finish, ())
        except RuntimeError:  # the interpreter is ending
            self._finish()
        while not self._over.wait(0.1):
            if time.monotonic() - self._alive > _STUCK:
                return
        if self._raised:
            raise self._raised.pop()

    def _finish(self) -> None:
        try:
            try:
                in_time = self._drained()
                _end(self._wait, late=not in_time)
            finally:
                _under_way.remove(self)
        except BaseException as error:
            self._raised.append(error)
        finally:
            self._alive = time.monotonic()
            self._over.wake()

    def _drained(self) -> bool:
        """Whether all was over in time."""
        began = time.monotonic()
        looks = 0
        while looks < _QUIET:
            self._alive = now = time.monotonic()
            if now - began >= self._seconds:
                return not self._at_work()
            looks = 0 if self._at_work() else looks + 1
            time.sleep(min(_LOOK, max(0.0, self._seconds - (now - began))))
        return True

    def _at_work(self) -> bool:
        return (
            bool(outstanding)
            or any(pool.at_work for pool in all_pools())
            or not all(each(self._caller) for each in list(quiet))
        )
