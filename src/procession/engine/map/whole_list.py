"""All results of a map as a list: a short map if it can be, which needs little to be imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import FunctionType

from procession.configuration.schema import DEFAULT_BACKEND
from procession.engine.call import Call
from procession.engine.local.hashing import hashes_otherwise
from procession.engine.map.short_map import SHORT, ShortMap, none_open
from procession.engine.policy.placement import Pace
from procession.hints import Any, cast
from procession.pickling.objects import class_of, is_one_of
from procession.system import cpython
from procession.worker import current

_COLD = 1 << 20
"""Items of a short map while no pool is up, if they are numbers."""

_AT_HAND = frozenset({list, tuple, range})


def map_list(call: Call, items: Iterable[Any]) -> list[Any]:
    """All results in input order."""
    if type(call.function) is not FunctionType:
        from procession.engine.common_arguments import with_bound_arguments

        call = with_bound_arguments(call)
    if call.style == "value" and not call.args and not call.kwargs:
        pace = _begins_as_short_map(call, items)
        if pace is not None:
            short = ShortMap(call, cast("Sequence[Any]", items), pace)
            if short.passes():
                return short.results()
    if call.options.inline is False:
        from procession.engine.local.first_pool import expect_pool

        expect_pool(call)
    from procession.engine.map.map_verbs import whole_map

    return whole_map(call, items)


def _begins_as_short_map(call: Call, items: Any) -> Pace | None:
    """What is known of a function whose map of these items begins here; `None` if it does not.

    It is for items that are at hand, and a function with no option that says more than where they
    run; if all run here, if no pool is up at all, or if they are few, and the last ones were tiny.
    """
    if not is_one_of(class_of(items), _AT_HAND):
        return None
    _check_open(call.name)
    count, pace = len(items), call.pace
    cold = call.options.inline is True or none_open()
    if not 0 < count <= (_COLD if cold else SHORT) or _watched() or current.in_worker():
        return None
    if pace is None or pace.deadly or not _asks_nothing(call, pace):
        return None
    return pace if cold or pace.tiny(count) else None


def _check_open(name: str) -> None:
    """Refuse a call while `shutdown` is under way: it is not, if that is not loaded.

    Raises:
        PoolClosed: It is.
    """
    ending = cpython.loaded("procession.backends.shutdown")
    if ending is not None:
        ending.check_open(name)


def _watched() -> bool:
    """Whether something is told of each call, or has items cross that run here."""
    observer = cpython.loaded("procession.observer")
    in_process = cpython.loaded("procession.engine.local.in_process")
    return bool(
        (observer is not None and observer.observers.active)
        or (in_process is not None and in_process.strict())
    )


def _asks_nothing(call: Call, pace: Pace) -> bool:
    """Whether nothing is asked for but to run the function on items, wherever that is faster."""
    if call.prefix or call.isolated:
        return False
    if pace.plain is not call.options:
        options = call.options
        plain = (
            options.inline is not False
            and not options.needs_workers
            and options.backend in ("process", DEFAULT_BACKEND)
            and options.window is None
            and options.seed is None
            and not options.retries
            and not options.progress
        )
        if not plain or hashes_otherwise(call):
            return False
        pace.plain = options
    return True
