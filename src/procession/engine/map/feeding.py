"""Taking a map's input for the pool: in the consumer's thread, or in one of its own.

Input that runs code of the user's is taken as it is wanted, and each item is pickled at once.
"""

from __future__ import annotations

from contextvars import copy_context

from procession.contract import Backend
from procession.engine.map.delivery import Delivery
from procession.engine.map.replies import Replies
from procession.hints import Any, Protocol
from procession.items import Item, Settled
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter, threading
from procession.system.wakeup import Wakeup

BYTES_AHEAD = 64 * 1024 * 1024
"""Pickled input and results held at once before no more is sent ahead. A guess: large enough to
keep every worker busy with ordinary items, small against the memory of any machine."""

SLOW_SECONDS = 1e-3
"""An item of the input that took longer to come makes us wait. A guess: ten times a message."""

PATIENCE_SECONDS = 5e-3
"""How much longer than its items usually take a result is waited for, before slow input is."""


class _Sends(Protocol):
    """What sends the items on.

    Attributes:
        backend: The pool, once there is one.
        here_only: Whether the pool is to be given nothing more.
        probing: Whether the pool was given one item to try.
        chunk_items: How many items the last chunk had.
        behind: Whether the consumer's thread is to send something on before it waits.
    """

    @property
    def backend(self) -> Backend | None: ...
    @property
    def here_only(self) -> bool: ...
    @property
    def probing(self) -> bool: ...
    @property
    def chunk_items(self) -> int: ...
    @property
    def behind(self) -> bool: ...
    def pump(self) -> None:
        """Send what can be sent."""
        ...


class Feeding:
    """Takes input for the pool. It keeps no sender: that one keeps it.

    Args:
        replies: The chunks' listener.
    """

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._in_flight = replies.in_flight
        self._plan = replies.plan
        self._observer = replies.observer
        self._delivery = delivery = replies.delivery
        self._intake = delivery.intake
        self._lock = delivery.lock
        self._reading = 0.0

    def feed(self, sender: _Sends, *, lazily: bool) -> None:
        """Take input for the pool in the consumer's thread, as much as is wanted now.

        Args:
            sender: _Sends it on.
            lazily: The consumer takes results one by one. What is ready comes before input that
                makes us wait, and so does what is soon to be ready.
        """
        while self.wants(sender):
            if lazily and self._reading > SLOW_SECONDS and self._is_soon_ready(sender):
                return
            if not self.take_some(sender):
                return

    def wants(self, sender: _Sends) -> bool:
        """Whether the consumer's thread is to take more input for the pool."""
        backend, intake = sender.backend, self._intake
        if backend is None or intake.closed or sender.here_only or not intake.open:
            return False
        chunks = len(self._in_flight)
        if sender.probing and not self._replies.count:
            return not chunks and not intake.pending
        if chunks >= backend.workers:
            if intake.pending >= sender.chunk_items * max(1, 3 * backend.workers - chunks):
                return False
            if self._delivery.bytes + self._in_flight.bytes + intake.held > BYTES_AHEAD:
                return False
        elif intake.pending > sender.chunk_items * 3 * backend.workers:
            return False
        return intake.room() > 0

    def _is_soon_ready(self, sender: _Sends) -> bool:
        """Whether the consumer's next result is there, once those under way have had their time."""
        measured, delivery = self._plan.schedule.measured, self._delivery
        if len(self._in_flight) and not delivery.has_next():
            if measured is None:
                self._await(sender, self._reading)
            elif measured[0] <= self._reading:
                self._await(sender, 2 * measured[0] + PATIENCE_SECONDS)
        return delivery.has_next()

    def _await(self, sender: _Sends, seconds: float) -> None:
        """Wait for the next result, and for nothing else."""
        end, delivery = perf_counter() + seconds, self._delivery
        while (left := end - perf_counter()) > 0:
            with self._lock:
                if delivery.has_next() or self._intake.closed or delivery.failure:
                    return
                wakeup = delivery.wakeup()
            wakeup.wait(left)
            if sender.behind:
                sender.pump()

    def take_some(self, sender: _Sends) -> bool:
        """Take items of the input, pickle each at once, and see that they are sent.

        One, if a worker waits for it. Else as many as make a chunk, unless that takes long.

        Returns:
            Whether there were any.
        """
        intake = self._intake
        count = 1
        if self._all_busy(sender):
            count = max(1, min(sender.chunk_items - intake.pending, intake.room()))
        begin = perf_counter()
        taken, sent, size, packing = 0, 0, 0, 0.0
        while True:
            with intake.taking:
                start, values = intake.take(1)
            if not values:
                break
            taken += 1
            since = perf_counter()
            items = self._pack_taken(start, values[0])
            now = perf_counter()
            packing += now - since
            sent += len(items)
            size += sum([item.size for item in items])
            intake.hold(items)  # at once: the next input may wait for what comes of this
            if taken >= count or now - begin > SLOW_SECONDS or not self._all_busy(sender):
                break
        if not taken:
            sender.pump()
            return False
        self._reading = (perf_counter() - begin - packing) / taken
        if self._plan.placement is not None:
            self._plan.placement.packed(taken, packing, size)
        self._observer.packed(begin, taken - sent)
        # Idle workers get what there is at once. While all are busy it waits, so that chunks grow:
        # the thread that ends a chunk sends on what is pending by then. So this looks last.
        if not self._all_busy(sender) or intake.pending >= sender.chunk_items:
            sender.pump()
        return True

    def _all_busy(self, sender: _Sends) -> bool:
        backend = sender.backend
        return backend is not None and len(self._in_flight) >= backend.workers

    def _pack_taken(self, index: int, value: Any) -> list[Item]:
        try:
            return [self._plan.pack(index, value)]
        except Exception as error:
            self._delivery.put([settled_refusal(index, value, error)])
            return []


def settled_refusal(index: int, value: Any, error: Exception) -> Settled:
    """An item that cannot be pickled, unless that is the error of a signal handler."""
    if strikes(error):
        raise error
    return Settled(Item(index, value), None, error)


class Feeder:
    """Takes a map's input in a thread of its own, never more than the window lets in."""

    def __init__(self, feeding: Feeding, sender: _Sends, delivery: Delivery) -> None:
        self._feeding = feeding
        self._sender = sender
        self._delivery = delivery
        self._room = Wakeup()
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._loop,), name="procession-feeder", daemon=True
        )

    def start(self) -> None:
        """Begin. The sender must know of it by then, or it cannot poke it."""
        self._thread.start()

    def poke(self) -> None:
        """There may be room again, or the map is over."""
        self._room.wake()

    def _loop(self) -> None:
        sender, intake = self._sender, self._delivery.intake
        try:
            while intake.open:
                if sender.here_only or intake.room() <= 0:
                    self._room.wait()
                else:
                    self._feeding.take_some(sender)
        except BaseException as error:
            self._delivery.fail(error)
        finally:
            intake.source.close()
