"""Items that run in the caller's thread, and the little that it takes to run them there.

A script's first map may be all that it does. So what this module needs is soon imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from procession.hints import TYPE_CHECKING, Any
from procession.system import after_fork
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter, time
from procession.worker import current

if TYPE_CHECKING:
    from procession.items import Item, Reply

HELP_AFTER = 5e-3
"""Seconds until the helper looks for the first time whether the pool is to be started."""

HELP_EVERY = 20e-3
"""Seconds between its later looks."""


COMPUTES = 0.3
"""The least share of a processor by which a process computes, and does not wait. A guess."""


def task_here(name: str, nested: str, index: int, attempt: int = 1) -> current.CurrentTask:
    """What `current_task` tells an item that runs in this process."""
    return current.CurrentTask(index, attempt, str(os.getpid()), name, nested)


def attempt(
    task: current.CurrentTask | Callable[[], current.CurrentTask],
    run: Callable[..., Any],
    *args: Any,
) -> tuple[bool, Any]:
    """Run what belongs to an item: whether it passed, and its value or error.

    Raises:
        BaseException: What a signal handler has raised, such as KeyboardInterrupt. It is the
            caller's, never an item's.
    """
    before = current.entered()
    try:
        current.enter(task)
        return True, run(*args)
    except BaseException as error:
        if strikes(error):
            raise
        return False, error
    finally:
        current.leave(before)


def raised_here(error: BaseException, name: str) -> BaseException:
    """What the caller is told of an error of its own function `name`: an item ends no program."""
    if not isinstance(error, (SystemExit, KeyboardInterrupt)):
        return error
    from procession.worker.failures import exited

    return exited(error, name, "in this process")


_cutting = after_fork.lock()
"""One for all of them: it is held for microseconds, and making one takes as long."""


class CallerLoop:
    """Items that run now, whose end the helper thread may take away while they do.

    The values are read by a list's iterator, which says how far it is and sees when the list
    becomes shorter. So the loop is a plain comprehension, over a slice that may be long: what is
    behind an item that takes long is not kept from the pool.

    Attributes:
        start: The index of the first value.
        values: The values; fewer once some were taken away.
        iterator: Over the values, for the loop.
        begin: When it began, by `time.perf_counter`.
        seconds: How long it took.
        out: What came of the values, in order.
        ran: How many values were run without an error.
        error: What ended the loop before the values did.
    """

    __slots__ = (
        "_computed",
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
        self._computed = time.process_time()
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

    def share(self) -> float:
        """How much of the time since it began this process has computed."""
        passed = perf_counter() - self.begin
        return min((time.process_time() - self._computed) / passed, 1.0) if passed > 0 else 1.0

    def so_far(self) -> tuple[int, float] | None:
        """How many items are left, and the seconds that each has taken since the loop began.

        `None` once the loop is over.
        """
        taken = self.taken
        if taken is None:
            return None
        return len(self.values) - taken, (perf_counter() - self.begin) / max(1, taken)

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
        self, loop: Callable[[CallerLoop], None], task: Callable[[int], current.CurrentTask]
    ) -> None:
        """Run the loop over the values: it fills `out`, and its error is `error`.

        Args:
            loop: Takes its values from `iterator`.
            task: The item with this index, for `current_task`.

        Raises:
            BaseException: What a signal handler has raised, such as KeyboardInterrupt. It is the
                caller's, never an item's.
        """
        try:
            ok, out = attempt(lambda: task(self.start + (self.taken or 1) - 1), loop, self)
        finally:
            self.seconds = perf_counter() - self.begin
        if ok:
            self.ran = len(self.out)
        else:
            self.error, self.ran = out, (self.taken or 1) - 1

    def run_alone(self, run: Callable[[Item], Reply]) -> Item:
        """Run the one value as an item of its own; its seconds are those of all its attempts."""
        from procession.items import Item

        item = Item(self.start, next(self.iterator))
        reply = run(item)
        self.seconds = item.seconds + reply.seconds
        if reply.ok:
            self.out, self.ran = [reply.payload], 1
        else:
            self.error = reply.payload
        return item

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
