"""What the loop over a column tells, and where it puts what comes of the items."""

from __future__ import annotations

import math

from procession.hints import Any
from procession.items import UNTIL, Reply, Results
from procession.system.pristine import perf_counter


class ColumnSink:
    """Is told which item runs, and takes what comes of each, until it is collected.

    This one tells no one before all is done. A worker's own overrides what it is told by.

    Args:
        words: As below; its own, if none are shared with a caller.
        wants_each: As below.

    Attributes:
        words: Told which item runs (`RUNNING`), and may hold `chunk` (`STOP`): then the items
            after that one are not to be run. If it holds its negative, they may be run that take
            no longer than to give them back.
        chunk: What the column is called there.
        payloads: Takes the results, as in `items.Results`.
        spent: How many seconds the function has run, since `collect`.
        each: Takes the seconds of each item, before its result, if `wants_each`.
        limited: Whether each item's begin and end must be told.
        replies: Of those items that have no plain result.
    """

    def __init__(self, words: Any = None, *, wants_each: bool = False) -> None:
        self.words = [0] * (UNTIL + 1) if words is None else words
        self.chunk = 1
        self.payloads: list[Any] = []
        self.spent = 0.0
        self.each: list[float] = []
        self.wants_each = wants_each
        self.limited = False
        self.replies: list[Reply] = []
        self._places: list[int] = []
        self._extras: list[bytes] = []
        self._collected = 0
        self._began = perf_counter()
        self._running_since = 0.0

    def runs(self, now: float) -> None:
        """Some items begin now."""
        self._running_since = now

    def ran(self, now: float, aside: float) -> None:
        """They have ended. For so many seconds `aside` it was not their function that ran."""
        self.spent += max(0.0, now - self._running_since - aside)
        self._running_since = 0.0

    def begin(self, index: int) -> None:
        """An item begins, whose time is limited."""

    def end(self) -> None:
        """It has ended."""

    def odd(self, reply: Reply) -> None:
        """Take the reply of the next item, which has no plain result."""
        self._places.append(self._collected + len(self.payloads))
        self.replies.append(reply)
        if self.wants_each:
            self.each.append(reply.seconds)
        self.payloads.append(None)

    def extras(self, extras: bytes | None) -> None:
        """Take what an item has logged and warned."""
        if extras is not None:
            self._extras.append(extras)

    def flush(self) -> float:
        """Send what there is. When to send the next ones, by `perf_counter`."""
        return math.inf

    def collect(self) -> tuple[int, Results]:
        """What there is by now, and the position in the column where it begins.

        Another thread may add results meanwhile: the lists stay, and only their beginning is taken.
        """
        position, count = self._collected, len(self.payloads)
        payloads, each, extras = self.payloads[:count], self.each[:count], self._extras[:]
        del self.payloads[:count], self.each[:count], self._extras[: len(extras)]
        odd = [(at - position, reply) for at, reply in zip(self._places, self.replies, strict=True)]
        self._places, self.replies = [], []
        self._collected += count
        now = perf_counter()
        if self._running_since:  # items run meanwhile
            self.spent += now - self._running_since
            self._running_since = now
        spent, self.spent = self.spent, 0.0
        span, self._began = now - self._began, now
        return position, Results(payloads, spent, 0, odd, each, extras, span)
