"""Items that run in the caller's thread, of which the helper thread may take away the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from procession.engine.map.source import Source
from procession.system import after_fork
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter
from procession.worker import current as state

__all__ = ["Running", "Taking"]

_cutting = after_fork.lock()
"""One for all of them: it is held for microseconds, and making one takes as long."""


class Running:
    """The slice that runs now, whose end the helper may take away while it does.

    The values are read by a list's iterator, which says how far it is and sees when the list
    becomes shorter. So a slice may be long without keeping from the pool what is behind an item
    that takes long, and the loop over it is a plain comprehension.

    Attributes:
        start: The index of the first value.
        values: The values; fewer once some were taken away.
        iterator: Over the values, for the loop.
        begin: When it began, by `time.perf_counter`.
        seconds: How long the loop took.
        out: What the loop has given for the values, in order.
        ran: How many values were run without an error.
        error: What ended the loop before the values did.
    """

    __slots__ = (
        "_cut",
        "_looked",
        "begin",
        "error",
        "iterator",
        "out",
        "ran",
        "seconds",
        "start",
        "values",
    )

    def __init__(self, start: int, values: list[Any]) -> None:
        self.start = start
        self.values = values
        self.iterator: Any = iter(values)
        self.begin = perf_counter()
        self.seconds = 0.0
        self.out: list[Any] = []
        self.error: BaseException | None = None
        self.ran = 0
        self._looked = (self.begin, 0)
        self._cut: tuple[int, list[Any]] | None = None

    @property
    def taken(self) -> int | None:
        """How many values the loop has taken; `None` once it has seen the end."""
        reduced = self.iterator.__reduce__()
        return reduced[2] if len(reduced) > 2 else None

    def pace(self) -> tuple[int, float] | None:
        """How many items are left, and the seconds that each took since the last look.

        `None` once the loop is over. An item that has run for long counts for what it has run.
        """
        taken = self.taken
        if taken is None:
            return None
        (since, before), now = self._looked, perf_counter()
        if taken > before:
            self._looked = now, taken
        return len(self.values) - taken, (now - since) / max(1, taken - before)

    def cut(self, give: Callable[[int, list[Any]], None]) -> None:
        """Take away the values that the loop has not taken yet, and give them."""
        with _cutting:
            taken = self.taken
            if taken is None or self._cut is not None:
                return
            taken = max(1, taken)  # the first is always the loop's
            self._cut = taken, self.values[taken:]
            del self.values[taken:]
            # The loop may have gone on in between, but takes nothing more that was cut off. Had it
            # seen the end, then how far it came only the loop knows.
            since = self.taken
            if since is not None:
                self._settle(max(taken, since), give)

    def run(
        self, loop: Callable[[Running], None], task: Callable[[int], state.CurrentTask]
    ) -> None:
        """Run the loop over the values: it fills `out`, and its error is `error`.

        Args:
            loop: Takes its values from `iterator`.
            task: The item with this index, for `current_task`.

        Raises:
            BaseException: What a signal handler has raised, such as KeyboardInterrupt. It is the
                caller's, never an item's.
        """
        before = state.entered()
        try:
            state.enter(lambda: task(self.start + (self.taken or 1) - 1))
            loop(self)
        except BaseException as raised:
            if strikes(raised):
                raise
            self.error = raised
        finally:
            state.leave(before)
            self.seconds = perf_counter() - self.begin
        self.ran = len(self.out) if self.error is None else (self.taken or 1) - 1

    def end(self, taken: int, give: Callable[[int, list[Any]], None]) -> None:
        """The loop is over and took so many values: give what was cut off behind them."""
        with _cutting:
            self._settle(taken, give)

    def _settle(self, taken: int, give: Callable[[int, list[Any]], None]) -> None:
        if self._cut is None:
            return
        at, tail = self._cut
        self._cut = None
        self.values.extend(tail[: taken - at])
        give(self.start + taken, tail[taken - at :])


class Taking(Running):
    """The same over input that runs code of the user's: it is taken while the loop runs.

    An item is run before the next one is made, as in a plain loop: its maker may use the same
    memory for both. So there is nothing to be taken away but the right to take more.
    """

    __slots__ = ("_budget", "_source")

    def __init__(
        self, source: Source, most: int, check: Callable[[int, Any], None] | None = None
    ) -> None:
        super().__init__(source.taken, [])
        self._source = source
        self._budget: list[None] = [None] * most
        self.iterator = source.each(self.values, self._budget, check)

    @property
    def taken(self) -> int | None:
        """How many values the loop has taken."""
        return len(self.values)

    def cut(self, give: Callable[[int, list[Any]], None]) -> None:
        """Have the loop take no more."""
        del self._budget[1:]

    def run(
        self, loop: Callable[[Running], None], task: Callable[[int], state.CurrentTask]
    ) -> None:
        """Run the loop over the input, as `Running.run` does."""
        try:
            super().run(loop, task)
        finally:
            self._source.taken += len(self.values)
