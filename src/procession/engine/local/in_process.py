"""The one way in which an item runs in this process: as it would in a worker, as far as can be.

Single calls, threads as workers, slices of maps and short maps use it. Here is written what an item
is given (arguments, seed, its task), what of its errors is an answer, and what counts as its time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from procession.contract import Item, Reply
from procession.decoration import kind
from procession.engine.arguments import way
from procession.engine.call import Call
from procession.engine.decoding import again, pause_before
from procession.engine.local.crossing import across, crossing
from procession.engine.map.source import Source
from procession.engine.policy.blame import Rules
from procession.hints import Any
from procession.system import after_fork
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter, time
from procession.worker import current as state
from procession.worker.failures import exited
from procession.worker.job_header import CommonArguments, Header, Style, call_with

__all__ = [
    "Running",
    "each_value",
    "every_value",
    "header_here",
    "initialized",
    "raised_here",
    "reply_here",
    "task_here",
]


def header_here(
    call: Call,
    style: Style,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    common: tuple[bytes, Any] | None = None,
) -> Header:
    """The job as it is run in this process.

    Args:
        call: What is called.
        style: How an item is handed over.
        args: Positional arguments that go to every item.
        kwargs: Keyword arguments that go to every item.
        common: All of these, pickled, if each item is to be given a copy (`Job.common`).
    """
    kwargs = kwargs or {}
    settings = call.settings(style)
    function = call.function
    if kind(function) == "coroutine":
        function = partial(_run_coroutine, function)
    copies = None
    if common is not None:
        loaded = way((*call.prefix, *args, *kwargs.values()), common[0])
        copies = CommonArguments(*common, settings._replace(common=loaded), call.function)
    return Header(function, call.prefix, args, kwargs, settings, common=copies)


def initialized(call: Call) -> Call:
    """The call as it runs in this process, where its initializer has run first.

    If that failed, its error is the answer to each item, as in a worker.
    """
    options = call.options
    if options.initializer is None:
        return call
    from procession.worker.preparing import run_initializer_here

    error = run_initializer_here(options.initializer, options.initargs)
    return call if error is None else call._replace(function=partial(_raise, error))


def _raise(error: BaseException, /, *args: Any, **kwargs: Any) -> Any:
    raise error


def _run_coroutine(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What a call of an ``async def`` function comes to, as it would in a worker."""
    import asyncio

    return asyncio.run(function(*args, **kwargs))


# -- one item ------------------------------------------------------------------------------------


def task_here(name: str, nested: str, index: int, attempt: int = 1) -> state.CurrentTask:
    """What `current_task` tells an item that runs in this process."""
    return state.CurrentTask(index, attempt, str(os.getpid()), name, nested)


def _attempt(
    task: state.CurrentTask | Callable[[], state.CurrentTask], run: Callable[..., Any], *args: Any
) -> tuple[bool, Any]:
    """Run what belongs to an item: whether it passed, and its value or error.

    Raises:
        BaseException: What a signal handler has raised, such as KeyboardInterrupt. It is the
            caller's, never an item's.
    """
    before = state.entered()
    try:
        state.enter(task)
        return True, run(*args)
    except BaseException as error:
        if strikes(error):
            raise
        return False, error
    finally:
        state.leave(before)


def _value(header: Header, item: Item) -> Any:
    if crossing():
        return across(header, item.value)
    if header.settings.seed is None:
        return call_with(header, item.value)
    from procession.worker.seeding import preserve, seeded

    with preserve(), seeded(header.settings.seed, item.index):
        return call_with(header, item.value)


def reply_here(header: Header, rules: Rules | None, item: Item) -> Reply:
    """Run one item in this thread as a worker would; the reply holds the objects themselves.

    Args:
        header: The job.
        rules: Say after which errors it runs again; `None` if that is decided elsewhere.
        item: The item, which counts its attempts and the seconds of those that failed.

    Raises:
        BaseException: What a signal handler has raised. It is the caller's, not the item's.
    """
    settings = header.settings
    while True:
        task = task_here(settings.name, settings.nested, item.index, item.attempt)
        begin = perf_counter()
        ok, value = _attempt(task, _value, header, item)
        seconds = perf_counter() - begin
        if not ok:
            value = raised_here(value, settings.name)
            if rules is not None and again(item, value, rules):
                item.seconds += seconds
                try:
                    time.sleep(pause_before(item, rules))
                    continue
                except BaseException as error:
                    if strikes(error):
                        raise
                    value, seconds = error, 0.0
        return Reply(item.index, ok, value, (), seconds, True)


def raised_here(error: BaseException, name: str) -> BaseException:
    """What the caller is told of an error of its own function `name`: an item ends no program."""
    ends = isinstance(error, (SystemExit, KeyboardInterrupt))
    return exited(error, name, "in this process") if ends else error


# -- many items ----------------------------------------------------------------------------------


def every_value(header: Header, function: Callable[..., Any], left: Iterator[Any]) -> list[Any]:
    """The values of all items: a comprehension, since nothing else is as fast as a loop.

    Args:
        header: Says how an item is handed over.
        function: What is called, with what is bound to it.
        left: The items.
    """
    args, kwargs = header.args, header.kwargs
    if header.common is not None:
        return [function(value) for value in left]
    if header.settings.style == "star":
        return [function(*value, *args, **kwargs) for value in left]
    if args or kwargs:
        return [function(value, *args, **kwargs) for value in left]
    return [function(value) for value in left]


def each_value(
    header: Header, function: Callable[..., Any], left: Iterator[Any], give: Callable[[Any], None]
) -> None:
    """The same one by one: those before an error are given."""
    args, kwargs = header.args, header.kwargs
    if header.common is None and header.settings.style == "star":
        for value in left:
            give(function(*value, *args, **kwargs))
    elif header.common is None and (args or kwargs):
        for value in left:
            give(function(value, *args, **kwargs))
    else:
        for value in left:
            give(function(value))


_cutting = after_fork.lock()
"""One for all of them: it is held for microseconds, and making one takes as long."""


class Running:
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
        try:
            ok, out = _attempt(lambda: task(self.start + (self.taken or 1) - 1), loop, self)
        finally:
            self.seconds = perf_counter() - self.begin
        if ok:
            self.ran = len(self.out)
        else:
            self.error, self.ran = out, (self.taken or 1) - 1

    def run_alone(self, run: Callable[[Item], Reply]) -> Item:
        """Run the one value as an item of its own; its seconds are those of all its attempts."""
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
