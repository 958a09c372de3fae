"""A chunk that was given to a pool, and a worker of it: what they are at, one by one.

A chunk's assignment:

    WAITING ──► ASSIGNED ──► RUNNING ──► OVER
       │            └────► CONDEMNED ─────┤
       └──────────────────────────────────┘  (taken back, or refused)

A worker:

    STARTING ──► IDLE ◄──► BUSY ──► RETIRING ──► DEAD ──► GONE
        └─────────┴─────────┴─────► CONDEMNED ────┘

`RETIRING` was told to end in order, `CONDEMNED` is being killed. Of `DEAD`, what it said last is
still to be read: until it is `GONE` it may hold a chunk. `PoolState` makes these steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from procession.contract import Answered, Chunk
from procession.hints import Any, Literal
from procession.items import Item, Reply, Results
from procession.system import NamedTuple

__all__ = ["Assignment", "Blame", "Verdict", "WorkerState"]

_LOOKS = 10
"""A chunk that the audit has found so often assigned to a worker, but not sent, is lost."""

Verdict = Literal["timeout", "memory", "cancelled"]
Phase = Literal["starting", "idle", "busy", "retiring", "condemned", "dead", "gone"]

STARTING: Phase = "starting"
IDLE: Phase = "idle"
BUSY: Phase = "busy"
RETIRING: Phase = "retiring"
CONDEMNED: Phase = "condemned"
DEAD: Phase = "dead"
GONE: Phase = "gone"

_UP = (IDLE, BUSY)
STAYING = (STARTING, IDLE, BUSY)


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


class WorkerState:
    """One worker, as the machine sees it.

    Attributes:
        state: Where it stands, one of the module's states.
        ready: Whether it was ever ready.
        in_order: Whether it was told to end in order.
        assignment: The chunk it has.
        behind: Calls that it was given behind that one (`procession.process.pool.calls_behind`).
        looks: How often those were looked at since they were given, or began to be taken back.
        back: The number of the call after which they are taken back; `None` if they are not.
        tasks: How many items it was given.
        chunks: How many chunks it was given.
        since: When it began to start, or became idle.
    """

    def __init__(self) -> None:
        self.state: Phase = STARTING
        self.ready = False
        self.in_order = False
        self.assignment: Assignment | None = None
        self.behind: deque[Assignment] = deque()
        self.looks = 0
        self.back: int | None = None
        self.tasks = 0
        self.chunks = 0
        self.since = 0.0

    @property
    def up(self) -> bool:
        """Whether it does work, or could."""
        return self.state in _UP

    @property
    def stopping(self) -> bool:
        """Whether it was told to end, is being killed, or is dead."""
        return self.state not in STAYING

    def assign(self, assignment: Assignment) -> None:
        """It has a chunk."""
        self.assignment, assignment.worker = assignment, self
        self.state = BUSY
        self.tasks += assignment.items
        self.chunks = assignment.number = self.chunks + 1
        self.looks, self.back = 0, None

    def follow(self) -> None:
        """It has calls behind its chunk, which are given with that."""
        for each in self.behind:
            each.worker = self
            self.tasks += 1
            self.chunks = each.number = self.chunks + 1

    def takes_calls(self, assignment: Assignment) -> bool:
        """Whether it can be given calls like this one behind it."""
        return False

    def look(self) -> int:
        """What is behind its chunk was looked at once more. How often, by now."""
        self.looks += 1
        return self.looks

    def take_back(self, after: int) -> None:
        """The calls after this one are being taken back."""
        self.looks, self.back = 0, after

    def give_back(self, after: int) -> list[Assignment]:
        """The calls after this one are not run here. Gives them, in order."""
        self.back, self.looks = None, 0
        back = [each for each in self.behind if each.number > after]
        for _ in back:
            self.behind.pop()
        for each in back:
            each.give_back()
        return back

    def unbegin(self) -> list[Assignment]:
        """It has its chunk, and what is behind that, no more, and has begun none of them."""
        back = [] if self.assignment is None else [self.assignment]
        self.assignment = None
        for each in back:
            each.give_back()
        return back + self.give_back(0)

    def release(self) -> Assignment | None:
        """Its chunk, if it has one, is over with it."""
        assignment = self.assignment
        if assignment is not None:
            assignment.over = True
            self.assignment = None
        return assignment

    def finish(self, now: float, most: int | None) -> bool:
        """Its chunk is over. Whether it waits for the next one: not if it has had so many items."""
        assignment = self.assignment
        if assignment is not None:
            assignment.over = True  # first: what interrupts this finds its end to be told
            self.assignment = self.behind.popleft() if self.behind else None
        if self.assignment is not None or self.state != BUSY:
            return False  # it died meanwhile
        if most is not None and self.tasks >= most:
            self.retire()
            return False
        self.state = IDLE
        self.since = now
        return True

    def begin(self, now: float) -> None:
        """Its process was started."""
        self.since = now

    def set_up(self) -> None:
        """It has said that it is ready, though it may be dead by now."""
        self.ready = True

    def rest(self, now: float) -> None:
        """It is set up, and waits for its first chunk."""
        self.ready = True
        self.state = IDLE
        self.since = now

    def retire(self) -> None:
        """It is to end in order."""
        self.in_order = True
        self.state = RETIRING

    def condemn(self) -> None:
        """It is being killed."""
        if self.state not in (DEAD, GONE):
            self.state = CONDEMNED

    def die(self) -> None:
        """Its death was seen."""
        self.ready = self.ready or self.stopping  # what we have ended has not failed to start
        self.state = DEAD

    def leave(self) -> None:
        """Its place is free."""
        self.state = GONE
