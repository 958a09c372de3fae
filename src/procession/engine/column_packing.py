"""Items that are to cross together, packed as a column; those that cannot cross are told apart."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Sequence
from functools import partial

from procession.engine.arguments import refusal
from procession.engine.call import Call
from procession.hints import Any
from procession.items import Column, Item, Settled
from procession.pickling.columns import MOST_BYTES, THEMSELVES, pack_values
from procession.pickling.out_of_band import put_keys, replacements, with_senders

__all__ = ["Packed", "column_of", "column_packer"]

Packed = tuple[Column, list[Settled], int]
"""A column of the first of some values, those that cannot cross, and how many these are."""


def column_packer(
    call: Call, *, puts: bool
) -> Callable[[Sequence[int], Sequence[Any]], Packed | None]:
    """A function that packs values with these indexes; `None` if they are to go one by one.

    Args:
        call: What is called.
        puts: Whether a column may refer to what was put (`procession.shared.put`).
    """
    pickling = call.options.pickling

    def pack(indexes: Sequence[int], values: Sequence[Any]) -> Packed | None:
        keeps: Sequence[object] = ()
        if put_keys and not puts:
            return None
        if put_keys:
            packed, keeps = with_senders(partial(pack_values, values, pickling))
        else:
            packed = pack_values(values, pickling)
        if packed is None:
            return None
        taken, settled = packed.taken, list[Settled]()
        if taken < len(values):
            indexes, values = indexes[:taken], values[:taken]
        if packed.refused:
            wrong = dict(packed.refused)
            for at, error in packed.refused:
                why = refusal(error, call, values[at])
                settled.append(Settled(Item(indexes[at], values[at]), None, why))
            kept = [at for at in range(taken) if at not in wrong]
            indexes, values = [indexes[at] for at in kept], [values[at] for at in kept]
        column = Column(indexes, values, packed.body, plain=packed.plain, keeps=keeps)
        return column, settled, taken

    return pack


def column_of(items: Sequence[Item]) -> Column | None:
    """Items that were packed one by one as a column; `None` if something sets one of them apart."""
    blobs = [item.blob for item in items]
    size = 0
    for item in items:
        size += item.size
        if item.buffers or item.attempt > 1 or item.starts or item.seconds or item.failed:
            return None
    if size > MOST_BYTES or replacements or put_keys:
        return None
    indexes: Sequence[int] = [item.index for item in items]
    if indexes[-1] - indexes[0] == len(indexes) - 1:
        indexes = range(indexes[0], indexes[-1] + 1)
    plain = THEMSELVES.issuperset(map(type, blobs))
    return Column(indexes, [item.value for item in items], marshal.dumps(blobs), plain=plain)
