"""One thread for all workers of this process: it reads what no one else reads, sees deaths, and
keeps the time. It starts with the first worker and ends with the last one.

It runs no code of the user's, but the collector may run a finalizer in it, as in any thread. So
what it has to do is in a queue, from which another thread goes on if this one is kept: at once if
it is about to wait for others, and else when the deputy, a second thread that does nothing but look
at the first one while that works, finds that it takes too long.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol
from weakref import WeakSet

from procession.process.io.poller import READ, WRITE, Poller, make_poller
from procession.system import after_fork
from procession.system.pristine import start_new_thread, threading, time
from procession.system.wakeup import giving_way
from procession.user_threads import report, teller

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

    def fire(self) -> None:
        """Its time has come."""
        call, self.call = self.call, None
        if call is not None:
            call()


LATE = 0.1
"""Seconds after which a thread that is at one thing is taken to be kept by a finalizer. A guess:
what it does itself takes a millisecond."""

_LONG = 60.0
"""Seconds that the deputy sleeps at most."""

_LOOK = 0.05
"""Seconds between two looks of the deputy, while there is work."""

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
        self._lock = after_fork.lock()
        self._poller: Poller | None = None
        self._thread: threading.Thread | None = None
        self._ident: int | None = None
        self._calls: dict[int, Callable[[], Any]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._serial = itertools.count()
        self._sleeps_until: float | None = None
        self._held = 0
        self._deferred: deque[Callable[[], Any]] = deque()
        self._to_do: deque[Callable[[], Any]] = deque()
        self._turns = 0
        self._since: float | None = None  # when it began what it is at; None while it waits
        self._deputy = _Deputy(self)
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
        me = self._ident = threading.get_ident()
        self._deputy.ensure()
        try:
            self._work(me)
            self._hand_over(me)
        except BaseException as error:
            if self._ident == me:
                self._died(error)

    def _hand_over(self, me: int) -> None:
        """If another thread goes on, have it look: what woke this one at the last is its, too."""
        with self._lock:
            if self._ident != me and self._poller is not None:
                self._poller.wake()

    def give_way(self) -> None:
        """In any thread that waits for others: if it is the reactor's, have another go on."""
        if self.here:
            self._replace()

    @property
    def turns(self) -> int:
        """How often it has begun to work."""
        return self._turns

    def left(self) -> float:
        """Seconds until its thread is late with what it is at, or with what it waits for."""
        since, when = self._since, math.inf
        if since is not None:
            when = since
        try:
            when = min(when, self._timers[0][0])
        except IndexError:
            pass
        return when + LATE - time.monotonic()

    def relieve(self) -> None:
        """If its thread is late, have another one go on."""
        if self._lock.acquire(timeout=LATE):  # else it is kept while it holds that: wait for it
            try:
                if self.left() <= 0:
                    self._replace()
            finally:
                self._lock.release()

    @property
    def runs(self) -> bool:
        """Whether there is anything to watch."""
        return self._thread is not None

    def _replace(self) -> None:
        with self._lock:
            if self._thread is None or self._poller is None:
                return
            thread, ident = self._thread, self._ident
            self._thread = self._ident = self._since = None
            try:
                self._ensure_thread()
            except RuntimeError:  # none can be started: it has to go on itself
                self._thread, self._ident = thread, ident

    def _died(self, error: BaseException) -> None:
        """The thread ends by a fault: whoever was served is told by the next one."""
        with self._lock:
            poller, self._poller, self._thread = self._poller, None, None
            self._sleeps_until = self._since = None
            self._to_do.clear()
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
            self._sleeps_until = self._since = None
            self._to_do.clear()
            self._calls.clear()
            self._held = 0
        for who in list(self._served):
            guarded(partial(who.fail, error))

    def _work(self, me: int) -> None:
        while self._ident == me:
            self._begin_turn()
            if self._garbage:
                garbage, self._garbage = self._garbage, []
                teller.tell(garbage.clear)
                del garbage
            self._act(me, self._deferred)
            self._act(me, self._to_do)
            with self._lock:
                if self._ident != me:
                    return  # another thread has taken over
                poller = self._poller
                if poller is None or not (self._held or self._calls or self._live_timers()):
                    # The last worker is gone: the next one starts another thread.
                    self._poller = self._thread = self._ident = self._since = None
                    if poller is not None:
                        poller.close()
                    self._deputy.look()
                    return
                if self._take_due():
                    continue
                timeout = None
                if self._timers:
                    timeout = max(0.0, self._timers[0][0] - time.monotonic())
                self._sleeps_until = self._timers[0][0] if self._timers else None
                if self._deferred:
                    timeout = 0.0
                self._since = None
            ready = poller.poll(timeout)
            self._begin_turn()
            for descriptor in ready:
                handler = self._calls.get(descriptor)
                if handler is not None:
                    self._to_do.append(handler)

    def _begin_turn(self) -> None:
        self._turns += 1
        self._since = time.monotonic()
        self._deputy.look()

    def _act(self, me: int, calls: deque[Callable[[], Any]]) -> None:
        while calls and self._ident == me:
            try:
                call = calls.popleft()
            except IndexError:
                return
            self._since = time.monotonic()
            guarded(call)

    def _live_timers(self) -> bool:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return bool(self._timers)

    def _take_due(self) -> bool:
        """Under the lock: have the calls made whose time has come. Whether there are any."""
        now = time.monotonic()
        any_due = False
        while self._timers and self._timers[0][0] <= now:
            self._to_do.append(heapq.heappop(self._timers)[2].fire)
            any_due = True
        return any_due


class _Deputy:
    """A thread that has another one go on for the reactor's when a finalizer keeps that."""

    def __init__(self, reactor: Reactor) -> None:
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


def guarded(call: Callable[[], Any]) -> None:
    """Call; a fault of one pool must not end the thread that serves all of them."""
    try:
        call()
    except BaseException as error:
        teller.tell(partial(report, error))  # by hooks of the user's


reactor = Reactor()
giving_way.append(lambda: reactor.give_way())


def _renew() -> None:
    reactor.__init__()  # type: ignore[misc]


after_fork.renew_in_child(_renew)
