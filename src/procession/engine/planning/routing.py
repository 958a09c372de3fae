"""Where the items of a call run: in this process, in a pool, or each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from procession.backends import registry
from procession.backends.draining import check_open
from procession.configuration import Options
from procession.contract import Backend, Item
from procession.engine.call import Call
from procession.engine.planning.hash_functions import hashes_otherwise
from procession.engine.planning.job import packer
from procession.engine.policy.blame import Rules
from procession.system import NamedTuple
from procession.worker.current import in_worker, is_loading, refuse_nested

__all__ = ["Route", "Where", "route"]


class Where:
    """Where a call's items are going to run."""

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
        self.inline = blocking and not call.isolated and options.may_inline and not nested
        if self.inline and options.inline == "auto":
            pace = call.pace
            self.inline = pace is None or not pace.deadly
            if self.inline and not (self.serial or self.shares):
                self.inline = not hashes_otherwise(call)
        isolated = call.isolated or nested
        module = getattr(call.function, "__module__", "") if isolated else ""
        module = "" if module == "__main__" else module
        self.choice = registry.Choice(options, isolated, module)
        self.out_of_band = self.choice.out_of_band

    def backend(self) -> Backend:
        """The pool; made now if there is none."""
        return registry.backend_for(self.choice)


class Route(NamedTuple):
    """Where a function's last single call went: where the next one goes, if nothing has changed."""

    options: Options
    age: int
    where: Where
    backend: Backend
    rules: Rules
    pack: Callable[[int, Any], Item]


def route(call: Call) -> Route | None:
    """The way of a single call to its pool; `None` if it runs here."""
    kept: Route | None = None if call.history is None else call.history.route
    if (
        kept is not None
        and kept.options is call.options
        and kept.age == registry.age()
        and not in_worker()
    ):
        return kept
    check_open(call.name)
    age = registry.age()
    where = Where(call, blocking=False)
    if where.serial:
        return None
    pack = packer(call, "call", shares=where.shares, out_of_band=where.out_of_band)
    rules = call.rules(single=True)
    found = Route(call.options, age, where, where.backend(), rules, pack)
    if call.history is not None and not in_worker():
        call.history.route = found
    return found
