"""What stays the same during one map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from procession.contract import Item, Job
from procession.engine.policy.blame import Rules
from procession.engine.policy.placement import Placement
from procession.engine.policy.schedule import Schedule
from procession.system import NamedTuple

__all__ = ["Plan"]


class Plan(NamedTuple):
    """What stays the same during one map.

    Attributes:
        job: What every item has in common.
        rules: Retries, and the name for messages.
        pack: Makes the item for an index and a value; raises what refuses it.
        schedule: Says how many items the next chunk has.
        placement: Says whether the caller's own thread had better run the next items; `None` if
            it must run none.
        window: Most items taken from the input and not yet given to the consumer.
        ordered: Whether the consumer wants the items in input order.
    """

    job: Job
    rules: Rules
    pack: Callable[[int, Any], Item]
    schedule: Schedule
    placement: Placement | None
    window: int
    ordered: bool
