"""What is over, and waits for a map's consumer: single items, and results of a column together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from procession.contract import Chunk
from procession.engine.map.intake import Intake
from procession.engine.policy.blame import Rules
from procession.hints import Any
from procession.items import Reply, Results, Settled
from procession.pickling.columns import is_pickled, open_column, open_value
from procession.pickling.objects import THEMSELVES
from procession.system.interrupts import strikes
from procession.system.wakeup import Wakeup, Wakeups


class Batch:
    """Consecutive items of one column, each with a result that is not rebuilt yet.

    Attributes:
        first: The index of the first one.
        size: Bytes that it holds.
    """

    __slots__ = ("_chunk", "_each", "_payloads", "_position", "first", "size")

    def __init__(
        self, chunk: Chunk, position: int, payloads: list[Any], each: Any, size: int
    ) -> None:
        self._chunk = chunk
        self._position = position
        self._payloads = payloads
        self._each = each
        self.first = chunk.index(position)
        self.size = size

    @classmethod
    def of(
        cls, chunk: Chunk, position: int, results: Results, begin: int, end: int
    ) -> Iterator[Batch]:
        """The results from `begin` to `end`, in batches whose indexes follow each other.

        Args:
            chunk: A column.
            position: Where the results begin in it.
            results: The results.
            begin: The first of them.
            end: Behind the last of them.
        """
        if begin == end:
            return
        column = chunk.column
        assert column is not None
        payloads, each = results.payloads, results.each
        gaps = [begin, end]
        if not isinstance(column.indexes, range):
            indexes = column.indexes[position + begin : position + end]
            jumps = [at for at in range(1, len(indexes)) if indexes[at] != indexes[at - 1] + 1]
            gaps[1:1] = [begin + at for at in jumps]
        for start, stop in pairwise(gaps):
            size = results.size * (stop - start) // len(payloads)
            part = payloads if stop - start == len(payloads) else payloads[start:stop]
            yield cls(chunk, position + start, part, each[start:stop], size)

    def __len__(self) -> int:
        return len(self._payloads)

    def split(self, count: int) -> Batch:
        """Keep the first `count` only; the others are the batch that is returned."""
        whole, rest = len(self._payloads), self._payloads[count:]
        size = self.size * (whole - count) // whole
        other = Batch(self._chunk, self._position + count, rest, self._each[count:], size)
        del self._payloads[count:]
        self._each = self._each[:count]
        self.size -= size
        return other

    def values(self) -> list[Any]:
        """All values.

        Raises:
            BaseException: One of them cannot be rebuilt. `each` tells which.
        """
        return open_column(self._payloads)

    def each(
        self, decode: Callable[[Settled, Rules], Any], rules: Rules
    ) -> Iterator[tuple[int, Any, BaseException | None]]:
        """Each item's index with its value, or with why it cannot be rebuilt."""
        for at, payload in enumerate(self._payloads):
            value: Any = payload
            failed: BaseException | None = None
            if type(payload) not in THEMSELVES:
                try:
                    value = decode(self.settled(at), rules)
                except BaseException as error:
                    if strikes(error):
                        raise
                    failed = error
            yield self.first + at, value, failed

    def settled(self, at: int) -> Settled:
        """One of its items."""
        payload: Any = self._payloads[at]
        item = self._chunk.item(self._position + at)
        seconds = self._each[at] if self._each else 0.0
        raw = not is_pickled(payload)
        if raw:
            payload = open_value(payload)
        return Settled(item, Reply(item.index, True, payload, (), seconds, raw))

    def all_settled(self) -> Iterator[Settled]:
        """Each of its items."""
        return map(self.settled, range(len(self._payloads)))


class Delivery:
    """Items that are over and wait for the consumer, which is woken for them.

    They are given in input order, or as they came.

    Attributes:
        ordered: Whether the consumer wants them in input order.
        bytes: What they hold until they are decoded.
        failure: What kept the map from being sent on; raised to the consumer.
        untold: Log records and warnings that came home; the consumer handles them.
    """

    def __init__(self, intake: Intake, *, ordered: bool, notify: Callable[[], None] | None) -> None:
        self.intake = intake
        self.lock = intake.lock
        self.ordered = ordered
        self.bytes = 0
        self.failure: BaseException | None = None
        self.untold: deque[Any] = deque()
        self._notify = notify
        self._refill: Callable[[], None] | None = None
        self._by_index: dict[int, Settled | Batch] = {}
        self._as_they_came: deque[Settled | Batch] = deque()
        self._wakeups = Wakeups()

    def attach(self, refill: Callable[[], None] | None) -> None:
        """Say what is called when the window has room again; nothing, once the map is over."""
        self._refill = refill

    # -- from the workers ----------------------------------------------------------------------

    def put(self, settled: Sequence[Settled], batches: Sequence[Batch] = ()) -> None:
        """Items are over: hand them to the consumer."""
        if not settled and not batches and not self.untold:
            return
        with self.lock:
            self.bytes += _sizes(settled) + _sizes(batches)
            if self.ordered:
                self._by_index.update((each.item.index, each) for each in settled)
                self._by_index.update((each.first, each) for each in batches)
            else:
                self._as_they_came.extend(settled)
                self._as_they_came.extend(batches)
            if self.untold or self.has_next():
                self._wakeups.wake()
        if self._notify is not None:
            self._notify()

    def fail(self, error: BaseException) -> None:
        """The map cannot be sent on, and only the consumer can be told so."""
        self.failure = error
        self.wake()

    def wake(self) -> None:
        """Have the consumer look again."""
        with self.lock:
            self._wakeups.wake()
        if self._notify is not None:
            self._notify()

    def wake_waiting(self) -> None:
        """Have a consumer that waits look again. Under the map's lock."""
        self._wakeups.wake()

    def abort(self, error: BaseException) -> None:
        """In a forked child: what is missing goes to the parent."""
        self.failure = error
        self.intake.closed = True

    # -- to the consumer -----------------------------------------------------------------------

    def has_next(self) -> bool:
        """Whether the next item is there."""
        if self.ordered:
            return self.intake.delivered in self._by_index
        return bool(self._as_they_came)

    def is_next(self, start: int) -> bool:
        """Whether the item at `start` is the next one that the consumer is to be given."""
        return not self.ordered or self.intake.delivered == start

    def wakeup(self) -> Wakeup:
        """Woken when something may have changed for the consumer. Under the map's lock."""
        return self._wakeups.add()

    def poll(self) -> Settled | Batch | None:
        """The next item, or items, that are over; `None` if there are none now (`Intake.over`).

        Raises:
            BaseException: The map's `failure`.
        """
        full = False
        with self.lock:
            if self.failure is not None:
                raise self.failure
            found = self._next()
            if found is not None:
                self.bytes -= found.size
                full = self.intake.deliver(len(found) if isinstance(found, Batch) else 1)
        if self.untold:
            self.tell()
        if full and self._refill is not None:
            self._refill()
        return found

    def _next(self) -> Settled | Batch | None:
        """Under the lock."""
        if self.ordered:
            found = self._by_index.pop(self.intake.delivered, None)
        else:
            found = self._as_they_came.popleft() if self._as_they_came else None
        if isinstance(found, Batch) and len(found) > self.intake.most:
            rest = found.split(self.intake.most)
            if self.ordered:
                self._by_index[rest.first] = rest
            else:
                self._as_they_came.appendleft(rest)
        return found

    def poll_all(self) -> list[Settled | Batch]:
        """All that is over now, of a map whose order does not matter.

        Raises:
            BaseException: The map's `failure`.
        """
        with self.lock:
            if self.failure is not None:
                raise self.failure
            found = list(self._as_they_came)
            self._as_they_came.clear()
            self.bytes -= _sizes(found)
        if self.untold:
            self.tell()
        if found:
            self.deliver(sum([len(each) if isinstance(each, Batch) else 1 for each in found]))
        return found

    def deliver(self, count: int) -> None:
        """The consumer has been given so many items; the window may have room again."""
        with self.lock:
            full = self.intake.deliver(count)
        if full and self._refill is not None:
            self._refill()

    def tell(self) -> None:
        """Handle the log records and warnings that came home; they run the user's handlers."""
        from procession.forwarding.records import Replay

        while self.untold:
            try:
                extras = self.untold.popleft()
            except IndexError:
                return
            Replay(extras)()


def _sizes(settled: Sequence[Settled | Batch]) -> int:
    """Bytes that these hold until they are decoded."""
    return sum([each.size for each in settled])
