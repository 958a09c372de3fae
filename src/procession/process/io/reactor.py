"""One thread for all workers of this process: it reads what no one else reads, sees deaths, and
keeps the time. It starts with the first worker and ends with the last one.

It runs no code of the user's, but the collector may run a finalizer in it, as in any thread. So
what it has to do is in a queue, from which another thread goes on if this one is kept. That is at
once if it is about to wait for others. Else the deputy, a second thread that only looks at the
first one while that works, finds that it takes too long.
"""

from __future__ import annotations

import errno
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from weakref import WeakSet

from procession.hints import Any, Protocol
from procession.process.io.polling import READ, WRITE, Deputy, Poller, make_poller
from procession.system import after_fork
from procession.system.alarm import Timer, Timers
from procession.system.pristine import threading, time
from procession.system.wakeup import giving_way
from procession.user_threads import report, user_threads

__all__ = ["READ", "WRITE", "Reactor", "Timer", "guarded", "reactor"]


LATE = 0.1
"""Seconds after which a thread that is at one thing is taken to be kept by a finalizer. A guess:
what it does itself takes a millisecond."""

_ENDS_WITHIN = 0.05
"""Seconds between two looks whether any timer is left, once nothing is watched. A guess.

The thread is not woken when the last timer is cancelled."""

_abandoned: list[Any] = []
"""What threads that died have waited by, never to be closed."""


class Served(Protocol):
    """What depends on the reactor's thread.

    Attributes:
        is_pool: Whether calls go to it.
    """

    is_pool: bool

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
        self._timers = Timers()
        self._sleeps_until: float | None = None
        self._held = 0
        self._deferred: deque[Callable[[], Any]] = deque()
        self._to_do: deque[Callable[[], Any]] = deque()
        self._turns = 0
        self._losing = after_fork.rlock()
        self._losses = 0
        self._since: float | None = None  # when it began what it is at; None while it waits
        self._deputy = Deputy(self)
        self._served: WeakSet[Any] = WeakSet()
        self._garbage: list[Any] = []

    def serve(self, who: Served) -> None:
        """Tell it if the thread should die, as long as it lives."""
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
            self._ensure_poller()
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
            poller = self._ensure_poller()
            self._calls[descriptor] = call
            poller.add(descriptor)

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
            self._timers.add(timer)
            poller = self._ensure_poller()
            sleeps_until = self._sleeps_until
            if sleeps_until is None or timer.when < sleeps_until:
                poller.wake()
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

    def _ensure_poller(self) -> Poller:
        if self._poller is None:
            self._poller = make_poller()
        self._ensure_thread()
        return self._poller

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
            self._died(me, error)

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
        begun = (self._since, self._timers.next())
        first = min((when for when in begun if when is not None), default=math.inf)
        return first + LATE - time.monotonic()

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

    def _died(self, me: int, error: BaseException) -> None:
        """The thread ends by a fault: those it served are told."""
        if isinstance(error, OSError):
            self.lose(me)
            return
        with self._lock:
            if self._ident != me:
                return  # another one goes on
            poller = self._forget_all()
        if poller is not None:
            guarded(poller.close)
        user_threads.run_soon(partial(report, error))
        for who in list(self._served):
            self.call_soon(partial(who.fail, error))

    def lose(self, ident: int | None = None) -> None:
        """The program has closed our descriptors: all that was watched is lost, and ended.

        The thread that waits by them ends when it next looks. Nothing begins anew meanwhile.

        Args:
            ident: Of the thread that has noticed: only if it still is the one that waits.
        """
        error = OSError(errno.EBADF, "the program has closed descriptors that are not its own")
        losses = self._losses
        with self._losing:
            with self._lock:
                if losses != self._losses or ident not in (None, self._ident):
                    return  # all were told since
                # The numbers of its descriptors may be others' by now.
                _abandoned.append(self._forget_all())
            # Pools first: what is to be found broken by those who call them is mended last.
            for who in sorted(self._served, key=lambda who: who.is_pool, reverse=True):
                guarded(partial(who.fail, error))
            self._losses += 1

    def _forget_all(self) -> Poller | None:
        """Watch nothing any more; gives what was waited by. Under the lock."""
        poller, self._poller, self._thread, self._ident = self._poller, None, None, None
        self._sleeps_until = self._since = None
        self._to_do.clear()
        self._calls.clear()
        self._held = 0
        return poller

    def _work(self, me: int) -> None:
        while self._ident == me:
            self._begin_turn()
            self._act(me, self._deferred)
            self._act(me, self._to_do)
            if self._garbage:
                garbage, self._garbage = self._garbage, []
                user_threads.run_soon(garbage.clear)
                del garbage
            with self._lock:
                if self._ident != me:
                    return  # another thread has taken over
                poller = self._poller
                if poller is None or not (self._held or self._calls or self._timers):
                    # The last worker is gone: the next one starts another thread.
                    self._poller = self._thread = self._ident = self._since = None
                    if poller is not None:
                        poller.close()
                    self._deputy.look()
                    return
                due = self._timers.take_due()
                if due:
                    self._to_do += due
                    continue
                when = self._sleeps_until = self._timers.next()
                timeout = None if when is None else max(0.0, when - time.monotonic())
                if timeout is not None and not (self._held or self._calls):
                    timeout = min(timeout, _ENDS_WITHIN)
                if self._deferred:
                    timeout = 0.0
                self._since = None
            self._await(poller, timeout)

    def _await(self, poller: Poller, timeout: float | None) -> None:
        """Sleep until there is something to do. No local of `_work` keeps what was done before."""
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


def guarded(call: Callable[[], Any]) -> None:
    """Call; a fault of one pool must not end the thread that serves all of them."""
    try:
        call()
    except BaseException as error:
        user_threads.run_soon(partial(report, error))  # by hooks of the user's


reactor = Reactor()
giving_way.append(lambda: reactor.give_way())


def _renew() -> None:
    reactor.__init__()  # type: ignore[misc]


after_fork.renew_in_child(_renew)
