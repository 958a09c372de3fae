"""A worker of a pool: what it is at.

    STARTING ──► IDLE ◄──► BUSY ──► RETIRING ──► DEAD ──► GONE
        └─────────┴─────────┴─────► CONDEMNED ────┘

`RETIRING` was told to end in order, `CONDEMNED` is being killed. Of `DEAD`, what it said last is
still to be read: until it is `GONE` it may hold a chunk. `PoolState` makes these steps.
"""

from __future__ import annotations

from collections import deque

from procession.hints import Literal
from procession.process.pool.assignment import Assignment

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


class WorkerState:
    """One worker, as the machine sees it.

    Attributes:
        state: Where it stands; see above.
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
