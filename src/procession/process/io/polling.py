"""Waiting for descriptors: for many at once, or for one message that is about to come.

A poller waits for many, each armed for one event at a time, from any thread.

`SpinWait` asks for a message, for an instant, before it sleeps. Between two processes on two
processors, going to sleep and being woken takes longer than all the Python of a call. So a thread
that waits for a message asks for it a few times first. It does so only where calls follow each
other in a loop and messages come that fast, and sleeps at once everywhere else. After a pause
asking does harm: it moves the two processes to different processors, so that each waking is a far
one. Calls 0.5 ms apart took 320 µs in place of 125 with a worker that always asked first. Where
tasks take their time, it only takes a processor from others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from procession.hints import Any
from procession.system import after_fork, owned_descriptors
from procession.system.posix import OWN_WORKERS, WATCHES_ALL, os, refuse
from procession.system.pristine import perf_counter, select
from procession.system.resources import usable_cpus
from procession.system.wakeup import Wakeup

__all__ = ["READ", "WRITE", "Poller", "SpinWait", "make_poller"]

READ, WRITE = 1, 2

_SPIN = 0.0001
"""Seconds to ask for at most. Measured with two processes and 30 µs of Python on each side: a
round trip took 89 µs asleep and 35 µs asking; what takes longer is not worth a processor. To yield
the processor while asking (``sched_yield``) gains nothing and costs milliseconds where others
compute."""

_SHORT = 0.00015
"""Seconds that a short wait takes at most when asleep: `_SPIN`, and to be woken."""

_LOOP = 0.0003
"""Seconds from the end of one wait to the end of the next, at most, where calls are in a loop:
the two waits of a round trip."""

_ENOUGH = 4
"""Short waits in a row before it asks. A guess: enough to tell a loop from a chance."""

_MOST = 64
"""Short waits in a row before it asks again, at most. Asking in vain doubles them, as the end of a
loop does, and each time that it does not makes them one less. A guess: asking in vain then costs
2 % at most."""

_NEVER = -(1 << 62)  # with one processor, only who sleeps lets the other side run


class SpinWait:
    """How one side of a channel waits for the other.

    Args:
        descriptor: What is read from.

    Attributes:
        ask: Waits so many milliseconds (`None`: for ever) until something can be read; `poll`'s.
    """

    __slots__ = ("_credit", "_ended", "_price", "ask")

    def __init__(self, descriptor: int) -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        self.ask: Callable[[float | None], Sequence[object]] = poll.poll
        self._credit = -_ENOUGH
        self._price = _ENOUGH
        self._ended = 0.0

    def wait(self, receive: Callable[[], object]) -> None:
        """Call `receive`, which sleeps until there is something, when that is the best to do.

        Nothing is lost, however it is interrupted: only `receive` takes anything.
        """
        began = perf_counter()
        asks = self._credit >= 0 and began - self._ended <= _LOOP
        if asks:
            ask, until = self.ask, began + _SPIN
            while not ask(0) and perf_counter() < until:
                pass
        receive()
        ended = perf_counter()
        if ended - began <= _SHORT and ended - self._ended <= _LOOP:
            if not asks:
                self._credit += 1
                if not self._credit and usable_cpus() == 1:
                    self._credit = _NEVER
            elif self._price > _ENOUGH:
                self._price -= 1
        elif asks:
            self._credit = -self._price
            self._price = min(2 * self._price, _MOST)
        elif self._credit > -_ENOUGH:
            self._credit = -_ENOUGH
        self._ended = ended


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
