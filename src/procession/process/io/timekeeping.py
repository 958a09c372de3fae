"""Keeping time for the reactor: calls at later times, and the deputy."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from procession.hints import Any, Protocol
from procession.system.pristine import start_new_thread, threading, time

_LONG = 60.0
"""Seconds that the deputy sleeps at most."""

_LOOK = 0.05
"""Seconds between two looks of the deputy, while there is work."""


class Timer:
    """A call at a later time; `cancel` takes it back."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], Any]) -> None:
        self.when = when
        self.call: Callable[[], Any] | None = call

    def cancel(self) -> None:
        """Do not call."""
        self.call = None

    def fire(self) -> None:
        """Its time has come."""
        call, self.call = self.call, None
        if call is not None:
            call()


class Timers:
    """The timers that run. Guarded by the reactor's lock, but for `next`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._serial = itertools.count()

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
        now = time.monotonic()
        due: list[Callable[[], Any]] = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2].fire)
        return due


class Watched(Protocol):
    """The reactor."""

    @property
    def runs(self) -> bool:
        """Whether there is anything to watch."""
        ...

    @property
    def turns(self) -> int:
        """How often it has begun to work."""
        ...

    def left(self) -> float:
        """Seconds until its thread is late with what it is at, or with what it waits for."""
        ...

    def relieve(self) -> None:
        """If its thread is late, have another one go on."""
        ...


class Deputy:
    """Looks at the reactor's thread, in a thread of its own, while that one works."""

    def __init__(self, reactor: Watched) -> None:
        self._reactor = reactor
        self._may_begin = [True]
        self._asleep = False
        self._wake = threading.Lock()
        self._wake.acquire()

    def ensure(self) -> None:
        """Be there, as long as the reactor is."""
        try:
            self._may_begin.pop()
        except IndexError:
            return
        try:
            start_new_thread(self._run, ())
        except RuntimeError:  # the interpreter is ending, or the system has no thread left
            self._may_begin.append(True)

    def look(self) -> None:
        """The reactor begins to work, or ends."""
        if self._asleep:
            self._asleep = False
            try:
                self._wake.release()
            except RuntimeError:
                pass

    def _run(self) -> None:
        reactor = self._reactor
        while reactor.runs:
            turn, left = reactor.turns, reactor.left()
            if left <= 0:
                reactor.relieve()
            # Not by a wakeup, whose waits that last do more than is to be done here.
            self._wake.acquire(timeout=_LOOK)
            if turn == reactor.turns and (left := reactor.left()) > _LOOK:
                self._asleep = True  # until then, or until there is work, which is looked for again
                if turn == reactor.turns:
                    self._wake.acquire(timeout=min(left, _LONG))
                self._asleep = False
        self._may_begin.append(True)
        self._again()

    def _again(self) -> None:
        """A reactor that has begun meanwhile has found this one still there."""
        if self._reactor.runs:
            self.ensure()
