"""Short maps: their items run here before anything is made that a pool, or a window, would need.

The loop over three tiny items takes a microsecond, and making a map takes a hundred. Should an item
take its time after all, the helper thread makes the map and goes on as for any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

from procession.backends import registry
from procession.backends.draining import check_open
from procession.configuration import Options
from procession.contract import Item
from procession.engine.call import Call
from procession.engine.local.inline import HELP_AFTER, Inline
from procession.engine.local.local_slice import Running
from procession.engine.map.map_run import MapRun
from procession.engine.map.results import collect
from procession.engine.planning.crossing_checks import Budget, Checks, item_refusal, result_refusal
from procession.engine.planning.decoding import noted
from procession.engine.planning.hash_functions import hashes_otherwise
from procession.engine.planning.in_process import raised_here
from procession.engine.planning.job import packer
from procession.engine.planning.strict_crossing import crossing
from procession.engine.policy.placement import Pace, Placement
from procession.functions.packed_function import dump_watched
from procession.pickling.objects import ATOMS, SCALARS
from procession.recording.observer import observers
from procession.system import after_fork
from procession.system.alarm import after
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter
from procession.worker import current as state

__all__ = ["Opening", "opens_here"]

_MOST = 64
"""Items of a short map. A guess: so many are soon run, or else soon looked at by the helper."""

_KNOWN = frozenset({list, tuple, range})

_adopting = after_fork.lock()
"""One for all maps: it is held while a slow one is made, which takes less than a millisecond."""


def opens_here(call: Call, items: Any) -> Pace | None:
    """What is known of a function whose map of these items begins here; `None` if it does not.

    It is for few items, that are at hand, and a function with no option that says more than where
    they run; if no pool is up at all, or the function's last items were tiny.
    """
    if type(items) not in _KNOWN:
        return None
    check_open(call.name)
    count = len(items)
    if not 0 < count <= _MOST or observers.active or crossing() or state.in_worker():
        return None
    pace = call.pace
    if pace is None or pace.deadly or not _plain(call, pace):
        return None
    return pace if registry.none_open() or pace.tiny(count) else None


def _plain(call: Call, pace: Pace) -> bool:
    """Whether nothing is asked for but to run the function on items, wherever that is faster."""
    if call.prefix or call.isolated:
        return False
    if pace.plain is not call.options:
        if not _asks_nothing(call.options) or hashes_otherwise(call):
            return False
        pace.plain = call.options
    return True


def _asks_nothing(options: Options) -> bool:
    return (
        options.inline == "auto"
        and options.may_inline
        and options.backend == "process"
        and options.window is None
        and options.seed is None
        and not options.retries
        and not options.progress
    )


class Opening:
    """A short map whose items run in the calling thread.

    Args:
        call: The call, of a function that is given nothing but the item.
        items: All of the input.
        pace: From `opens_here`.
        make: Makes the map of these items of this call, which run here already.
    """

    __slots__ = ("_budget", "_call", "_context", "_made", "_make", "_over", "_pace", "_running")

    def __init__(
        self,
        call: Call,
        items: Sequence[Any],
        pace: Pace,
        make: Callable[[Call, list[Any]], tuple[MapRun, Inline]],
    ) -> None:
        self._budget = Budget()
        self._call = call
        self._pace = pace
        self._make = make
        self._context = copy_context()
        self._running = Running(0, list(items))
        self._made: tuple[MapRun, Inline] | None = None
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
        self._placement().packed(1, perf_counter() - begin, item.size)
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
            first = None if made is None else made[1].over(running)
        except BaseException:
            self._cancel()
            raise
        if made is not None:
            return collect(*made, first=first)
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

    def _placement(self) -> Placement:
        options = self._call.options
        return Placement(options.workers, self._pace, loaded=registry.is_loaded(options.backend))

    def _lost(self, ran: int, seconds: float) -> None:
        """Count what had better run in a pool, had one been up."""
        placement = self._placement()
        placement.ran(ran, seconds)
        if not placement.here(ran):
            placement.ran_alone(seconds)

    def _cancel(self) -> None:
        """Ctrl-C: have nobody go on with it."""
        self._over = True
        with _adopting:
            made = self._made
        if made is not None:
            made[0].cancel()

    def _check_results(self, running: Running) -> None:
        """Refuse what could not have come back from a worker."""
        call = self._call
        self._budget.earned, self._budget.ran = running.seconds, running.ran
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
        call = self._call
        return state.CurrentTask(index, 1, str(os.getpid()), call.name, call.options.nested)

    def _help(self) -> None:
        """In the helper thread: the items take their time, so they become a map like others."""
        running = self._running
        with _adopting:
            if self._over:
                return
            try:
                run, inline = self._context.run(self._make, self._call, list(running.values))
            except Exception:
                return  # they run on alone
            inline.adopt(running)
            self._made = run, inline
        inline.help()
