"""Where the items of a call run: in the calling thread, in threads, in a pool, each in a process.

Maps, short maps and single calls all ask here. Where there is a choice, a `Placement` is made,
which decides while the items of the map are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType

from procession._warn import warn_user
from procession.backends import registry
from procession.backends.pool_choice import Choice
from procession.backends.shutdown import check_open
from procession.configuration import Options
from procession.contract import Backend, Item
from procession.engine.arguments import packer
from procession.engine.call import Call
from procession.engine.local.crossing import crossing
from procession.engine.policy.blame import Rules
from procession.engine.policy.placement import Pace, Placement
from procession.hints import Any
from procession.recording.observer import observers
from procession.system import NamedTuple
from procession.system.bytecode import codes, instructions
from procession.worker.current import in_worker, is_loading, refuse_nested

__all__ = ["Route", "Where", "begins_as_short_map", "placement_of", "route"]

_SHORT = 64
"""Items of a short map. A guess: so many are soon run, or else soon looked at by the helper."""

_AT_HAND = frozenset({list, tuple, range})


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
        self.crosses = crossing()
        # What shares this process by the caller's choice of a backend crosses nothing, ever.
        self.checks = not (self.serial or self.shares or self.crosses)
        self.pickles = not (self.shares or (self.serial and not self.crosses))
        isolated = call.isolated or nested
        module = getattr(call.function, "__module__", "") if isolated else ""
        module = "" if module == "__main__" else module
        self.choice = Choice(options, isolated, module)
        self.out_of_band = self.choice.out_of_band

    def _may_measure(self, call: Call) -> bool:
        if call.pace is not None and call.pace.deadly:
            return False
        return self.shares or not _hashes_otherwise(call)

    def backend(self) -> Backend:
        """The pool; made now if there is none."""
        return registry.backend_for(self.choice)

    @property
    def warm(self) -> bool:
        """Whether a pool is up, which items can go to."""
        return not self.here and registry.is_warm(self.choice)

    def begins_here(self, placement: Placement | None, items: int | None) -> bool:
        """Whether a map of so many items, if that is known, begins in the calling thread."""
        return not self.warm or (placement is not None and placement.begins_here(items))


def placement_of(call: Call) -> Placement:
    """What one map of this call is to measure, to say where its next items run."""
    options = call.options
    return Placement(options.workers, call.pace, loaded=registry.is_loaded(options.backend))


# -- short maps ----------------------------------------------------------------------------------


def begins_as_short_map(call: Call, items: Any) -> Pace | None:
    """What is known of a function whose map of these items begins here; `None` if it does not.

    It is for few items, that are at hand, and a function with no option that says more than where
    they run; if no pool is up at all, or the function's last items were tiny.
    """
    if type(items) not in _AT_HAND:
        return None
    check_open(call.name)
    count = len(items)
    if not 0 < count <= _SHORT or observers.active or crossing() or in_worker():
        return None
    pace = call.pace
    if pace is None or pace.deadly or not _asks_nothing(call, pace):
        return None
    return pace if registry.none_open() or pace.tiny(count) else None


def _asks_nothing(call: Call, pace: Pace) -> bool:
    """Whether nothing is asked for but to run the function on items, wherever that is faster."""
    if call.prefix or call.isolated:
        return False
    if pace.plain is not call.options:
        options = call.options
        plain = (
            options.inline == "auto"
            and options.may_inline
            and options.backend == "process"
            and options.window is None
            and options.seed is None
            and not options.retries
            and not options.progress
        )
        if not plain or _hashes_otherwise(call):
            return False
        pace.plain = options
    return True


# -- single calls --------------------------------------------------------------------------------


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
    if where.here:
        return None
    pack = packer(call, "call", shares=where.shares, out_of_band=where.out_of_band)
    found = Route(call.options, age, where, where.backend(), call.rules(single=True), pack)
    if call.history is not None and not in_worker():
        call.history.route = found
    return found


# -- functions that hash -------------------------------------------------------------------------
# `hash` of a str depends on a seed, which this process cannot change any more (see
# `process.start.hash_seed`). Such a function gives one thing here and another in a worker. Workers
# agree with each other, so its items all go there.


def _hashes_otherwise(call: Call) -> bool:
    """Whether the function hashes, and a worker hashes otherwise than this process.

    The first time this is so, a `ParallelWarning` says what it means.
    """
    pace = call.pace
    if pace is None:
        return _hashes(call.function) and not _agrees()
    if pace.hashes is None:
        pace.hashes = _hashes(call.function) and not _agrees()
        if pace.hashes:
            _warn(call.name)
    return pace.hashes


def _agrees() -> bool:
    from procession.process.start.hash_seed import agrees
    from procession.process.start.starting import default_method

    return agrees() or default_method() == "fork"


def _hashes(function: Any) -> bool:
    for _ in range(20):  # a partial of a partial of a method …; never a cycle
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            space = getattr(function, "__globals__", {})
            return space.get("hash", hash) is hash and any(map(_names_hash, codes(code)))
        function = getattr(function, "__func__", None) or getattr(function, "func", None)
    return False


def _names_hash(code: CodeType) -> bool:
    """Whether the code loads the builtin, and no attribute of that name."""
    if "__hash__" in code.co_names:
        return True
    if "hash" not in code.co_names:
        return False
    place = code.co_names.index("hash")
    loads = ((op, arg) for _, op, arg in instructions(code))
    return any(
        (op == "LOAD_GLOBAL" and arg >> 1 == place) or (op == "LOAD_NAME" and arg == place)
        for op, arg in loads
    )


def _warn(name: str) -> None:
    warn_user(
        f"{name}() uses hash(), which gives another number in a worker than here, as Python "
        "chooses a seed for each program. So all of its items run in workers, which agree with "
        "each other, as inline=False has it: write that to say that you know. Start the program "
        "with PYTHONHASHSEED=0 to have one number everywhere and in each run, or use hashlib."
    )
