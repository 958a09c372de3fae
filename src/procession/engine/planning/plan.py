"""What stays the same during one map, and what an item that is over looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from procession.contract import ATOM_BYTES, Item, Job, Reply
from procession.engine.policy.blame import Rules
from procession.engine.policy.placement import Placement
from procession.engine.policy.schedule import Schedule
from procession.system.named_tuple import NamedTuple

__all__ = ["Plan", "Settled", "size_back", "size_of", "sizes"]


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


class Settled(NamedTuple):
    """One item that is over: its reply, or the engine's own error."""

    item: Item
    reply: Reply | None
    error: BaseException | None = None

    @property
    def size(self) -> int:
        """Bytes that it holds until it is decoded."""
        return 0 if self.reply is None else size_of(self.reply)


def sizes(settled: Iterable[Settled]) -> int:
    """Bytes that all of these hold until they are decoded."""
    return sum([size_of(reply) for _, reply, _ in settled if reply is not None and not reply.raw])


def size_back(item: Item, reply: Reply) -> int:
    """Bytes that came home for an item; none where it was sent none."""
    if reply.raw:
        return ATOM_BYTES if item.size else 0
    return size_of(reply)


def size_of(reply: Reply) -> int:
    """Bytes that came home with a reply."""
    if reply.raw:
        return 0
    size = len(reply.payload)
    return size + sum(map(len, reply.buffers)) if reply.buffers else size
