"""One helper thread that calls functions at a given time, armed and disarmed in microseconds.

It is what lets a map run its first items in the caller's thread: should one of them never end,
the helper starts the pool and feeds it all the same.
"""

from __future__ import annotations

import heapq
import os
import threading
from collections.abc import Callable
from itertools import count
from time import monotonic

from procession.bells import Condition

__all__ = ["Alarm", "after", "stop"]


_IDLE_SECONDS = 1.0
"""Seconds without an alarm after which the thread ends."""


class Alarm:
    """A call that will be made once, unless it is disarmed before."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Callable[[], None] | None) -> None:
        self.when = when
        self.action = action

    def disarm(self) -> None:
        """Do not make the call, if it has not begun."""
        self.action = None


class _Clock:
    """The helper thread and its heap; one per process, made anew after a fork."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self._changed = Condition(threading.Lock())
        self._sleeps_until = 0.0
        self._thread: threading.Thread | None = None

    def add(self, alarm: Alarm) -> None:
        with self._changed:
            heapq.heappush(self._heap, (alarm.when, next(self._order), alarm))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._loop, name="procession-alarm", daemon=True
                )
                self._thread.start()
            elif alarm.when < self._sleeps_until:
                self._changed.notify()

    def stop(self) -> None:
        """End the thread, unless it is needed again."""
        with self._changed:
            self._heap.clear()
            thread = self._thread
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def _loop(self) -> None:
        while True:
            action = self._next()
            if action is not None:
                action()
            elif self._ends():
                return

    def _ends(self) -> bool:
        """Whether nothing has been armed for a while: then the thread goes."""
        with self._changed:
            if self._heap:
                return False
            self._thread = None
            return True

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            now = monotonic()
            while self._heap and (self._heap[0][2].action is None or self._heap[0][0] <= now):
                action = heapq.heappop(self._heap)[2].action
                if action is not None:
                    return action
            self._sleeps_until = self._heap[0][0] if self._heap else now + _IDLE_SECONDS
            self._changed.wait(self._sleeps_until - now)
            return None


_clock = _Clock()
_pid = os.getpid()


def after(seconds: float, action: Callable[[], None]) -> Alarm:
    """Call `action` in the helper thread in so many seconds; it must not raise or block."""
    global _clock, _pid
    if _pid != os.getpid():
        _clock, _pid = _Clock(), os.getpid()
    alarm = Alarm(monotonic() + seconds, action)
    _clock.add(alarm)
    return alarm


def stop() -> None:
    """End the helper thread; the next alarm starts it again."""
    if _pid == os.getpid():
        _clock.stop()
