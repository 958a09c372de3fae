"""Threads for the user's own code: callbacks, log handlers, ``__reduce__``, ``__setstate__``.

Such code may sleep, raise, exit, or make calls of Procession and wait for them. So no thread that
others wait for may run it. Those hand it over here. Calls run one after the other, in the order in
which they came; but if one keeps the others waiting for longer than `STUCK`, another
thread takes over the rest, and so on: a callback that sleeps for ever delays the others by little.

`UserThreads.run_soon` takes no lock, so that finalizers may call it, which run amid anything.
Instead, what may be done by one thread only is a token in a list: the thread that pops it does it.
"""

from __future__ import annotations

import atexit
import threading as _shared
from collections import deque
from collections.abc import Callable

from procession.hints import Any
from procession.system import after_fork
from procession.system.after_fork import outstanding
from procession.system.pristine import monotonic, start_new_thread, threading, time
from procession.system.wakeup import Wakeup

STUCK = 0.02
"""Seconds that a call may keep the next ones waiting. A guess: callbacks that do a bit of work stay
one after the other, and the delay is not noticed."""

_IDLE = 1.0
"""Seconds without a call after which a thread ends, unless calls are outstanding."""

GRACE = 2.0
"""Seconds that what was told may run on when the program ends and everything else is over."""

_LOOK = 0.002
"""Seconds between two looks whether all is told."""


class _Thread:
    """One of these threads.

    Attributes:
        since: When the call that it runs began; `None` while it runs none.
        watching: Whether it looks after the first thread already.
        left: Whether that call is not waited for any more.
        over: Whether it is to end as soon as there is nothing to do.
    """

    __slots__ = ("ident", "left", "over", "since", "thread", "wakeup", "watching")

    def __init__(self) -> None:
        self.wakeup = Wakeup()
        self.ident = 0
        self.since: float | None = None
        self.watching = False
        self.left = False
        self.over = False
        self.thread: Any = None


class UserThreads:
    """Runs calls in threads of its own; see above."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], object]] = deque()
        self._first: _Thread | None = None  # runs the calls
        self._second: _Thread | None = None  # takes over if the first one is stuck
        self._may_start = [True]
        self._may_watch = [True]
        self._threads: set[_Thread] = set()

    def run_soon(self, call: Callable[[], object]) -> None:
        """Run a call soon, in another thread. What it raises is reported as a thread's error."""
        self._calls.append(call)
        self.look()

    def look(self) -> None:
        """See to it that a thread runs what was told."""
        if not self._wake():
            self._run_here()

    def defer(self, call: Callable[[], object]) -> None:
        """As `run_soon`, for finalizers: if no thread can be started any more, nothing happens."""
        self._calls.append(call)
        self._wake()

    def _wake(self) -> bool:
        """Have a thread look; takes no lock. Whether there is one."""
        first = self._first
        if first is None:
            return self.ready()
        first.wakeup.wake()
        if first.since is not None:
            self._watch()
        return True

    def ready(self) -> bool:
        """Have a thread: none can be started once the interpreter is ending. Whether there is."""
        if self._first is not None:
            return True
        try:
            self._may_start.pop()
        except IndexError:
            return True  # another thread starts it just now
        me = self._first = _Thread()
        if self._begin(me):
            return True
        self._first = None
        self._may_start.append(True)
        return False

    def _watch(self) -> None:
        """See to it that the first thread, which is busy, does not keep the others waiting."""
        second = self._second
        if second is not None:
            if not second.watching:
                second.wakeup.wake()
            return
        try:
            self._may_watch.pop()
        except IndexError:
            return
        me = self._second = _Thread()
        me.wakeup.wake()
        if not self._begin(me):
            self._second = None
            self._may_watch.append(True)

    def _run_here(self) -> None:
        """There is no thread to be had: in this one, then."""
        while self._calls:
            try:
                call = self._calls.popleft()
            except IndexError:
                return
            _run(call)

    # -- threads -------------------------------------------------------------------------------

    def _begin(self, me: _Thread) -> bool:
        self._threads.add(me)
        try:
            # No `threading.Thread`, which takes locks to start: we may be in a finalizer.
            start_new_thread(self._enter, (me,))
        except RuntimeError:  # the interpreter is ending, or the system has no thread left
            self._threads.discard(me)
            return False
        return True

    def _enter(self, me: _Thread) -> None:
        """In a bare thread: go on in one that `threading` knows, as user code may ask for it."""
        me.thread = threading.Thread(
            target=self._main, args=(me,), name="procession-user-code", daemon=True
        )
        try:
            me.thread.start()
        except RuntimeError:
            self._main(me)

    def _main(self, me: _Thread) -> None:
        me.ident = threading.get_ident()
        try:
            if self._second is not me or self._follow(me):
                self._lead(me)
        finally:
            self._leave(me)

    def _leave(self, me: _Thread) -> None:
        """The thread ends, for any reason; another one does what it was for."""
        self._threads.discard(me)
        if self._second is me:
            self._second = None
            self._may_watch.append(True)
        if self._first is me:
            self._first = None
            self._may_start.append(True)
        if self._calls:
            self.look()

    def _lead(self, me: _Thread) -> None:
        """Be the first thread: run what is told, until there is nothing, or another took over."""
        while self._first is me:
            me.since, me.left = monotonic(), False
            try:
                call = self._calls.popleft()
            except IndexError:
                me.since = None
                if not me.wakeup.wait(_IDLE) and not outstanding:
                    return
                if me.over and not self._calls:
                    return
                continue
            if self._calls:
                self._watch()
            _run(call)
            del call  # or what it holds would live until the next one
        me.since = None

    def _follow(self, me: _Thread) -> bool:
        """Be the second thread: wait. Whether to lead now, since the first thread is stuck."""
        while me.wakeup.wait(_IDLE) or outstanding:
            me.watching = True
            while self._calls:
                first = self._first
                since = None if first is None else first.since
                late = 0.0 if since is None else monotonic() - since
                if late >= STUCK:
                    self._first, self._second = me, None
                    self._may_watch.append(True)
                    me.watching = False
                    return True
                me.wakeup.wait(STUCK - late)
            me.watching = False
            if me.over:
                return False
        return False

    # -- ends ----------------------------------------------------------------------------------

    @property
    def here(self) -> bool:
        """Whether the calling thread is one of these."""
        ident = threading.get_ident()
        return any(each.ident == ident for each in tuple(self._threads))

    @property
    def at_work(self) -> bool:
        """Whether something is told, or about to be, and is waited for."""
        busy = (each for each in tuple(self._threads) if each.since is not None)
        return bool(self._calls) or any(not each.left for each in busy)

    def finish(self, seconds: float = GRACE) -> bool:
        """Let what was told be done, within so many seconds. Whether all is.

        What is not done by then is left alone: it is not waited for a second time.
        """
        end = monotonic() + seconds
        while self.at_work and not self.here:
            if monotonic() > end:
                for each in tuple(self._threads):
                    each.left = True
                return False
            self.look()
            time.sleep(_LOOK)
        return True

    def stop(self) -> None:
        """End the threads that have nothing to do; the next call starts others."""
        idle = [each for each in tuple(self._threads) if each.since is None]
        for each in idle:
            each.over = True
            each.wakeup.wake()
        for each in idle:
            thread = each.thread
            if thread is not None and thread.is_alive() and each.ident != threading.get_ident():
                thread.join(1.0)


def _run(call: Callable[[], object]) -> None:
    try:
        call()
    except BaseException as error:
        report(error)


def report(error: BaseException) -> None:
    """Say what went wrong in a thread of ours, as Python says it of any thread."""
    try:
        args = (type(error), error, error.__traceback__, _shared.current_thread())
        _shared.excepthook(_shared.ExceptHookArgs(args))
    except BaseException:
        pass  # the hook is user code, too, and there is nothing left to tell


def in_main() -> bool:
    """Whether this is the main thread, in which signal handlers run, and may raise anywhere."""
    return _shared.get_ident() == _shared.main_thread().ident


user_threads: Any = UserThreads()
"""This process's."""


def _renew() -> None:
    user_threads.__init__()


after_fork.renew_in_child(_renew)
# Before any pool registers its own end, so that it comes after that.
atexit.register(lambda: user_threads.finish())
