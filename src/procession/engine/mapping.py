"""One running map: input to chunks, chunks to a backend, replies to whoever consumes them.

`MapRun` has no thread of its own. It moves when something happens: the consumer asks, a chunk
ends (in the backend's thread), or the feeder (engine/feeding.py) has taken input that may block.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

from procession.backends.base import Backend, Chunk, End, Item, Job, Reply
from procession.engine.blame import Rules, judge, may_retry
from procession.engine.feeding import Feeder
from procession.engine.placement import Placement
from procession.engine.source import Source

__all__ = ["MapRun", "Plan", "Settled"]

BYTES_AHEAD = 64 * 1024 * 1024
"""Pickled input and results held at once before no more is sent ahead. A guess: large enough to
keep every worker busy with ordinary items, small beside the memory of any machine."""


class Plan(NamedTuple):
    """What stays the same during one map.

    Attributes:
        job: What every item has in common.
        rules: Retries, and the name for messages.
        pack: Makes the item for an index and a value; raises what refuses it.
        schedule: Says how many items the next chunk has.
        placement: Says whether the caller's own thread had better run the next items; `None` if
            it must run none.
        window: Most items taken from the input and not yet given to the consumer.
        ordered: Whether the consumer wants the items in input order.
    """

    job: Job
    rules: Rules
    pack: Callable[[int, Any], Item]
    schedule: Any
    placement: Placement | None
    window: int
    ordered: bool


class Settled(NamedTuple):
    """One item that is over: its reply, or the engine's own error."""

    item: Item
    reply: Reply | None
    error: BaseException | None = None


class MapRun:
    """The state of one map, shared by the consumer, the backend's threads and the feeder."""

    def __init__(
        self,
        plan: Plan,
        source: Source,
        backend: Callable[[], Backend],
        notify: Callable[[], None] | None = None,
    ) -> None:
        self.plan = plan
        self.source = source
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.taking = threading.Lock()
        self.closed = False
        self.here = False
        """Whether the consumer's thread is to run the next items itself."""
        self.replies = 0
        self.failure: BaseException | None = None
        """What kept the map from being sent on, raised to the consumer."""
        self._feeder: Feeder | None = None
        self._open_backend = backend
        self._backend: Backend | None = None
        self._apart: Backend | None = None
        self._notify = notify
        self._flight: dict[Chunk, dict[int, Item]] = {}
        self._pending: deque[tuple[int, Any]] = deque()
        self._again: deque[Item] = deque()
        self._suspects: deque[Item] = deque()
        self._ready: dict[int, Settled] | deque[Settled] = {} if plan.ordered else deque()
        self._stop_at: int | None = None
        self._delivered = 0
        self._bytes = 0
        self._pumping = False
        self._pump_again = False
        self._full = False
        self._chunk_items = 1

    # -- the consumer's side -----------------------------------------------------------------

    def poll(self) -> Settled | None:
        """The next settled item, or `None` if there is none now; see `over`."""
        with self.lock:
            if self.failure is not None:
                raise self.failure
            if isinstance(self._ready, deque):
                settled = self._ready.popleft() if self._ready else None
            else:
                settled = self._ready.pop(self._delivered, None)
            if settled is None:
                return None
            self._delivered += 1
            self._bytes -= _size(settled)
            full, self._full = self._full, False
        if full:
            self._refill()
        return settled

    def _refill(self) -> None:
        """The window has room again."""
        if self._feeder is not None:
            self._feeder.poke()
        if not self.here:
            self.pump()

    @property
    def over(self) -> bool:
        """Whether every item of the input has been given to the consumer."""
        return self.closed or (self.source.ended and self._delivered == self.source.taken)

    def wait(self, timeout: float | None = None) -> None:
        """Sleep until something may have changed for the consumer."""
        with self.lock:
            if not self._ready_now() and not self.over and not self.here and not self.failure:
                self.changed.wait(timeout)

    def stop_after(self, index: int) -> None:
        """Run nothing beyond `index`: its error decides the map, only earlier items matter now."""
        with self.lock:
            self._stop_at = index if self._stop_at is None else min(index, self._stop_at)
            self._pending.clear()
            beyond = [c for c, missing in self._flight.items() if min(missing, default=0) > index]
        for chunk in beyond:
            self._cancel_chunk(chunk)

    def cancel(self) -> None:
        """End what runs, take nothing more, wake everybody."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            chunks = list(self._flight)
            self._pending.clear()
            self._again.clear()
            self._suspects.clear()
            self.changed.notify_all()
        for chunk in chunks:
            self._cancel_chunk(chunk)
        self._let_go(kill=True)

    def finish(self) -> None:
        """Let go of what the run holds after its last item."""
        with self.lock:
            self.closed = True
            self.changed.notify_all()
        self._let_go(kill=False)

    def _let_go(self, kill: bool) -> None:
        if self._apart is not None:
            self._apart.close(wait=False, kill=kill)
        if self._feeder is not None:
            self._feeder.poke()
        else:
            self.source.close()

    # -- input -------------------------------------------------------------------------------

    def take_here(self, count: int) -> tuple[int, Sequence[Any]]:
        """Take input for the consumer's thread to run: the first index, and the values."""
        if self.source.inert:
            with self.lock:
                return self.take(count)
        if self._feeder is None:
            with self.taking:
                return self.take(count)
        with self.taking:
            with self.lock:
                pending = self._pending
                start = pending[0][0] if pending else 0
                values = [pending.popleft()[1] for _ in range(min(count, len(pending)))]
            return (start, values) if values else self.take(count)

    def take(self, count: int) -> tuple[int, Sequence[Any]]:
        """Take input: the first index, and the values. The caller holds the right lock.

        Input that may block is taken under `taking`, by one thread at a time; the rest of the map
        goes on meanwhile.
        """
        start = self.source.taken
        return start, self.source.take(count) if self.may_take else []

    @property
    def has_input(self) -> bool:
        """Whether there is, or may be, input that nobody runs yet."""
        return bool(self._pending) or self.may_take

    @property
    def may_take(self) -> bool:
        """Whether more input is to be taken."""
        return not (self.closed or self.source.ended or self._stop_at is not None)

    def wanted(self) -> int:
        """How many more items the window lets in."""
        room = self.plan.window - (self.source.taken - self._delivered)
        if room <= 0:
            self._full = True
            room = self.plan.window - (self.source.taken - self._delivered)
        return room if self.may_take else 0

    @property
    def hungry(self) -> bool:
        """Whether there are workers with nothing to do, or enough input for a whole chunk."""
        backend = self._backend
        if backend is None:
            return True
        return len(self._flight) < backend.workers or len(self._pending) >= self._chunk_items

    def fed(self, start: int, values: Sequence[Any]) -> None:
        """The feeder took input: hold it ready to be sent."""
        with self.lock:
            if self.may_take or self.source.ended:
                self._pending.extend(enumerate(values, start))

    def delivers_next(self, start: int) -> bool:
        """Whether the item at `start` is the next one that the consumer is to be given."""
        return not self.plan.ordered or self._delivered == start

    @property
    def here_only(self) -> bool:
        """Whether the pool is to be given nothing more, since items are run faster here."""
        return self.here and self.replies > 0

    def delivered_here(self, count: int) -> None:
        """The consumer's thread has run so many items, and has their values already."""
        with self.lock:
            self._delivered += count

    # -- sending -----------------------------------------------------------------------------

    def go(self) -> None:
        """Give items to the pool from now on."""
        if not self.source.inert and not self.closed:
            if self._feeder is None:
                self._feeder = Feeder(self, self.taking)
            else:
                self._feeder.poke()
        self.pump()

    def pump(self) -> None:
        """Send as many chunks as there is input, window and room for. Any thread may call it."""
        with self.lock:
            if self._pumping:
                self._pump_again = True
                return
            self._pumping = True
        try:
            if self._backend is None and not self.closed:
                self._backend = self._open_backend()
            while True:
                with self.lock:
                    planned = self._next_chunk()
                    if planned is None and not self._pump_again:
                        self._pumping = False
                        break
                    self._pump_again = False
                if planned is not None:
                    self._send(*planned)
        except BaseException:
            with self.lock:
                self._pumping = False
            raise
        if self.source.ended:
            self._wake()

    def _next_chunk(self) -> tuple[Backend, list[Item], list[tuple[int, Any]]] | None:
        """What to send next: where to, items to run again, and new values. Under the lock."""
        backend = self._backend
        if self.closed or backend is None:
            return None
        if self._suspects and (self._apart is None or not self._on(self._apart)):
            if self._apart is None:
                self._apart = backend.apart()
            return self._apart, [self._suspects.popleft()], []
        if self._on(backend) >= 2 * backend.workers:
            return None
        if self._again:
            return backend, [self._again.popleft()], []
        if self._bytes > BYTES_AHEAD and self._on(backend) >= backend.workers:
            return None
        values = self._next_values(backend)
        return (backend, [], values) if values else None

    def _next_values(self, backend: Backend) -> list[tuple[int, Any]]:
        placement, source = self.plan.placement, self.source
        if placement is not None and self.replies and placement.here(self._remaining()):
            if not self.here:
                self.here = True
                self.changed.notify_all()
            return []
        room = self.wanted() if source.inert else None
        if room is not None and room <= 0:
            return []
        flight = self._on(backend)
        count: int = self.plan.schedule.next_chunk(
            remaining=self._remaining(), workers=backend.workers, in_flight=flight, room=room
        )
        if count <= 0:
            return []
        self._chunk_items = count
        if source.inert:
            start = source.taken
            return list(enumerate(source.take(count), start))
        pending = self._pending
        if len(pending) < count and not source.ended and flight >= backend.workers:
            return []
        return [pending.popleft() for _ in range(min(count, len(pending)))]

    def _remaining(self) -> int | None:
        remaining = self.source.remaining
        return None if remaining is None else remaining + len(self._pending)

    def _send(self, backend: Backend, items: list[Item], values: list[tuple[int, Any]]) -> None:
        refused: list[Settled] = []
        begin = perf_counter()
        for index, value in values:
            try:
                items.append(self.plan.pack(index, value))
            except Exception as error:
                refused.append(Settled(Item(index, value), None, error))
        if self.plan.placement is not None:
            self.plan.placement.packed(len(values), perf_counter() - begin)
        if refused:
            self.settle(refused)
        if not items:
            return
        chunk = Chunk(self.plan.job, items, self)
        chunk.home = backend
        with self.lock:
            if self.closed:
                return
            self._flight[chunk] = {item.index: item for item in items}
            self._bytes += sum(len(item.blob) for item in items)
        try:
            backend.start(chunk)
        except Exception as error:
            self.ended(chunk, End("refused", error=error))

    def _on(self, backend: Backend) -> int:
        return sum(1 for chunk in self._flight if chunk.home is backend)

    def _cancel_chunk(self, chunk: Chunk) -> None:
        chunk.home.cancel(chunk)

    # -- replies (Listener) ------------------------------------------------------------------

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """Some items of a chunk are done."""
        settled: list[Settled] = []
        again: list[Item] = []
        with self.lock:
            missing = self._flight.get(chunk)
            if missing is None:
                return
            found = [(missing.pop(reply.index, None), reply) for reply in replies]
        for item, reply in found:
            if item is None:
                continue
            if reply.extras is not None:
                self._replay(reply.extras)
            if not reply.ok and self.plan.rules.retry_on and self._retried(item, reply):
                again.append(item)
            else:
                settled.append(Settled(item, reply))
        with self.lock:
            self._again.extend(again)
            self.replies += len(replies)
            seconds = sum(reply.seconds for reply in replies)
            self.plan.schedule.observe(items=len(replies), seconds=seconds)
            if self.plan.placement is not None:
                self.plan.placement.ran(len(replies), seconds)
        self.settle(settled)

    def ended(self, chunk: Chunk, end: End) -> None:
        """A chunk is over: settle or run again what has no reply."""
        with self.lock:
            left = self._flight.pop(chunk, None)
            if left is None:
                return
            self._bytes -= sum(len(item.blob) for item in chunk.items)
            closed = self.closed
        if left and not closed:
            self._judge(chunk, list(left.values()), end)
        if not closed:
            try:
                self.pump()
            except BaseException as error:
                # We are in a backend's thread: nobody there can take it, so the consumer does.
                self.failure = error
                self._wake()

    def _judge(self, chunk: Chunk, missing: list[Item], end: End) -> None:
        settled: list[Settled] = []
        with self.lock:
            beyond = self._stop_at
            for item, error, apart in judge(chunk, missing, end, self.plan.rules):
                if error is not None:
                    settled.append(Settled(item, None, error))
                elif beyond is None or item.index < beyond:
                    (self._suspects if apart else self._again).append(item)
        self.settle(settled)

    def _retried(self, item: Item, reply: Reply) -> bool:
        from procession.engine.decoding import error_of

        if not may_retry(item, error_of(item, reply, self.plan.rules), self.plan.rules):
            return False
        item.seconds += reply.seconds
        return True

    @staticmethod
    def _replay(extras: Any) -> None:
        from procession.worker.relay import replay

        replay(extras)

    def settle(self, settled: Sequence[Settled]) -> None:
        """Items are over: hand them to the consumer."""
        if not settled:
            return
        with self.lock:
            self._bytes += sum(map(_size, settled))
            if isinstance(self._ready, deque):
                self._ready.extend(settled)
            else:
                self._ready.update((each.item.index, each) for each in settled)
            if self._ready_now():
                self.changed.notify_all()
        if self._notify is not None:
            self._notify()

    def _ready_now(self) -> bool:
        ready = self._ready
        return bool(ready) if isinstance(ready, deque) else self._delivered in ready

    def _wake(self) -> None:
        with self.lock:
            self.changed.notify_all()
        if self._notify is not None:
            self._notify()


def _size(settled: Settled) -> int:
    reply = settled.reply
    if reply is None or reply.raw:
        return 0
    return len(reply.payload) + sum(len(buffer) for buffer in reply.buffers)
