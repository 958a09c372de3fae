"""Timers, a helper thread that keeps some, and short turns at the GIL for it.

An alarm of the helper's is set and cancelled in microseconds. It lets a map run its first items in
the caller's thread: should one of them never end, the helper starts the pool and feeds it all the
same.

A thread that waits for the GIL gets it after 5 ms from one that computes. To start a worker takes
some thirty system calls, with a wait after each. While a map runs in its caller's thread, a worker
would be up after 150 ms in place of 60. So turns are short meanwhile (`short_turns`).
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable
from itertools import count

from procession.hints import Any
from procession.system import after_fork
from procession.system.pristine import monotonic, start_new_thread, threading
from procession.system.wakeup import Wakeup, Wakeups

_IDLE_SECONDS = 1.0
"""Seconds without a timer after which the thread ends."""

_SHORT = 0.5e-3
"""Seconds of a short turn. Measured: 0.1 ms is not better, and 5 ms are 40 ms worse."""


class Timer:
    """A call that will be made once, at a time; `cancel` takes it back."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], Any]) -> None:
        self.when = when
        self.call: Callable[[], Any] | None = call

    def cancel(self) -> None:
        """Do not make the call, if it has not begun."""
        self.call = None

    def fire(self) -> None:
        """Its time has come."""
        call, self.call = self.call, None
        if call is not None:
            call()


class Timers:
    """The timers of one thread. Guarded by its owner's lock, but for `next`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._serial = count()

    def add(self, timer: Timer) -> None:
        """Let it run."""
        heapq.heappush(self._heap, (timer.when, next(self._serial), timer))

    def __bool__(self) -> bool:
        """Whether any runs."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
        return bool(self._heap)

    def next(self) -> float | None:
        """When the next one is due."""
        try:
            return self._heap[0][0]
        except IndexError:
            return None

    def take_due(self) -> list[Callable[[], Any]]:
        """Take those whose time has come."""
        now = monotonic()
        due: list[Callable[[], Any]] = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2].fire)
        return due

    def clear(self) -> None:
        """Let none run any more."""
        self._heap.clear()


class _Clock:
    """The helper thread and its timers; one per process, made anew after a fork."""

    def __init__(self) -> None:
        self._lock = after_fork.lock()
        self._timers = Timers()
        self._changed = Wakeup()
        self._gone = Wakeups()
        self._sleeps_until = 0.0
        self._begun = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._ident: int | None = None

    def add(self, timer: Timer) -> None:
        with self._lock:
            self._timers.add(timer)
            if self._begun:
                if timer.when < self._sleeps_until:
                    self._changed.wake()
                return
            self._begun = True
            try:
                # `Thread.start` waits until the thread runs, which a short map has no time for.
                start_new_thread(self._begin, ())
            except RuntimeError:  # the interpreter is ending, or the system has no thread left:
                self._begun = False  # then nothing helps, and items run where they are
            except BaseException:
                self._begun = False  # Ctrl-C; a second thread would do no harm
                raise

    def stop(self) -> None:
        """End the thread, unless it is needed again."""
        with self._lock:
            self._timers.clear()
            if not self._begun or threading.get_ident() == self._ident:
                return
            self._stopping = True
            self._changed.wake()
            gone = self._gone.add()
        gone.wait(1.0)
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(1.0)

    def _begin(self) -> None:
        """In a bare thread, which `threading` does not know: start one that it knows."""
        thread = self._thread = threading.Thread(
            target=self._loop, name="procession-alarm", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._end()

    def _loop(self) -> None:
        self._ident = threading.get_ident()
        while calls := self._next():
            for call in calls:
                call()

    def _next(self) -> list[Callable[[], Any]]:
        """What is due next, when it is; nothing if there has been no timer for a while."""
        idle = False
        while True:
            with self._lock:
                if due := self._timers.take_due():
                    return due
                now = monotonic()
                when = self._timers.next() if self._timers else None
                if when is None and (idle or self._stopping):
                    self._end()
                    return due
                idle = when is None
                self._sleeps_until = now + _IDLE_SECONDS if when is None else when
            if self._changed.wait(self._sleeps_until - now):
                idle = False

    def _end(self) -> None:
        self._begun = self._stopping = False
        self._gone.wake()


_clock = _Clock()


def _renew() -> None:
    global _clock
    _clock = _Clock()


after_fork.renew_in_child(_renew)


def after(seconds: float, call: Callable[[], None]) -> Timer:
    """Call `call` in the helper thread in so many seconds; it must not raise or block."""
    timer = Timer(monotonic() + seconds, call)
    _clock.add(timer)
    return timer


def stop() -> None:
    """End the helper thread; the next alarm starts it again."""
    _clock.stop()


class _ShortTurns:
    """A context in which `sys.getswitchinterval` is short, for any number of threads at once."""

    def __init__(self) -> None:
        self._lock = after_fork.lock()
        self._inside = 0
        self._before = 0.0
        after_fork.register(self)

    def renew(self) -> None:
        """In a forked child: no thread is inside."""
        if self._inside:
            self._inside = 0
            self._restore()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, _SHORT))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restore()

    def _restore(self) -> None:
        if sys.getswitchinterval() <= _SHORT:  # else the user has set it meanwhile
            sys.setswitchinterval(self._before)


short_turns = _ShortTurns()
