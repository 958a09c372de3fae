"""What the reactor waits by: many descriptors at once, each armed for one event at a time.

Also the deputy, which looks whether the reactor's thread is late.
"""

from __future__ import annotations

from procession.hints import Any, Protocol
from procession.system import after_fork, owned_descriptors
from procession.system.posix import OWN_WORKERS, WATCHES_ALL, os, refuse
from procession.system.pristine import select, start_new_thread, threading
from procession.system.wakeup import Wakeup

READ, WRITE = 1, 2


class _Epoll:
    """Descriptors are known to it once added, and reported once each time they are armed."""

    def __init__(self) -> None:
        with owned_descriptors.forking:
            self._epoll = select.epoll()
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            owned_descriptors.own(self._wake)  # the epoll object closes its descriptor itself
        self._epoll.register(self._wake, select.EPOLLIN)
        self._masks = (
            0,
            select.EPOLLIN | select.EPOLLONESHOT,
            select.EPOLLOUT | select.EPOLLONESHOT,
            select.EPOLLIN | select.EPOLLOUT | select.EPOLLONESHOT,
        )

    def add(self, descriptor: int) -> None:
        """Know a descriptor, unarmed."""
        # With an event mask of 0 a hang-up would be reported all the same, but for EPOLLET.
        self._epoll.register(descriptor, select.EPOLLONESHOT | select.EPOLLET)

    def arm(self, descriptor: int, events: int) -> None:
        self._epoll.modify(descriptor, self._masks[events] or select.EPOLLONESHOT | select.EPOLLET)

    def remove(self, descriptor: int) -> None:
        try:
            self._epoll.unregister(descriptor)
        except OSError:
            pass

    def poll(self, timeout: float | None) -> list[int]:
        ready = [descriptor for descriptor, _ in self._epoll.poll(timeout)]
        if self._wake in ready:
            ready.remove(self._wake)
            try:
                os.eventfd_read(self._wake)
            except BlockingIOError:
                pass
        return ready

    def wake(self) -> None:
        if owned_descriptors.owns(self._wake):  # the program may have closed it, and use its number
            os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        self._epoll.close()
        owned_descriptors.close(self._wake)


class _Portable:
    """The same without epoll. Each change wakes the waiting thread, which looks anew."""

    def __init__(self) -> None:
        with owned_descriptors.forking:
            self._reader, self._writer = os.pipe()
            owned_descriptors.own(self._reader, self._writer)
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._lock = after_fork.lock()
        self._armed: dict[int, int] = {}

    def add(self, descriptor: int) -> None:
        pass

    def arm(self, descriptor: int, events: int) -> None:
        with self._lock:
            if events:
                self._armed[descriptor] = events
            else:
                self._armed.pop(descriptor, None)
        self.wake()

    def remove(self, descriptor: int) -> None:
        with self._lock:
            self._armed.pop(descriptor, None)

    def poll(self, timeout: float | None) -> list[int]:
        poll: Any = select.poll()
        poll.register(self._reader, select.POLLIN)
        with self._lock:
            for descriptor, events in self._armed.items():
                mask = (select.POLLIN if events & READ else 0) | (
                    select.POLLOUT if events & WRITE else 0
                )
                poll.register(descriptor, mask)
        events = poll.poll(None if timeout is None else max(0.0, timeout) * 1000)
        ready: list[int] = []
        for descriptor, _ in events:
            if descriptor == self._reader:
                try:
                    os.read(self._reader, 4096)
                except BlockingIOError:
                    pass
                continue
            with self._lock:
                if self._armed.pop(descriptor, None) is not None:
                    ready.append(descriptor)
        return ready

    def wake(self) -> None:
        if not owned_descriptors.owns(self._writer):
            return
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            pass  # it is awake already

    def close(self) -> None:
        owned_descriptors.close(self._reader, self._writer)


class _Alarm:
    """Where no worker has a descriptor to wait for (Windows): it is only woken, and on time."""

    def __init__(self) -> None:
        self._woken = Wakeup()

    def add(self, descriptor: int) -> None:
        raise refuse("to wait for a worker's channel")

    def arm(self, descriptor: int, events: int) -> None:
        pass

    def remove(self, descriptor: int) -> None:
        pass

    def poll(self, timeout: float | None) -> list[int]:
        self._woken.wait(None if timeout is None else max(0.0, timeout))
        return []

    def wake(self) -> None:
        self._woken.wake()

    def close(self) -> None:
        pass


Poller = _Epoll | _Portable | _Alarm


def make_poller() -> Poller:
    """The best one this system has."""
    if not OWN_WORKERS:
        return _Alarm()
    return _Epoll() if WATCHES_ALL else _Portable()


# -- the deputy ----------------------------------------------------------------------------------

_LONG = 60.0
"""Seconds that the deputy sleeps at most."""

_LOOK = 0.05
"""Seconds between two looks of the deputy, while there is work."""


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
