"""One running map: input to chunks, chunks to a backend, replies to whoever consumes them.

`MapRun` has no thread of its own. It moves when something happens: the consumer asks, and takes
input meanwhile; a chunk ends; or the feeder (engine/map/feeding.py) has taken input. The backend's
threads, which others wait for, run no code of the user's: to pickle the next items, to handle log
records, to rebuild what an item raised is left to the consumer, if it waits, or to a teller's
thread.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from procession import logger as notices
from procession.backends.shutdown import quiet
from procession.contract import ATOM_BYTES, Backend, Chunk, End, Item, Reply, Settled, size_back
from procession.engine.decoding import asks_again, begin_again
from procession.engine.job import Plan
from procession.engine.map.feeding import Feeder
from procession.engine.map.in_flight import Flight
from procession.engine.map.intake import Intake
from procession.engine.map.reorder_buffer import Ready
from procession.engine.map.source import Source
from procession.engine.overload import Deadline
from procession.engine.policy.blame import judge
from procession.recording.observer import UNOBSERVED, CallObserver
from procession.recording.traffic import Traffic
from procession.system import after_fork, cpython
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter, threading
from procession.system.wakeup import Wakeups
from procession.user_threads import teller

__all__ = ["MapRun"]

BYTES_AHEAD = 64 * 1024 * 1024
"""Pickled input and results held at once before no more is sent ahead. A guess: large enough to
keep every worker busy with ordinary items, small beside the memory of any machine."""

SLOW_SECONDS = 1e-3
"""An item of the input that took longer to come makes us wait. A guess: ten times a message."""

PATIENCE_SECONDS = 5e-3
"""How much longer than its items usually take a result is waited for, before slow input is."""

PROBE_SECONDS = 0.3e-3
"""How long a map waits for what its first item tells: two round trips to a waiting worker."""


class MapRun:
    """The state of one map, shared by the consumer, the backend's threads and the feeder.

    Attributes:
        plan: What stays the same.
        thread: Which thread made it.
        consumed: Whether that thread takes its results, so that without it the map stands still.
        intake: The input.
        closed: Whether the map is over or was cancelled.
        here: Whether the consumer's thread is to run the next items itself.
        stuck: Whether it runs one that takes so long that the pool must have the others.
        replies: How many items workers have answered.
        failure: What kept the map from being sent on; raised to the consumer.
        traffic: What was moved and computed so far.
        observer: Is told what happens.
        attended: Whether the consumer is there, and sends what is to be sent next.
        untold: Log records and warnings that came home; the consumer handles them.
        abandoned: Whether the program's end makes the map pointless, since nobody reads it then.
    """

    def __init__(
        self,
        plan: Plan,
        source: Source,
        backend: Callable[[], Backend],
        notify: Callable[[], None] | None = None,
        observer: CallObserver = UNOBSERVED,
        *,
        aside: bool = True,
    ) -> None:
        self.plan = plan
        self.thread = threading.get_ident()
        self.consumed = notify is None
        self.lock = after_fork.lock()
        self.intake = Intake(source, plan.window, self.lock)
        self.closed = False
        self.here = False
        self.stuck = False
        self.replies = 0
        self.failure: BaseException | None = None
        self.traffic = Traffic()
        self.observer = observer
        self.abandoned = True
        self.attended = False
        self.untold: deque[Any] = deque()
        self._wakeups = Wakeups()
        self._notify = notify
        self._to_pump = False
        self._pump_told = False
        self._ready = Ready(plan.ordered)
        self._open_backend = backend
        self._backend: Backend | None = None
        self._apart: Backend | None = None
        self._feeder: Feeder | None = None
        self._aside = aside and not source.inert
        self._feeds = not aside and not source.inert
        self._reading = 0.0
        self._flight = Flight()
        self._stop_at: int | None = None
        self._bytes = 0
        self._pumping = False
        self._pump_again = False
        self._chunk_items = 1
        self._probing = False
        self._deadline: Deadline | None = None

    # -- the consumer's side -----------------------------------------------------------------

    def poll(self) -> Settled | None:
        """The next settled item, or `None` if there is none now; see `over`.

        Raises:
            BaseException: The map's `failure`.
        """
        with self.lock:
            if self.failure is not None:
                raise self.failure
            settled = self._ready.pop(self.intake.delivered)
            if settled is not None:
                self._bytes -= settled.size
        if self.untold:
            self.tell()
        if settled is not None:
            self.deliver(1)
        return settled

    def poll_all(self) -> list[Settled]:
        """All settled items that there are now, of a map whose order does not matter.

        Raises:
            BaseException: The map's `failure`.
        """
        if self._to_pump:
            self.pump()
        with self.lock:
            if self.failure is not None:
                raise self.failure
            settled = self._ready.drain()
            self._bytes -= _sizes(settled)
        if self.untold:
            self.tell()
        if settled:
            self.deliver(len(settled))
        return settled

    def deliver(self, count: int) -> None:
        """The consumer has been given so many items; the window may have room again."""
        with self.lock:
            self.intake.delivered += count
            full, self.intake.full = self.intake.full, False
        if not full:
            return
        if self._feeder is not None:
            self._feeder.poke()
        if self.here:
            return
        if self._notify is None:
            self.pump()
        else:
            self._pump_aside()

    def tell(self) -> None:
        """Handle the log records and warnings that came home; they run the user's handlers."""
        from procession.forwarding.records import Replay

        while self.untold:
            try:
                extras = self.untold.popleft()
            except IndexError:
                return
            Replay(extras)()

    @property
    def over(self) -> bool:
        """Whether there is nothing more for the consumer."""
        return self.closed or self.intake.over

    def delivers_next(self, start: int) -> bool:
        """Whether the item at `start` is the next one that the consumer is to be given."""
        return not self._ready.ordered or self.intake.delivered == start

    def wait(self, timeout: float | None = None) -> None:
        """Sleep until something may have changed for the consumer."""
        with self.lock:
            here = self.here and self.intake.any
            news = self._ready.has(self.intake.delivered) or self.untold or self._to_pump
            wants = self._feeds and self._wants()
            done = self.over or here or self.failure or news or wants
            wakeup = None if done else self._wakeups.add()
        if wakeup is not None:
            wakeup.wait(timeout)
        if self._to_pump:
            self.pump()

    def stop_after(self, index: int) -> None:
        """Run nothing beyond `index`: its error decides the map, only earlier items matter now."""
        with self.lock:
            self._stop_at = index if self._stop_at is None else min(index, self._stop_at)
            self.intake.stop(index)
            beyond = self._flight.beyond(index)
        for chunk in beyond:
            chunk.home.cancel(chunk)

    def cancel(self) -> None:
        """End what runs, take nothing more, wake everybody."""
        self._close(self._flight.chunks, kill=True)

    def finish(self) -> None:
        """Let go of what the run holds after its last item."""
        self._close([], kill=False)

    def _close(self, chunks: list[Chunk], *, kill: bool) -> None:
        with self.lock:
            if self.closed:
                return
            self.closed = True
            self.intake.stop()
            self._flight.drop_again()
            self._wakeups.wake()
        if self._deadline is not None:
            self._deadline.disarm()
        if self.untold:
            teller.tell(self.tell)
        self.observer.finished()
        if chunks and self._backend is not None:
            self._backend.abandon([chunk for chunk in chunks if chunk.home is self._backend])
        if self._apart is not None:
            self._apart.close(wait=False, kill=kill)
        if self._feeder is not None:
            self._feeder.poke()
        else:
            self.intake.source.close()

    def expire_after(self, seconds: float) -> None:
        """Give up what is not done so many seconds from now: each such item has an error then."""
        self._deadline = Deadline(seconds, self._expire)

    def _expire(self) -> None:
        with self.lock:
            chunks = [] if self.closed else list(self._flight.chunks)
        for chunk in chunks:
            chunk.home.cancel(chunk)
        self._pump_aside()

    @property
    def _late(self) -> bool:
        return self._deadline is not None and self._deadline.passed

    def _too_late(self, items: Sequence[Item]) -> list[Settled]:
        deadline, name = self._deadline, self.plan.rules.name
        assert deadline is not None
        return [Settled(item, None, deadline.error(name, item.index)) for item in items]

    def renew(self) -> None:
        """In a forked child: what the map waits for comes to the parent, so it fails.

        One that has run all its items in the consumer's thread so far goes on.
        """
        cpython.renew_lock(self.intake.taking)
        alone = self._backend is None and self._feeder is None and not self._pumping
        if not (alone or self.closed or self.intake.over):
            self.failure = after_fork.call_of_parent(self.plan.rules.name)
            self.closed = True
            self._flight.forget()

    # -- sending -----------------------------------------------------------------------------

    def go(self) -> None:
        """Give items to the pool from now on."""
        after_fork.register(self)
        if self._aside and not self.closed:
            self.here = False  # one of the two takes input; only the feeder may have to wait
            if self._feeder is None:
                self._feeder = Feeder(self)
                self._feeder.start()
            else:
                self._feeder.poke()
        self.pump()

    def probe(self) -> None:
        """Give the pool one item, and more once that one is answered or takes its time.

        Tiny items are run here, then: one worker was woken for that, and no second one.
        """
        self._probing = True
        self.go()
        self.feed()
        self.wait(PROBE_SECONDS)
        if self._probing:
            self._probing = False
            self.pump()

    def feed(self, *, lazily: bool = False) -> None:
        """Take input for the pool in the consumer's thread, as much as is wanted now.

        Args:
            lazily: The consumer takes results one by one. What is ready comes before input that
                makes us wait, and so does what is soon to be ready.
        """
        if not self._feeds:
            return
        while self._wants():
            if lazily and self._reading > SLOW_SECONDS and self._is_soon_ready():
                return
            if not self.take_one():
                return

    def _wants(self) -> bool:
        """Whether the consumer's thread is to take more input for the pool."""
        backend, intake = self._backend, self.intake
        if backend is None or self.closed or self.here_only or not intake.open:
            return False
        chunks = len(self._flight)
        if self._probing:
            return not chunks and not intake.pending
        if chunks >= backend.workers:
            if intake.pending >= self._chunk_items * max(1, 3 * backend.workers - chunks):
                return False
            if self._bytes + self._flight.bytes + intake.held > BYTES_AHEAD:
                return False
        elif intake.pending > self._chunk_items * 3 * backend.workers:
            return False
        return intake.room() > 0

    def _is_soon_ready(self) -> bool:
        """Whether the consumer's next result is there, once those under way have had their time."""
        item, flight = self.plan.schedule.item_seconds, len(self._flight)
        if flight and not self._ready.has(self.intake.delivered):
            if item is None:
                self._await(self._reading)
            elif item <= self._reading:
                self._await(2 * item + PATIENCE_SECONDS)
        return self._ready.has(self.intake.delivered)

    def _await(self, seconds: float) -> None:
        """Wait for the next result, and for nothing else."""
        end = perf_counter() + seconds
        while (left := end - perf_counter()) > 0:
            with self.lock:
                if self._ready.has(self.intake.delivered) or self.closed or self.failure:
                    return
                wakeup = self._wakeups.add()
            wakeup.wait(left)
            if self._to_pump:
                self.pump()

    def take_one(self) -> bool:
        """Take one item of the input, pickle it, and see that it is sent. Whether there was one."""
        intake, placement = self.intake, self.plan.placement
        begin = perf_counter()
        with intake.taking:
            start, values = intake.take(1)
        if not values:
            self.pump()
            return False
        taken = perf_counter()
        self._reading = taken - begin
        refused: list[Settled] = []
        try:
            item = self.plan.pack(start, values[0])
        except Exception as error:
            if strikes(error):
                raise
            refused.append(Settled(Item(start, values[0]), None, error))
        else:
            intake.hold(item)
            if placement is not None:
                placement.packed(1, perf_counter() - taken, item.size)
        self.observer.packed(taken, len(refused))
        self.settle(refused)
        # Idle workers get the item at once. While all are busy it waits, so that chunks grow:
        # whoever ends a chunk sends on what is pending by then.
        if self.hungry:
            self.pump()
        return True

    @property
    def started(self) -> bool:
        """Whether there is a pool that items were, or are being, given to."""
        return self._pumping or self._backend is not None

    @property
    def here_only(self) -> bool:
        """Whether the pool is to be given nothing more, since items are run faster here."""
        return self.here and self.replies > 0

    @property
    def hungry(self) -> bool:
        """Whether there are workers with nothing to do, or enough input for a whole chunk."""
        backend = self._backend
        if backend is None or len(self._flight) < backend.workers:
            return True
        return self.intake.pending >= self._chunk_items

    def pump(self) -> None:
        """Send as many chunks as there is input, window and room for. Any thread may call it."""
        with self.lock:
            self._to_pump = False
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
        if self.intake.source.ended:
            self.wake()

    def _move(self) -> None:
        """In a thread that others wait for: have more sent by the consumer, or by a teller."""
        with self.lock:
            attended = self.attended and not self.here
            if attended:
                self._to_pump = True
                self._wakeups.wake()
        if not attended:
            self._pump_aside()

    def leave(self) -> None:
        """The consumer does something else for a while."""
        self.attended = False
        if self._to_pump:
            self._pump_aside()

    def _pump_aside(self) -> None:
        if not self._pump_told:
            self._pump_told = True
            teller.tell(self._pump_told_of)

    def _pump_told_of(self) -> None:
        self._pump_told = False
        try:
            self.pump()
        except BaseException as error:
            self.failure = error  # nobody here can take it, so the consumer does
            self.wake()

    def _next_chunk(self) -> tuple[Backend, list[Item], list[tuple[int, Any]]] | None:
        """What to send next: where to, items to run again, and new values. Under the lock."""
        backend = self._backend
        if self.closed or backend is None:
            return None
        flight = self._flight
        if flight.suspects and (self._apart is None or not flight.on(self._apart)):
            if self._apart is None:
                self._apart = backend.apart()
            return self._apart, [flight.suspects.popleft()], []
        chunks = flight.on(backend)
        if chunks >= (1 if self._probing else 2 * backend.workers):
            return None
        if flight.again:
            return backend, flight.next_again(backend.workers, self._chunk_items), []
        if self._bytes + flight.bytes > BYTES_AHEAD and chunks >= backend.workers:
            return None
        items, values = self._next_values(backend, chunks)
        return (backend, items, values) if items or values else None

    def _next_values(
        self, backend: Backend, flight: int
    ) -> tuple[list[Item], list[tuple[int, Any]]]:
        """New items: those that are pickled already, or else values."""
        placement, intake = self.plan.placement, self.intake
        known = self.replies > 0 and not self.stuck and self._feeder is None
        if placement is not None and known and placement.here(intake.remaining):
            if not self.here:
                self.here = True
                self._wakeups.wake()
            if not intake.packed:
                return [], []
        room = intake.room() if intake.source.inert and not intake.pending else None
        if room is not None and room <= 0:
            return [], []
        count = self.plan.schedule.next_chunk(
            remaining=intake.remaining, workers=backend.workers, in_flight=flight, room=room
        )
        if count <= 0:
            return [], []
        self._chunk_items = count
        fed = not intake.source.inert and not intake.source.ended
        if fed and intake.pending < count and flight >= backend.workers:
            return [], []  # all are busy: let the chunk grow
        items = intake.next_packed(count) if intake.packed else []
        return items, [] if items else intake.next(count)

    def _send(self, backend: Backend, items: list[Item], values: list[tuple[int, Any]]) -> None:
        if self._late:
            self.settle(self._too_late([*items, *(Item(*each) for each in values)]))
            return
        refused: list[Settled] = []
        begin = perf_counter()
        for index, value in values:
            try:
                items.append(self.plan.pack(index, value))
            except Exception as error:
                if strikes(error):
                    raise
                refused.append(Settled(Item(index, value), None, error))
        size = sum([item.size for item in items])
        if values and self.plan.placement is not None:
            self.plan.placement.packed(len(values), perf_counter() - begin, size)
        if values:
            self.observer.packed(begin, len(refused))
        self.settle(refused)
        if not items:
            return
        chunk = Chunk(self.plan.job, items, self)
        chunk.home = backend
        chunk.plain = self.plan.job.call is None and size <= ATOM_BYTES * len(items)
        with self.lock:
            if self.closed:
                return
            self._flight.add(chunk, size)
        self.observer.sent(chunk)
        try:
            backend.start(chunk)
        except Exception as error:
            self.ended(chunk, End("refused", error=error))

    # -- replies (Listener) ------------------------------------------------------------------

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """Some items of a chunk are done."""
        with self.lock:
            found = self._flight.answered(chunk, replies)
            if found is None:
                return
            self._probing = False
        rules = self.plan.rules
        settled: list[Settled] = []
        doubtful: list[tuple[Item, Reply]] = []
        for item, reply in found:
            if item is None:
                continue
            if reply.extras is not None:
                self.untold.append(reply.extras)
            if not reply.ok and rules.retry_on and item.attempt <= rules.retries:
                doubtful.append((item, reply))
            else:
                settled.append(Settled(item, reply))
        self.observer.replied(chunk, settled)
        with self.lock:
            self._measure(found)
        self.settle(settled)
        if doubtful:
            teller.tell(partial(self._decide, chunk, doubtful))

    def _decide(self, chunk: Chunk, doubtful: list[tuple[Item, Reply]]) -> None:
        """In a teller's thread: rebuild errors, to see which items are to be run again."""
        for item, reply in doubtful:
            again = asks_again(item, reply, self.plan.rules)
            self.observer.replied(chunk, (Settled(item, reply),), (item,) if again else ())
            if again:
                item.seconds += reply.seconds
                self._try_again(item)
            else:
                self.settle([Settled(item, reply)])

    def _try_again(self, item: Item) -> None:
        """Run an item once more that has failed, when its time has come."""
        if not self.plan.rules.delay:
            self._rested(item)
            return
        most = math.inf if self._deadline is None else self._deadline.left
        give_up = partial(self._give_up, item)
        begin_again(item, self.plan.rules, partial(self._rested, item), give_up, most)

    def _rested(self, item: Item) -> None:
        with self.lock:
            if self._stop_at is None or item.index < self._stop_at:
                self._flight.again.append(item)
        self._pump_aside()

    def _give_up(self, item: Item, error: BaseException) -> None:
        self.settle([Settled(item, None, error)])

    def _measure(self, found: list[tuple[Item | None, Reply]]) -> None:
        seconds = sum([reply.seconds for _, reply in found])
        sent = sum([item.size for item, _ in found if item is not None])
        back = sum([size_back(item, reply) for item, reply in found if item is not None])
        self.replies += len(found)
        self.traffic.moved(len(found), sent, back, seconds)
        self.plan.schedule.observe(len(found), seconds, sent + back)
        if self.plan.placement is not None:
            self.plan.placement.ran(len(found), seconds)

    def ended(self, chunk: Chunk, end: End) -> None:
        """A chunk is over: settle or run again what has no reply."""
        with self.lock:
            left = self._flight.over(chunk)
            if left is None or self.closed:
                return
        try:
            if left:
                self._judge(chunk, left, end)
        except BaseException as error:
            self.failure = error  # nobody in a backend's thread can take it, so the consumer does
            self.wake()
        self._move()

    def _judge(self, chunk: Chunk, missing: list[Item], end: End) -> None:
        if self._late:
            self.settle(self._too_late(missing))
            return
        settled: list[Settled] = []
        rules = self.plan.rules
        verdicts = judge(chunk, missing, end, rules)
        notices.died(rules.name, rules.retries, verdicts, end, single=False)
        delayed: list[Item] = []
        with self.lock:
            beyond = self._stop_at
            for item, error, apart, counted in verdicts:
                if error is not None:
                    settled.append(Settled(item, None, error))
                elif rules.delay and counted:
                    delayed.append(item)
                elif beyond is None or item.index < beyond:
                    (self._flight.suspects if apart else self._flight.again).append(item)
        self.observer.settled(len(settled), len(missing) - len(settled), end)
        self.settle(settled)
        for item in delayed:
            self._try_again(item)

    def settle(self, settled: Sequence[Settled]) -> None:
        """Items are over: hand them to the consumer."""
        if not settled and not self.untold:
            return
        with self.lock:
            self._bytes += _sizes(settled)
            self._ready.add(settled)
            if self.untold or self._ready.has(self.intake.delivered):
                self._wakeups.wake()
        if self._notify is not None:
            self._notify()

    def wake(self) -> None:
        """Have the consumer look again."""
        with self.lock:
            self._wakeups.wake()
        if self._notify is not None:
            self._notify()


def _sizes(settled: Iterable[Settled]) -> int:
    return sum([reply.size for _, reply, _ in settled if reply is not None and not reply.raw])


def _quiet(caller: int) -> bool:
    """Whether no map goes on by itself, while the thread `caller` does nothing."""
    runs = (each for each in after_fork.registered() if isinstance(each, MapRun))
    return all(run.over or (run.consumed and run.thread == caller) for run in runs)


quiet.append(_quiet)
