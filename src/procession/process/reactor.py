"""One thread for all workers of this process: it reads what no one else reads, sees deaths, and
keeps the time. It starts with the first worker and ends with the last one.
"""

from __future__ import annotations

import errno
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol
from weakref import WeakSet

from procession import forked
from procession.process.poller import READ, WRITE, Poller, make_poller
from procession.system.pristine import threading, time
from procession.telling import report, teller

__all__ = ["READ", "WRITE", "Reactor", "Timer", "guarded", "reactor"]


class Timer:
    """A call at a later time; `cancel` takes it back."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], Any]) -> None:
        self.when = when
        self.call: Callable[[], Any] | None = call

    def cancel(self) -> None:
        """Do not call."""
        self.call = None


_abandoned: list[Any] = []
"""What threads that died have waited by, never to be closed."""


class Served(Protocol):
    """What depends on the reactor's thread."""

    def fail(self, error: BaseException) -> None:
        """The thread has died of this, and with it all that was watched; another one calls."""
        ...


class Reactor:
    """Watches descriptors and times; calls back in its own thread, holding no lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poller: Poller | None = None
        self._thread: threading.Thread | None = None
        self._ident: int | None = None
        self._calls: dict[int, Callable[[], Any]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._serial = itertools.count()
        self._sleeps_until: float | None = None
        self._held = 0
        self._deferred: deque[Callable[[], Any]] = deque()
        self._served: WeakSet[Any] = WeakSet()
        self._garbage: list[Any] = []

    def serve(self, who: Served) -> None:
        """Tell it if the thread should die, as long as somebody holds it."""
        self._served.add(who)

    def let_go(self, what: Any) -> None:
        """Drop something with what it holds; not in this thread: objects of the user's may have
        finalizers, and the last reference to them may be ours."""
        if self.here:
            self._garbage.append(what)

    @property
    def here(self) -> bool:
        """Whether the calling thread is the reactor's."""
        return threading.get_ident() == self._ident

    def hold(self) -> None:
        """Be there, and stay, until `release`: a worker is about to come.

        No thread can be started once the interpreter is ending, but work that was begun before is
        to be finished then.

        Raises:
            RuntimeError: There is no thread, and none can be started any more.
        """
        with self._lock:
            if self._poller is None:
                self._poller = make_poller()
            self._ensure_thread()
            self._held += 1

    def release(self) -> None:
        """What `hold` was for has happened."""
        with self._lock:
            self._held = max(0, self._held - 1)
            if self._poller is not None:
                self._poller.wake()

    def watch(self, descriptor: int, call: Callable[[], Any]) -> None:
        """Call `call` whenever the descriptor, once `arm`-ed, is ready."""
        with self._lock:
            if self._poller is None:
                self._poller = make_poller()
            self._calls[descriptor] = call
            self._poller.add(descriptor)
            self._ensure_thread()

    def arm(self, descriptor: int, events: int) -> None:
        """Wait for one event of the descriptor; `events` 0 waits for none any more."""
        poller = self._poller
        if poller is not None:
            try:
                poller.arm(descriptor, events)
            except (OSError, ValueError):
                pass  # it was just forgotten: its worker is gone

    def forget(self, descriptor: int) -> None:
        """Watch it no more; to be called before it is closed."""
        with self._lock:
            if self._calls.pop(descriptor, None) is not None and self._poller is not None:
                self._poller.remove(descriptor)
                if not self._calls:
                    self._poller.wake()

    def call_later(self, seconds: float, call: Callable[[], Any]) -> Timer:
        """Call `call` in the reactor's thread after so many seconds."""
        timer = Timer(time.monotonic() + seconds, call)
        with self._lock:
            heapq.heappush(self._timers, (timer.when, next(self._serial), timer))
            if self._poller is None:
                self._poller = make_poller()
            self._ensure_thread()
            sleeps_until = self._sleeps_until
            if sleeps_until is None or timer.when < sleeps_until:
                self._poller.wake()
        return timer

    def call_soon(self, call: Callable[[], Any]) -> None:
        """Call `call` in the reactor's thread."""
        self.call_later(0.0, call)

    def defer(self, call: Callable[[], Any]) -> None:
        """Like `call_soon`, but takes no lock: for finalizers, which may run amid anything.

        Does nothing if no worker lives.
        """
        self._deferred.append(call)
        poller = self._poller
        if poller is not None:
            try:
                poller.wake()
            except OSError:
                pass  # it has just ended with the last worker

    def _ensure_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="procession-reactor", daemon=True)
            thread.start()  # may be refused: then there is none
            self._thread = thread

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            self._work()
        except BaseException as error:
            self._died(error)

    def _died(self, error: BaseException) -> None:
        """The thread ends by a fault: whoever was served is told by the next one."""
        with self._lock:
            poller, self._poller, self._thread = self._poller, None, None
            self._sleeps_until = None
            self._calls.clear()
            self._held = 0
        if isinstance(error, OSError):
            # Somebody has closed it; the numbers of its descriptors may be theirs by now.
            _abandoned.append(poller)
        elif poller is not None:
            guarded(poller.close)
        if not isinstance(error, OSError):
            teller.tell(partial(report, error))
        for who in list(self._served):
            self.call_soon(partial(who.fail, error))

    def lose(self) -> None:
        """The program has closed our descriptors: all that was watched is lost, and ended.

        The thread that waits by them ends when it next looks.
        """
        error = OSError(errno.EBADF, "the program has closed descriptors that are not its own")
        with self._lock:
            _abandoned.append(self._poller)
            self._poller, self._thread, self._ident = None, None, None
            self._sleeps_until = None
            self._calls.clear()
            self._held = 0
        for who in list(self._served):
            guarded(partial(who.fail, error))

    def _work(self) -> None:
        while True:
            if self._garbage:
                garbage, self._garbage = self._garbage, []
                teller.tell(garbage.clear)
                del garbage
            with self._lock:
                if self._ident != threading.get_ident():
                    return  # what it waited by is lost, and another thread waits by its own
                poller = self._poller
                if poller is None or not (self._held or self._calls or self._live_timers()):
                    # The last worker is gone: the next one starts another thread.
                    self._poller = self._thread = self._ident = None
                    if poller is not None:
                        poller.close()
                    return
                due = self._due()
                timeout = None
                if self._timers:
                    timeout = max(0.0, self._timers[0][0] - time.monotonic())
                self._sleeps_until = self._timers[0][0] if self._timers else None
            while self._deferred:
                guarded(self._deferred.popleft())
            for timer in due:
                call, timer.call = timer.call, None
                if call is not None:
                    guarded(call)
            if due:
                continue
            for descriptor in poller.poll(timeout):
                handler = self._calls.get(descriptor)
                if handler is not None:
                    guarded(handler)

    def _live_timers(self) -> bool:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return bool(self._timers)

    def _due(self) -> list[Timer]:
        now = time.monotonic()
        due: list[Timer] = []
        while self._timers and self._timers[0][0] <= now:
            due.append(heapq.heappop(self._timers)[2])
        return due


def guarded(call: Callable[[], Any]) -> None:
    """Call; a fault of one pool must not end the thread that serves all of them."""
    try:
        call()
    except BaseException as error:
        teller.tell(partial(report, error))  # by hooks of the user's


reactor = Reactor()


def _renew() -> None:
    reactor.__init__()  # type: ignore[misc]


forked.renew_in_child(_renew)
