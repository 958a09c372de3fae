"""A chunk that was given to a pool: what it is at.

    WAITING ──► ASSIGNED ──► RUNNING ──► OVER
       │            └────► CONDEMNED ─────┤
       └──────────────────────────────────┘  (taken back, or refused)

`PoolState` makes these steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from procession.contract import Answered, Chunk
from procession.hints import Any, Literal
from procession.items import Item, Reply, Results
from procession.system import NamedTuple

_LOOKS = 10
"""A chunk that the audit has found so often assigned to a worker, but not sent, is lost."""

_TOGETHER = 0.002
"""Seconds that calls of one message are to take together. A guess: a message costs some 50 µs."""

_MOST_CALLS = 128
"""Calls in one message. A guess: what a message costs for each of them is little by then."""

Verdict = Literal["timeout", "memory", "cancelled"]


class Blame(NamedTuple):
    """What a chunk's worker is killed for: which item, how long it ran, how much it took."""

    index: int | None = None  # type: ignore[assignment]  # tuple.index, which no one calls here
    seconds: float = 0.0
    peak: int = 0


NO_BLAME = Blame()


class Assignment:
    """One chunk's way through a pool.

    Its marks are only ever set, so that they can be read, and `sent` be set, without the lock.

    Args:
        chunk: The chunk.
        ahead: How many values its generator may be ahead; 0 if it is an ordinary chunk.
        since: When it was made, by the clock that its limits are measured by.

    Attributes:
        worker: Who it was given to.
        number: Which of its worker's chunks it is, counted from 1.
        sent: Whether it was sent, or begun to be.
        verdict: Why its worker is being killed, and `blame` for what; or `None`.
        over: Whether its end was, or is about to be, told.
        answered: Which of its items have replied.
        lent: Its items that have buffers in shared memory, by index, if any.
        timers: What watches its limits.
        looks: How often the audit has found it assigned but not sent.
        items: How many items it has.
        unwanted: Whether nothing of it is wanted any more, the item that runs included.
    """

    worker: Any = None
    number = 0
    sent = False
    verdict: Verdict | None = None
    blame = NO_BLAME
    over = False
    unwanted = False
    divided = False
    looks = 0
    items = 1
    timers: Sequence[Any] = ()
    lent: dict[int, Item] | None = None

    def __init__(self, chunk: Chunk, ahead: int = 0, since: float = 0.0) -> None:
        self.chunk = chunk
        self.ahead = ahead
        self.since = since
        self.answered = Answered()
        if chunk.given is None:
            self.items = len(chunk)
            if chunk.column is None:
                self.lent = {item.index: item for item in chunk.items if item.buffers} or None

    @property
    def state(self) -> str:
        """Where it stands, in a word."""
        if self.over:
            return "over"
        if self.worker is None:
            return "waiting"
        return "condemned" if self.verdict else "running" if self.sent else "assigned"

    def missing(self) -> int:
        """The index of the first of its items that has not replied."""
        first = self.answered.first
        return self.chunk.index(first if first < len(self.chunk) else 0)

    def lacks(self, index: int) -> bool:
        """Whether it has this item, and no reply of it."""
        position = self.chunk.position(index, self.answered.first)
        return position >= 0 and not self.answered.has(position)

    def mark_sent(self) -> None:
        """It was sent, or begun to be."""
        self.sent = True

    def mark_divided(self) -> None:
        """Its end was given to others."""
        self.divided = True

    def mark_unwanted(self) -> None:
        """Nothing of it is wanted any more."""
        self.unwanted = True

    def mark_replied(self, replies: Sequence[Reply]) -> None:
        """Some of its items have replied."""
        for reply in replies:
            position = self.chunk.position(reply.index, self.answered.first)
            if position >= 0:
                self.answered.add(position)
        self.release_buffers(replies)

    def mark_returned(self, position: int, results: Results) -> None:
        """Some items of its column have."""
        self.answered.add(position, len(results.payloads))

    @property
    def complete(self) -> bool:
        """Whether all its items have replied; a generator's call has when it ends."""
        return bool(self.ahead) or self.answered.first >= len(self.chunk)

    def release_buffers(self, replies: Sequence[Reply]) -> None:
        """Items that have results are not sent again: their shared memory is free for others."""
        lent = self.lent or {}
        for reply in replies:
            item = lent.pop(reply.index, None)
            if item is not None and reply.ok:
                item.buffers = ()

    def joined_by(self, queue: deque[Assignment], size: int) -> int:
        """How many of the calls that wait go to a worker in one message with this one.

        Args:
            queue: What waits.
            size: How many workers there may be.
        """
        chunk = self.chunk
        pace = chunk.job.pace
        if chunk.given is None or pace < 0 or chunk.job.limited:
            return 0  # what is limited is watched from the moment when it is sent
        most = min((len(queue) + 1) // size, _MOST_CALLS, int(_TOGETHER / max(pace, 1e-6))) - 1
        count = 0
        for each in islice(queue, max(0, most)):
            if each.over or each.chunk.given is None or each.chunk.job is not chunk.job:
                break
            count += 1
        return count

    def watch(self, timer: Any) -> None:
        """Have a timer cancelled with it; it watches a limit."""
        self.timers = [*(each for each in self.timers if each.call is not None), timer]
        if self.over:  # meanwhile: no one else takes it back
            self.forget_timers()

    def forget_timers(self) -> None:
        """Watch its limits no more."""
        if self.timers:
            for timer in self.timers:
                timer.cancel()
            self.timers = ()

    # -- by the machine, under the lock --------------------------------------------------------

    def give_back(self) -> None:
        """Its worker has not begun it, and will not: it waits again."""
        self.worker, self.number, self.sent, self.looks = None, 0, False, 0

    def condemn(self, verdict: Verdict, blame: Blame) -> None:
        """Its worker is being killed."""
        self.verdict, self.blame = verdict, blame

    def finish(self) -> None:
        """Its end is about to be told."""
        self.over = True

    def look(self) -> bool:
        """The audit has found it once more. Whether it is lost."""
        if self.sent:
            return False
        self.looks += 1
        return self.looks > _LOOKS
