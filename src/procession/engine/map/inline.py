"""Running items in the caller's own thread, while that is the fastest way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MethodType

from procession.engine.local.caller_loop import (
    COMPUTES,
    HELP_AFTER,
    HELP_EVERY,
    CallerLoop,
    raised_here,
    task_here,
)
from procession.engine.local.crossing import Budget, Checks, item_refusal, result_refusal
from procession.engine.local.in_process import each_value, every_value, reply_here
from procession.engine.local.where import Where
from procession.engine.map.map_run import MapRun
from procession.engine.map.source import Taking
from procession.engine.policy.placement import Placement
from procession.hints import Any
from procession.items import Item, Reply, Settled
from procession.observer import UNOBSERVED
from procession.system import NamedTuple, after_fork
from procession.system.alarm import Timer, after, short_turns
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter
from procession.user_threads import user_threads
from procession.worker import current
from procession.worker.job_header import Header

_SLICE_SECONDS = 4e-3
"""A slice of tiny items grows to about this long; short next to what anyone would notice."""

_SLICE_ITEMS = 4096
"""Most items in a slice whose results go on bit by bit. A slice costs some 10 µs by itself, and
longer ones fall out of the processor's nearest cache: 1.3 times the bare loop at 65,536."""

_WHOLE_ITEMS = 1 << 20
"""Most items in a slice of a map whose results are all kept: its results need no copy then."""

_GROWTH = 8
_WHOLE_GROWTH = 64
"""A slice is at most so many times longer than the one before, since times may rise again."""


class Slice(NamedTuple):
    """Items that were just run here: consecutive values, and the error that came after them.

    `refused` has the errors of those values that could not have come back from a worker, by index.
    Where a map ends with its first error, that is `error`.
    """

    start: int
    values: list[Any]
    error: Settled | None = None
    refused: Mapping[int, BaseException] | None = None


class Inline:
    """Runs slices of a map's input in the calling thread.

    Args:
        run: The map.
        header: The function and the arguments that go to every item.
        where: Where the map's items run.
        warm: Whether a pool is up, which items can go to.
        single: Run one item at a time: each is timed (`outcomes`), or the input may wait for the
            results of earlier items (`imap` over a generator).
        whole: An error ends the map: values before it in its slice need not be kept.
    """

    def __init__(
        self,
        run: MapRun,
        header: Header,
        where: Where,
        *,
        warm: bool,
        single: bool = False,
        whole: bool = False,
    ) -> None:
        self._run = run
        self._header = header
        self._alone, self._warm = where.here, warm
        self._whole = whole
        self._size = 1
        rules, seed = run.plan.rules, header.settings.seed
        retries = bool(rules.retries and rules.retry_on)
        self._single = single or seed is not None or where.crosses or retries
        self._item: Item | None = None
        self._running: CallerLoop | None = None
        self._function: Callable[..., Any] = header.function
        for bound in header.prefix if header.copies is None else ():
            self._function = MethodType(header.function, bound)
        self._function, self._each_took = run.observer.timed(self._function)
        if header.copies is not None:
            star = header.settings.style == "star"
            self._function = header.copies.calling(self._function, star=star)
        self._alarm: Timer | None = None
        self._going = self._ended = False
        self._shortened: list[bool] = []
        self._checked = where.here and not where.checks
        self._budget = Budget()
        self._items, self._results = self._checks(where)
        # What is at hand anyhow, and whose results are all kept, need not be taken bit by bit.
        free = whole and run.intake.source.inert
        self._most = _WHOLE_ITEMS if free else min(_SLICE_ITEMS, run.plan.window)
        self._growth = _WHOLE_GROWTH if whole else _GROWTH
        self._last: Sequence[Any] = ()
        self.seconds = 0.0
        """How long the last slice took."""

    def begin(self) -> None:
        """Run items here from now on."""
        self._run.sender.run_here()

    def end(self) -> None:
        """The map is over."""
        self._ended = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._restore_turns()

    def _shorten_turns(self) -> None:
        """Have short turns while a pool starts and this process runs items, until it is over."""
        if not self._shortened:
            short_turns.__enter__()
            self._shortened.append(True)
            if self._ended:
                self._restore_turns()

    def _restore_turns(self) -> None:
        try:
            self._shortened.pop()
        except IndexError:
            return
        short_turns.__exit__(None, None, None)

    def cancel(self) -> None:
        """End the map."""
        self._run.cancel()
        self.end()

    @property
    def active(self) -> bool:
        """Whether the next items are to be run here."""
        return self._run.sender.here and self._run.intake.any

    def help(self, then: Callable[[], None] | None = None) -> None:
        """In the helper thread: start and feed the pool, if that is worth it or an item hangs.

        Args:
            then: Is called once the pool has been given items, or is not to be.
        """
        run = self._run
        self._alarm = None
        if run.closed or (run.replies.count and not run.sender.here):
            self._restore_turns()
            if then is not None:
                then()
            return
        placement, running = run.plan.placement, self._running
        pace = running.pace() if running is not None else None
        if placement is not None and self._leaves(placement, pace):
            placement.starts()
            if running is not None and pace is not None:
                run.sender.accompany(running.share() > COMPUTES)
                run.sender.hold_up(True)
                running.cut(run.intake.give_back)
            if not self._going:
                self._going = True
                self._shorten_turns()  # from here on, as other threads wait for their turns
                user_threads.run_soon(partial(self._go, then))
                then = None
        self._alarm = after(HELP_EVERY, self.help)
        if then is not None:
            then()

    def _go(self, then: Callable[[], None] | None) -> None:
        """In a user thread, as to pickle items runs code of the user's."""
        try:
            self._run.go()
        except Exception:
            pass  # said again, to the caller, when it pumps
        finally:
            self._going = False
            if then is not None:
                then()

    def _leaves(self, placement: Placement, pace: tuple[int, float] | None) -> bool:
        """Whether the pool had better have the rest, also of the slice that runs.

        Args:
            placement: What is known of the items.
            pace: How many are left of that slice, and what each took of late.
        """
        left, seconds = pace if pace is not None else (0, None)
        remaining = self._run.intake.remaining
        if remaining is not None:
            remaining += left
        if remaining == 0 or not (left or self._run.intake.any):
            return False
        warm = self._warm or self._run.replies.count > 0
        return placement.leaves(remaining, seconds, warm=warm)

    def adopt(self, running: CallerLoop) -> None:
        """All of the input runs here already, since before there was a map: see to it, too."""
        self._checked = True
        self.begin()
        self._running = running
        self._run.intake.take_here(len(running.values))
        after_fork.register(self._run)

    # -- slices ------------------------------------------------------------------------------

    def slice(self) -> Slice:
        """Run some items here.

        Raises:
            BaseException: What a signal handler has raised, such as KeyboardInterrupt. It is the
                caller's, never an item's.
        """
        source = self._run.intake.source
        taken: Sequence[Any] | None = None
        start = 0
        if self._single or source.inert or not self._checked:
            count, sender = 1 if self._single else self._size, self._run.sender
            start, taken = self._run.intake.take_here(count, sender.runs_here)
            if not taken:
                return Slice(start, [])
            passed = self._passed(start, taken)
            if isinstance(passed, Slice):
                return passed
            taken = passed
        if self._alarm is None and not self._alone:
            after_fork.register(self._run)  # which has another thread from now on
            self._alarm = after(HELP_AFTER, self.help)
        if taken is None:
            check = None if self._items is None else self._items.one
            running: CallerLoop = Taking(source, self._size, check)
        else:
            running = CallerLoop(start, taken if isinstance(taken, list) else list(taken))
        self._running = running
        try:
            if self._single:
                reply = partial(reply_here, self._header, self._run.plan.rules)
                self._item = running.run_alone(reply)
            else:
                running.run(self._loop, self._task)
        finally:
            self._running = None
        return self.over(running)

    def over(self, running: CallerLoop) -> Slice:
        """What came of items that ran here."""
        self._running = None
        self._run.sender.hold_up(False)
        running.end(running.ran + (running.error is not None), self._run.intake.give_back)
        self.seconds = running.seconds
        self._budget.add(running.ran, running.seconds)
        self._last = running.values
        return self._done(running)

    def _loop(self, running: CallerLoop) -> None:
        if self._whole:
            running.out = every_value(self._header, self._function, running.iterator)
        else:
            each_value(self._header, self._function, running.iterator, running.out.append)

    def _task(self, index: int) -> current.CurrentTask:
        return task_here(self._header.settings.name, self._header.settings.nested, index)

    def _checks(self, where: Where) -> tuple[Checks | None, Checks | None]:
        """What checks the items, unless they are plain by themselves, and the results."""
        if not where.checks:
            return None, None
        run, settings = self._run, self._header.settings
        pickling = settings.pickling
        results = Checks(result_refusal(settings.name, pickling), pickling, self._budget)
        if run.intake.source.plain:
            return None, results
        refusal, star = item_refusal(run.plan.pack), settings.style == "star"
        return Checks(refusal, pickling, self._budget, star=star), results

    def _passed(self, start: int, values: Sequence[Any]) -> Sequence[Any] | Slice:
        """Those values, from the first one on, that can cross; or the first one's error."""
        if not self._checked:
            refused = self._check(start, values)
            return values if refused is None else refused
        if self._items is None:
            return values
        begin = perf_counter()
        found = self._items.first(start, values, len(values))
        if found is None:
            return values
        if not found.at:
            return self._refuse(start, values, found.error, begin)
        self._run.intake.give_back(start + found.at, values[found.at :])
        return values[: found.at]

    def _check(self, start: int, values: Sequence[Any]) -> Slice | None:
        """The first item must be able to cross, wherever it runs."""
        self._checked = True
        begin = perf_counter()
        try:
            item = self._run.plan.pack(start, values[0])
        except Exception as error:
            if strikes(error):
                raise
            return self._refuse(start, values, error, begin)
        if self._run.plan.placement is not None:
            self._run.plan.placement.packed(1, perf_counter() - begin, item.size)
        return None

    def _refuse(
        self, start: int, values: Sequence[Any], error: BaseException, begin: float
    ) -> Slice:
        """The first of these cannot cross."""
        self._run.intake.give_back(start + 1, values[1:])
        self._run.observer.packed(begin, refused=1)
        return Slice(start, [], Settled(Item(start, values[0]), None, error))

    def _refused_results(
        self, start: int, out: list[Any], values: list[Any]
    ) -> tuple[list[Any], Settled | None, dict[int, BaseException]]:
        """What is left of results if some of them could not have come back from a worker."""
        found: dict[int, BaseException] = {}
        at = 0
        while self._results is not None and at < len(out):
            refused = self._results.first(start + at, out[at:] if at else out)
            if refused is None:
                break
            at += refused.at
            index = start + at
            if self._whole:
                return out[:at], self._settle(index, values[at], refused.error, 0.0, ok=False), {}
            found[index] = refused.error
            at += 1
        return out, None, found

    def _done(self, running: CallerLoop) -> Slice:
        run, start, values, out = self._run, running.start, running.values, running.out
        ran, error, seconds = running.ran, running.error, running.seconds
        if run.observer is not UNOBSERVED:  # else the values need not be copied
            these = values[: ran + (error is not None)]
            run.observer.ran_here(start, these, seconds, error is not None, self._each_took)
            run.observer.retried_here(0 if self._item is None else self._item.attempt - 1)
        failed: Settled | None = None
        refused: Mapping[int, BaseException] = {}
        if error is None or not self._whole:
            out, failed, refused = self._refused_results(start, out, values)
        if error is not None:
            out = out or [None] * ran  # of a whole map that now ends with this error
            run.intake.give_back(start + ran + 1, values[ran + 1 :])
            error = raised_here(error, self._header.settings.name)
            failed = self._settle(start + ran, values[ran], error, seconds, ok=False)
        placement = run.plan.placement
        if placement is not None:
            placement.ran(ran + (error is not None), seconds)
            run.plan.schedule.observe(ran, seconds)
        if not self._single:
            self._grow(seconds, len(values))
        if not self._alone and placement and not placement.here(run.intake.remaining):
            if self._warm or (run.replies.count and self._leaves_off(placement)):
                run.sender.run_there()
                self._restore_turns()
                run.go()
            elif not run.sender.started:
                placement.ran_alone(seconds)
        return Slice(start, out, failed, refused)

    def _leaves_off(self, placement: Placement) -> bool:
        """Whether this thread is to run no more items, now that the pool has run some.

        Else it goes on as one of those at work, in place of the last worker.
        """
        intake, sender = self._run.intake, self._run.sender
        stays = sender.accompanied and intake.source.inert
        return not stays or placement.worth_another_worker(intake.remaining)

    def settled(
        self,
        start: int,
        values: Sequence[Any],
        refused: Mapping[int, BaseException] | None = None,
    ) -> list[Settled]:
        """The last slice's values as settled items; each is timed alone where it ran alone."""
        seconds = self.seconds / max(1, len(values))
        settled: list[Settled] = []
        for index, (value, result) in enumerate(zip(self._last, values, strict=False), start):
            error = refused.get(index) if refused else None
            came = result if error is None else error
            settled.append(self._settle(index, value, came, seconds, ok=error is None))
        return settled

    def _settle(self, index: int, value: Any, came: Any, seconds: float, *, ok: bool) -> Settled:
        """The item is over; `seconds` are those of all its attempts."""
        item = self._item or Item(index, value)
        return Settled(item, Reply(index, ok, came, (), max(0.0, seconds - item.seconds), True))

    def _grow(self, seconds: float, count: int) -> None:
        """Longer slices for shorter items."""
        most = min(count * self._growth, self._most)
        size = int(_SLICE_SECONDS * count / seconds) if seconds > 0 else most
        self._size = max(1, min(size, most))
