"""Short maps: their items run here before anything is made that a pool, or a window, would need.

The loop over three tiny items takes a microsecond, and making a map takes a hundred. Should an item
take its time after all, the helper thread makes the map and goes on as for any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import copy_context

from procession.contract import Item
from procession.engine.arguments import packer
from procession.engine.call import Call
from procession.engine.decoding import noted
from procession.engine.local.crossing import Budget, Checks, item_refusal, result_refusal
from procession.engine.local.in_process import Running, raised_here, task_here
from procession.engine.local.inline import HELP_AFTER, Inline, Slice
from procession.engine.local.where import placement_of
from procession.engine.policy.placement import Pace
from procession.functions.packed_function import dump_watched
from procession.hints import Any
from procession.pickling.objects import ATOMS, SCALARS
from procession.system import after_fork
from procession.system.alarm import after
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter
from procession.worker import current as state

__all__ = ["ShortMap"]

_adopting = after_fork.lock()
"""One for all maps: it is held while a slow one is made, which takes less than a millisecond."""

Collect = Callable[[Slice], list[Any]]


class ShortMap:
    """A short map whose items run in the calling thread.

    Args:
        call: The call, of a function that is given nothing but the item.
        items: All of the input.
        pace: From `where.begins_as_short_map`.
        make: Makes the map of these items of this call, which run here already. It gives what runs
            its items, and what takes its results, the first ones first.
    """

    __slots__ = ("_budget", "_call", "_context", "_made", "_make", "_over", "_pace", "_running")

    def __init__(
        self,
        call: Call,
        items: Sequence[Any],
        pace: Pace,
        make: Callable[[Call, list[Any]], tuple[Inline, Collect]],
    ) -> None:
        self._budget = Budget()
        self._call = call
        self._pace = pace
        self._make = make
        self._context = copy_context()
        self._running = Running(0, list(items))
        self._made: tuple[Inline, Collect] | None = None
        self._over = False

    def passes(self) -> bool:
        """Whether the items can cross. Why not, a map of them says.

        Raises:
            NotPicklable: The function cannot cross.
        """
        call, values = self._call, self._running.values
        dump_watched(call.function, call.decorated, call.options.pickling)
        if SCALARS.issuperset(map(type, values)):
            return True
        begin = perf_counter()
        pack = packer(call, "value")
        try:
            item = pack(0, values[0])
        except Exception as error:
            if strikes(error):
                raise
            return False
        placement_of(call).packed(1, perf_counter() - begin, item.size)
        checks = Checks(item_refusal(pack), call.options.pickling, self._budget)
        return len(values) == 1 or checks.first(1, values[1:]) is None

    def results(self) -> list[Any]:
        """All values, in input order.

        Raises:
            BaseException: As `consuming.collect`.
        """
        running = self._running
        try:
            alarm = after(HELP_AFTER, self._help)
            running.run(self._loop, self._task)
            alarm.disarm()
            self._over = True
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
        if not ATOMS.issuperset(map(type, running.out)):
            self._check_results(running)
        if not self._pace.tiny(ran):
            self._lost(ran, running.seconds)
        return running.out

    def _lost(self, ran: int, seconds: float) -> None:
        """Count what had better run in a pool, had one been up."""
        placement = placement_of(self._call)
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

    def _check_results(self, running: Running) -> None:
        """Refuse what could not have come back from a worker."""
        call = self._call
        self._budget.add(running.ran, running.seconds)
        pickling = call.options.pickling
        checks = Checks(result_refusal(call.name, pickling), pickling, self._budget)
        refused = checks.first(0, running.out)
        if refused is not None:
            raise self._failed(refused.at, refused.error)

    def _failed(self, index: int, error: BaseException) -> BaseException:
        item = Item(index, self._running.values[index])
        return noted(error, item, self._call.rules(), here=True)

    def _loop(self, running: Running) -> None:
        function = self._call.function
        running.out = [function(value) for value in running.iterator]

    def _task(self, index: int) -> state.CurrentTask:
        return task_here(self._call.name, self._call.options.nested, index)

    def _help(self) -> None:
        """In the helper thread: the items take their time, so they become a map like others."""
        running = self._running
        with _adopting:
            if self._over:
                return
            try:
                inline, collect = self._context.run(self._make, self._call, list(running.values))
            except Exception:
                return  # they run on alone
            inline.adopt(running)
            self._made = inline, collect
        inline.help()
