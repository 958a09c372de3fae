"""Where the items of a call run: in the calling thread, in threads, in a pool, each in a process.

Maps, short maps and single calls all ask here. Where there is a choice, a `Placement` is made,
which decides while the items of the map are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from procession.backends import registry
from procession.backends.pool_choice import Choice
from procession.backends.pool_factory import is_loaded
from procession.backends.shutdown import check_open
from procession.configuration import Options
from procession.contract import Backend, Costs
from procession.engine.call import Call
from procession.engine.local.hashing import agreeing, hashes_otherwise
from procession.engine.local.in_process import strict
from procession.engine.packing import packer
from procession.engine.policy.blame import Rules
from procession.engine.policy.placement import Placement
from procession.engine.policy.schedule import HERE
from procession.functions.needs import modules_to_import
from procession.hints import Any
from procession.items import Item
from procession.start_costs import start_costs
from procession.system import NamedTuple
from procession.system.resources import usable_cpus
from procession.worker.current import in_worker, is_loading, refuse_nested


class Where:
    """Where a call's items are going to run.

    Args:
        call: The call.
        blocking: Whether the calling thread waits for all of it, and so could run items itself.

    Attributes:
        serial: Everything runs in the calling thread, as the backend or a worker's own calls ask.
        here: Everything runs in the calling thread, for that reason or with ``inline=True``.
        shares: The workers are threads of this process.
        measured: The calling thread runs items as long as that is faster than a pool.
        crosses: What runs here works on copies, as in a worker (`procession_strict`).
        checks: What runs here is refused if it could not have crossed.
        pickles: What goes to every item is pickled.
        out_of_band: Large buffers may travel outside the pickle.
    """

    def __init__(self, call: Call, *, blocking: bool) -> None:
        options = call.options
        early = in_worker() and is_loading()
        nested = early or (in_worker() and not call.isolated)
        if nested:
            refuse_nested(call.name, options.nested)
        limits = options.timeout, options.deadline, options.memory_limit
        limited = any(limit is not None for limit in limits)
        self.serial = options.backend == "serial" or early or (nested and not limited)
        self.shares = options.backend == "thread" and not call.isolated
        inline = blocking and not call.isolated and options.may_inline and not nested
        self.here = self.serial or (inline and options.inline is True)
        self.measured = inline and not self.here and self._may_measure(call)
        self.crosses = strict()
        # What shares this process by the caller's choice of a backend crosses nothing, ever.
        self.checks = not (self.serial or self.shares or self.crosses)
        self.pickles = not (self.shares or (self.serial and not self.crosses))
        isolated = call.isolated or nested
        module = getattr(call.function, "__module__", "") if isolated else ""
        module = "" if module == "__main__" else module
        if nested and options.on_cluster:
            from dataclasses import replace

            options = replace(options, backend="process", address=None)  # there is none over there
        self.choice = Choice(agreeing(call), isolated, module)
        self.out_of_band = self.choice.out_of_band
        self._found: Backend | None = None
        self._epoch = 0

    def _may_measure(self, call: Call) -> bool:
        if call.pace is not None and call.pace.deadly:
            return False
        return self.shares or not hashes_otherwise(call)

    def backend(self) -> Backend:
        """The pool; made now if there is none."""
        if self._found is not None and self._epoch == registry.pool_epoch():
            return self._found
        return registry.backend_for(self.choice)

    @property
    def workers(self) -> int:
        """How many items can run at once there."""
        if self.here:
            return 1
        options = self.choice.options
        return self.backend().workers if self.choice.on_cluster else options.workers

    @property
    def costs(self) -> Costs:
        """What a chunk costs there."""
        if self.here or not self.choice.on_cluster:
            return HERE
        return self.backend().costs or HERE

    @property
    def divides(self) -> bool:
        """Whether a chunk that runs there can be divided."""
        options = self.choice.options
        limited = options.timeout is not None or options.memory_limit is not None
        return options.backend == "process" and not (limited or self.choice.one_by_one)

    def look(self) -> bool:
        """Look whether a pool is up, which items can go to. `backend` gives what was found."""
        if self.here:
            return False
        self._epoch, self._found = registry.pool_epoch(), registry.find(self.choice)
        if not isinstance(self.choice.options.backend, str):
            return True
        return self._found is not None and self._found.warm


def placement_of(call: Call) -> Placement:
    """What one map of this call is to measure, to say where its next items run."""
    options = call.options
    loaded = is_loaded(options.backend)
    return Placement(
        options.workers,
        call.pace,
        processors=usable_cpus,
        costs=start_costs,
        loaded=loaded,
        modules=partial(modules_to_import, call.function),
    )


# -- single calls --------------------------------------------------------------------------------


class Route(NamedTuple):
    """Where a function's last single call went: where the next one goes, if nothing has changed."""

    options: Options
    epoch: int
    where: Where
    backend: Backend
    rules: Rules
    pack: Callable[[int, Any], Item]
    short: bool


def route(call: Call) -> Route | None:
    """The way of a single call to its pool; `None` if it runs here."""
    kept: Route | None = None if call.history is None else call.history.route
    if (
        kept is not None
        and kept.options is call.options
        and kept.epoch == registry.pool_epoch()
        and not in_worker()
    ):
        return kept
    check_open(call.name)
    epoch = registry.pool_epoch()
    where = Where(call, blocking=False)
    if where.here:
        return None
    pack = packer(call, shares=where.shares, out_of_band=where.out_of_band)
    backend = where.backend()
    rules, short = call.rules(single=True), backend.short_calls
    found = Route(call.options, epoch, where, backend, rules, pack, short)
    if call.history is not None and not in_worker():
        call.history.route = found
    return found
