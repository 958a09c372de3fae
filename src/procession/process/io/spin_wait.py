"""Waiting for a message that is about to come: asking for it, for an instant, before sleeping.

Between two processes on two processors, going to sleep and being woken takes longer than all the
Python of a call. So whoever waits for a message asks for it a few times before it sleeps, but only
where calls follow each other in a loop and messages come that fast. Everywhere else it sleeps at
once: after a pause asking does harm (it moves the two processes to different processors, so that
each waking is a far one: calls 0.5 ms apart took 320 µs in place of 125 with a worker that always
asked first), and where tasks take their time, it only takes a processor from others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from procession.system.pristine import perf_counter, select
from procession.system.resources import usable_cpus

__all__ = ["Haste"]

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

_NEVER = -(1 << 62)  # with one processor, only whoever sleeps lets the other side run


class Haste:
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

        Nothing is lost, whatever interrupts it: only `receive` takes anything.
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
