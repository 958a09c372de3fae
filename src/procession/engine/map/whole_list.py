"""All results of a map as a list: a short map if it can be, which needs little to be imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import FunctionType

from procession.engine.call import Call
from procession.engine.local.short_map import ShortMap, begins_as_short_map
from procession.hints import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from procession.engine.local.short_map import Make


def map_list(call: Call, items: Iterable[Any]) -> list[Any]:
    """All results in input order."""
    if type(call.function) is not FunctionType:
        from procession.engine.common_arguments import with_bound_arguments

        call = with_bound_arguments(call)
    if call.style == "value" and not call.args and not call.kwargs:
        pace = begins_as_short_map(call, items)
        if pace is not None:
            short = ShortMap(call, cast("Sequence[Any]", items), pace, _load)
            if short.passes():
                return short.results()
    if call.options.inline is False:
        from procession.engine.local.first_pool import expect_pool

        expect_pool(call)
    from procession.engine.map.map_verbs import whole_map

    return whole_map(call, items)


def _load() -> Make:
    from procession.engine.map.map_verbs import map_of_begun

    return map_of_begun
