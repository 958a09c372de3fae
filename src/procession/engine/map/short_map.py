"""Short maps: their items run here before anything is made that a pool, or a window, would need.

The loop over three tiny items takes a microsecond, and making a map takes a hundred. Should the
items take their time after all, the helper thread makes the map and goes on as for any other.

A script's first map is one of these, however many its items: what pools need takes longer to import
than many scripts run. So nothing of it is imported until the items have shown that it is worth it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from itertools import islice

from procession.engine.call import Call
from procession.engine.local.caller_loop import (
    COMPUTES,
    HELP_AFTER,
    HELP_EVERY,
    CallerLoop,
    raised_here,
    task_here,
)
from procession.engine.local.first_pool import MainThreadPause
from procession.engine.policy.placement import Pace, Placement
from procession.functions.needs import modules_to_import, needs_cloudpickle, surely_crosses
from procession.hints import TYPE_CHECKING, Any
from procession.pickling.objects import ATOMS, SCALARS, all_are
from procession.start_costs import start_costs
from procession.system import after_fork, cpython
from procession.system.alarm import Timer, after, short_turns
from procession.system.cpython import pickle
from procession.system.pristine import perf_counter
from procession.worker import current

if TYPE_CHECKING:
    from procession.engine.map.inline import Inline, Slice

SHORT = 64
"""Items of a short map. A guess: so many are soon run, or else soon looked at by the helper."""

_MOST_ROWS = 1 << 16
"""More items than these are looked through bit by bit, by a map, if they are no numbers."""

_SAMPLE = 16
"""Items that are pickled to see what that takes."""

_GROWTH = 8
_SLICE = 2e-3
"""A slice grows to so many seconds: how soon the main thread hears what the helper asks for."""


def _are_rows(values: Sequence[Any]) -> bool:
    if len(values) > _MOST_ROWS:
        return False
    from procession.pickling.immutable import never_change

    return never_change(values)


def none_open() -> bool:
    """Whether no pool is open: so it is, if what keeps them is not loaded."""
    registry = cpython.loaded("procession.backends.registry")
    return registry is None or bool(registry.none_open())


_adopting = after_fork.lock()
"""One for all maps: it is held while a slow one is made, which takes less than a millisecond."""


class ShortMap:
    """A short map whose items run in the calling thread.

    Args:
        call: The call, of a function that is given nothing but the item.
        items: All of the input.
        pace: What is known of the function.
    """

    __slots__ = (
        *(
            "_alarm",
            "_alone",
            "_budget",
            "_call",
            "_context",
            "_pause",
            "_made",
            "_may_copy",
            "_over",
            "_pace",
            "_packed",
        ),
        "_running",
    )

    def __init__(
        self,
        call: Call,
        items: Sequence[Any],
        pace: Pace,
    ) -> None:
        self._alarm: Timer | None = None
        self._budget: Any = None
        self._pause = MainThreadPause()
        self._may_copy = True  # as far as is known
        self._call = call
        self._alone = call.options.inline is True  # no pool ever has any of it
        self._pace = pace
        self._packed: tuple[int, float, int] | None = None
        self._context = copy_context()
        self._running = CallerLoop(0, list(items))
        self._made: tuple[Inline, Callable[[Slice], list[Any]]] | None = None
        self._over = False

    def passes(self) -> bool:
        """Whether the items can cross. Why not, a map of them says.

        Raises:
            NotPicklable: The function cannot cross.
        """
        call, values = self._call, self._running.values
        pickling = call.options.pickling
        plain = all_are(values, SCALARS) or self._see_rows(values)
        if plain and surely_crosses(call.function, call.decorated):
            return True
        from procession.functions.packed_function import dump_watched

        dump_watched(call.function, call.decorated, pickling)
        if plain:
            return True
        if len(values) > SHORT:
            return False
        from procession.engine.local.crossing import Budget, Checks, item_refusal
        from procession.engine.packing import packer
        from procession.system.interrupts import strikes

        begin = perf_counter()
        pack = packer(call)
        try:
            item = pack(0, values[0])
        except Exception as error:
            if strikes(error):
                raise
            return False
        self._packed = 1, perf_counter() - begin, item.size
        self._budget = Budget()
        checks = Checks(item_refusal(pack), pickling, self._budget)
        return len(values) == 1 or checks.first(1, values[1:]) is None

    def _see_rows(self, values: Sequence[Any]) -> bool:
        """Whether many items are texts, rows and the like, which can cross, but not for nothing."""
        if len(values) <= SHORT or not _are_rows(values):
            return False
        if not self._alone:
            some, begin = values[:_SAMPLE], perf_counter()
            size = sum([len(pickle.dumps(value, 5)) for value in some])
            self._packed = len(some), perf_counter() - begin, size
        return True

    def _placement(self, *, copy: bool = False) -> Placement:
        loaded = cpython.loaded("procession.backends.process") is not None
        workers = self._call.options.workers
        made = Placement(
            workers,
            self._pace,
            loaded=loaded,
            costs=start_costs,
            copy=copy,
            modules=partial(modules_to_import, self._call.function),
        )
        if self._packed is not None:
            made.packed(*self._packed)
        return made

    def results(self) -> list[Any]:
        """All values, in input order.

        Raises:
            BaseException: As `collect` in `engine.map.results`.
        """
        running = self._running
        try:
            if not self._alone:
                self._alarm = after(HELP_AFTER, self._help)
            running.run(self._loop, self._task)
            self._over = True
            if self._alarm is not None:
                self._alarm.cancel()
            with _adopting:
                made = self._made
            first = None if made is None else made[0].over(running)
        except BaseException:
            self._cancel()
            raise
        if made is not None and first is not None:
            return made[1](first)
        ran = running.ran + (running.error is not None)
        self._pace.item = running.seconds / ran
        if running.error is not None:
            error, running.error = running.error, None  # whose traceback keeps us
            raise self._failed(running.ran, raised_here(error, self._call.name))
        if not (all_are(running.out, ATOMS) or _are_rows(running.out)):
            self._check_results(running)
        if not (self._alone or self._pace.tiny(ran)):
            self._lost(ran, running.seconds)
        return running.out

    def _lost(self, ran: int, seconds: float) -> None:
        """Count what had better run in a pool, had one been up."""
        placement = self._placement()
        placement.ran(ran, seconds)
        if not placement.here(ran):
            placement.ran_alone(seconds)

    def _cancel(self) -> None:
        """Ctrl-C: nothing is to go on with it."""
        self._over = True
        with _adopting:
            made = self._made
        if made is not None:
            made[0].cancel()

    def _check_results(self, running: CallerLoop) -> None:
        """Refuse what could not have come back from a worker."""
        from procession.engine.local.crossing import Budget, Checks, result_refusal

        call = self._call
        self._budget = self._budget or Budget()
        self._budget.add(running.ran, running.seconds)
        pickling = call.options.pickling
        checks = Checks(result_refusal(call.name, pickling), pickling, self._budget)
        refused = checks.first(0, running.out)
        if refused is not None:
            raise self._failed(refused.at, refused.error)

    def _failed(self, index: int, error: BaseException) -> BaseException:
        from procession.engine.decoding import noted
        from procession.items import Item

        item = Item(index, self._running.values[index])
        return noted(error, item, self._call.rules(), here=True)

    def _loop(self, running: CallerLoop) -> None:
        function = self._call.function
        if self._pace.tiny(len(running.values)):
            running.out = [function(value) for value in running.iterator]
            return
        out: list[Any] = []
        size = 1
        while True:
            begin, before = perf_counter(), len(out)
            out += [function(value) for value in islice(running.iterator, size)]
            if len(out) - before < size:
                break
            if self._pause.asked:
                self._pause.pause()
            size = min(size * _GROWTH, int(size * _SLICE / (perf_counter() - begin)) or 1)
        running.out = out

    def _task(self, index: int) -> current.CurrentTask:
        return task_here(self._call.name, self._call.options.nested, index)

    def _help(self) -> None:
        """In the helper thread: see whether the items take so long that they become a map."""
        running = self._running
        pace = running.so_far()
        if self._is_over() or pace is None:
            return
        if not self._begin_map(*pace):
            self._alarm = after(HELP_EVERY, self._help)

    def _begin_map(self, left: int, seconds: float) -> bool:
        """Make a map of it, if what is left had better go to a pool. Whether it is done with."""
        cold = none_open()
        if cold and not self._worth_it(left, seconds, copy=self._may_copy):
            return False
        by_value = needs_cloudpickle(self._call.function, self._call.decorated)
        inline: Inline | None = None
        try:
            with short_turns:
                if cold:
                    self._may_copy = self._pause.begin(by_value=by_value)
                    if not (self._may_copy or self._worth_it(left, seconds, copy=False)):
                        return False
                inline = self._become_map()
            return True
        finally:
            if inline is None:
                self._pause.end()
            else:
                inline.help(self._pause.end)

    def _become_map(self) -> Inline | None:
        """In the helper thread: make the map that goes on with the items, unless they are over."""
        from procession.engine.map.map_verbs import map_of_begun  # takes long, the first time

        with _adopting:
            if self._is_over():
                return None
            try:
                inline, collect = self._context.run(
                    map_of_begun, self._call, list(self._running.values)
                )
            except Exception:
                return None  # they run on alone
            inline.adopt(self._running)
            self._made = inline, collect
        return inline

    def _is_over(self) -> bool:
        return self._over

    def _worth_it(self, left: int, seconds: float, *, copy: bool) -> bool:
        """Whether what is left, of items that take so long, had better go to a pool."""
        # On a busy machine items take longer by the clock. So do starts, and a pool is less help.
        share = self._running.share()
        seconds *= share if share > COMPUTES else 1.0
        return self._placement(copy=copy).leaves(left, seconds, warm=False)
