"""What comes of a map's chunks: results, errors and deaths, and which items are run again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from procession import logger
from procession.contract import Chunk, End, Tally
from procession.engine.job import Plan
from procession.engine.map.delivery import Batch, Delivery
from procession.engine.map.in_flight import InFlight
from procession.engine.policy.blame import judge
from procession.engine.retrying import asks_again, begin_again
from procession.hints import TYPE_CHECKING, Protocol
from procession.items import Item, Reply, Results, Settled, size_back
from procession.observer import CallObserver, Traffic
from procession.system.pristine import thread_time
from procession.user_threads import user_threads

if TYPE_CHECKING:
    from procession.engine.overload import Deadline


class Sending(Protocol):
    """What sends a map's items."""

    def send_on(self) -> None:
        """More may be sent now. Called by threads that others wait for."""
        ...

    def take_back(self) -> None:
        """Have a worker that still has many items give some back, if another has none."""
        ...

    def pump_aside(self) -> None:
        """Have more sent by a thread that runs the user's code."""
        ...


class Replies:
    """The listener of a map's chunks: settles their items, or has them run again.

    Its methods are called by the backend's threads, which others wait for: to rebuild an error, to
    see whether it asks for another attempt, is left to a user thread.

    Attributes:
        plan: What stays the same during the map.
        observer: Is told what happens.
        delivery: Takes what is settled.
        in_flight: The chunks that were sent and are not over.
        count: How many items workers have answered.
        traffic: What was moved and computed so far.
        abandoned: Whether the program's end makes the map pointless, since nothing reads it then.
    """

    def __init__(self, plan: Plan, observer: CallObserver, delivery: Delivery) -> None:
        self.plan = plan
        self.observer = observer
        self.delivery = delivery
        self.in_flight = InFlight()
        self.count = 0
        self.traffic = Traffic()
        self.abandoned = True
        self._rules = plan.rules
        self._intake = delivery.intake
        self._lock = delivery.lock
        self._sending: Sending | None = None
        self._end: Callable[[], None] | None = None
        self._deadline: Deadline | None = None

    def attach(self, sending: Sending | None, end: Callable[[], None] | None = None) -> None:
        """Say what is told when more can be sent, and what ends the map; at its end, nothing."""
        self._sending = sending
        self._end = end

    def cancel(self) -> None:
        """End the map whose chunks these are. Asked at the program's end by executors."""
        end = self._end
        if end is not None:
            end()

    def keep(self) -> None:
        """The results are wanted even at the program's end."""
        self.abandoned = False

    # -- told by a backend ---------------------------------------------------------------------

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """Some items of a chunk are done."""
        with self._lock:
            found = self.in_flight.answered(chunk, replies)
        if found is None:
            return
        with self._lock:
            self._measure(found, chunk.home.tally)
        self._settle(chunk, [(item, reply) for item, reply in found if item is not None])

    def returned(self, chunk: Chunk, position: int, results: Results) -> None:
        """Items of a column have results; odd ones among them have replies."""
        begin = thread_time()
        count = len(results.payloads)
        with self._lock:
            if not self.in_flight.returned(chunk, position, count):
                return
            self.delivery.untold.extend(results.extras)
            self._measure_column(chunk, results)
        batches: list[Batch] = []
        at = 0
        for place, _ in results.odd:
            batches += Batch.of(chunk, position, results, at, place)
            at = place + 1
        batches += Batch.of(chunk, position, results, at, count)
        odd = [(self._sendable(chunk, position + place), reply) for place, reply in results.odd]
        self._settle(chunk, odd, batches)
        placement = self.plan.placement
        if placement is not None:
            placement.spent(thread_time() - begin)
            placement.shipped(count)
            placement.worked(count, results.span - results.seconds)
        sending = self._sending
        if sending is not None and self._intake.source.ended:
            sending.take_back()

    @staticmethod
    def _sendable(chunk: Chunk, position: int) -> Item:
        column = chunk.column
        return chunk.item(position) if column is None else column.items([position])[0]

    def _settle(
        self,
        chunk: Chunk,
        found: Iterable[tuple[Item, Reply]],
        batches: Sequence[Batch] = (),
    ) -> None:
        """Items of a chunk have replied, or are in batches: hand out what will not run again."""
        rules, untold = self._rules, self.delivery.untold
        settled: list[Settled] = []
        doubtful: list[tuple[Item, Reply]] = []
        failed = 0
        for item, reply in found:
            if reply.extras is not None:
                untold.append(reply.extras)
            if not reply.ok and rules.retry_on and item.attempt <= rules.retries:
                doubtful.append((item, reply))
                continue
            failed += not reply.ok
            settled.append(Settled(item, reply))
        self.observer.replied(chunk, settled)
        chunk.home.tally.answered(len(settled) + sum(map(len, batches)), failed)
        self.delivery.put(settled, batches)
        if doubtful:
            user_threads.run_soon(partial(self._decide, chunk, doubtful))

    def ended(self, chunk: Chunk, end: End) -> None:
        """A chunk is over: settle or run again what has no reply."""
        with self._lock:
            left = self.in_flight.over(chunk)
            if left is None or self._intake.closed:
                return
        try:
            if left:
                self._judge(chunk, left, end)
        except BaseException as error:
            self.delivery.fail(error)  # no one in a backend's thread can take it
        sending = self._sending
        if sending is not None:
            sending.send_on()

    def more_workers(self) -> None:
        """The backend has more workers than it had, so that more may be sent."""
        sending = self._sending
        if sending is not None:
            sending.send_on()

    def _measure(self, found: list[tuple[Item | None, Reply]], tally: Tally) -> None:
        seconds = sum([reply.seconds for _, reply in found])
        sent = sum([item.size for item, _ in found if item is not None])
        back = sum([size_back(item, reply) for item, reply in found if item is not None])
        self._count(len(found), seconds, sent, back, tally)

    def _count(self, items: int, seconds: float, sent: int, back: int, tally: Tally) -> None:
        self.count += items
        self.traffic.moved(items, sent, back, seconds)
        tally.moved(sent, back)
        self.plan.schedule.observe(items, seconds, sent + back)
        if self.plan.placement is not None:
            self.plan.placement.ran(items, seconds)

    def _measure_column(self, chunk: Chunk, results: Results) -> None:
        count = len(results.payloads)
        seconds = results.seconds + sum([reply.seconds for _, reply in results.odd])
        sent = chunk.size * count // len(chunk)
        back = results.size + sum([reply.size for _, reply in results.odd])
        self._count(count, seconds, sent, back, chunk.home.tally)

    # -- run again, or not ---------------------------------------------------------------------

    def _decide(self, chunk: Chunk, doubtful: list[tuple[Item, Reply]]) -> None:
        """In a user thread: rebuild errors, to see which items are to be run again."""
        for item, reply in doubtful:
            again = asks_again(item, reply, self._rules)
            settled = Settled(item, reply)
            self.observer.replied(chunk, (settled,), (item,) if again else ())
            if again:
                chunk.home.tally.again()
                item.seconds += reply.seconds
                self._try_again(item)
            else:
                chunk.home.tally.answered(1, 1)
                self.delivery.put([settled])

    def _judge(self, chunk: Chunk, missing: list[Item], end: End) -> None:
        if self.late:
            self.delivery.put(self.too_late(missing))
            return
        if end.kind == "stopped":
            with self._lock:
                for item in filter(lambda each: self._intake.wants(each.index), missing):
                    self.in_flight.run_again(item)
            return
        settled: list[Settled] = []
        rules = self._rules
        verdicts = judge(chunk, missing, end, rules)
        logger.died(rules.name, rules.retries, verdicts, end, single=False)
        delayed: list[Item] = []
        with self._lock:
            for item, error, apart, counted in verdicts:
                if error is not None:
                    settled.append(Settled(item, None, error))
                elif rules.delay and counted:
                    delayed.append(item)
                elif self._intake.wants(item.index):
                    self.in_flight.run_again(item, apart=apart)
        self.observer.settled(len(settled), len(missing) - len(settled), end)
        chunk.home.tally.ended(end, len(settled), len(missing) - len(settled))
        self.delivery.put(settled)
        for item in delayed:
            self._try_again(item)

    def _try_again(self, item: Item) -> None:
        """Run an item once more that has failed, when its time has come."""
        if not self._rules.delay:
            self._rested(item)
            return
        most = math.inf if self._deadline is None else self._deadline.left
        give_up = partial(self._give_up, item)
        begin_again(item, self._rules, partial(self._rested, item), give_up, most)

    def _rested(self, item: Item) -> None:
        with self._lock:
            if self._intake.wants(item.index):
                self.in_flight.run_again(item)
        self._pump_aside()

    def _pump_aside(self) -> None:
        sending = self._sending
        if sending is not None:
            sending.pump_aside()

    def _give_up(self, item: Item, error: BaseException) -> None:
        self.delivery.put([Settled(item, None, error)])

    # -- the deadline --------------------------------------------------------------------------

    def expire_after(self, seconds: float) -> None:
        """Give up what is not done so many seconds from now: each such item has an error then."""
        from procession.engine.overload import Deadline

        self._deadline = Deadline(seconds, self._expire)

    def _expire(self) -> None:
        with self._lock:
            chunks = [] if self._intake.closed else self.in_flight.chunks
        for chunk in chunks:
            chunk.home.cancel(chunk)
        self._pump_aside()

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and self._deadline.passed

    def too_late(self, items: Sequence[Item]) -> list[Settled]:
        """These items, as they are settled after the deadline."""
        deadline, name = self._deadline, self._rules.name
        assert deadline is not None
        return [Settled(item, None, deadline.error(name, item.index)) for item in items]

    def disarm(self) -> None:
        """The map is over before its deadline."""
        if self._deadline is not None:
            self._deadline.disarm()
