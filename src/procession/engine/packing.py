"""Values made into what is sent: an item for each, or one column for many of them.

Those that cannot cross are told apart, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from procession.engine.call import Call
from procession.hints import Any
from procession.items import Column, Item, Settled
from procession.pickling.columns import MOST_BYTES, pack_values
from procession.pickling.objects import SCALARS, THEMSELVES
from procession.pickling.out_of_band import (
    bytes_out_of_band,
    crosses_machines,
    dumps_out_of_band,
    fits_message,
    put_keys,
    replacements,
    with_senders,
)
from procession.pickling.pickler import dumps
from procession.system.cpython import pickle
from procession.system.interrupts import strikes

Packed = tuple[Column, list[Settled], int]
"""A column of the first of some values, those that cannot cross, and how many these are."""


def packer(
    call: Call, *, shares: bool = False, out_of_band: bool = True
) -> Callable[[int, Any], Item]:
    """A function that makes the item for an index and a value; it raises `NotPicklable`.

    Args:
        call: What is called.
        shares: Whether the workers share this process's memory.
        out_of_band: Whether large buffers leave the pickle.
    """
    if shares:
        return Item
    pickling, single, far = call.options.pickling, call.style == "call", call.far
    private = call.options.retries > 0  # another attempt must find what the first one was given

    def dump(value: Any) -> tuple[bytes, Sequence[Any]]:
        if out_of_band:
            return dumps_out_of_band(value, pickling, private=private)
        return dumps(bytes_out_of_band(value) if replacements else value, pickling), ()

    def pack(index: int, value: Any) -> Item:
        if not single and fits_message(value):
            return Item(index, value, value)
        buffers: Sequence[Any] = ()
        keeps: Sequence[object] = ()
        try:
            # Numbers alone need none of what follows, which takes longer than their call.
            if single and not value[1] and SCALARS.issuperset(map(type, value[0])):
                blob = pickle.dumps(value, 5)
            elif put_keys or far:
                (blob, buffers), keeps = with_senders(partial(dump, value), far=far)
            else:
                blob, buffers = dump(value)
        except BaseException as error:  # of the value's own code
            if strikes(error):
                raise
            with crosses_machines(far):  # it is looked for as it was pickled
                why = _refusal(error, call, value)
            raise why from None
        item = Item(index, value, blob, buffers)
        if keeps:
            item.keeps = keeps
        return item

    return pack


def _refusal(error: BaseException, call: Call, value: Any) -> BaseException:
    """Why an item's value cannot cross, by the parameter that it is for."""
    if isinstance(error, MemoryError):
        return error  # it says nothing of the value
    if call.style == "call":
        return call.refusal(error, *value)
    # What goes to every item has passed already: only its places are needed here.
    own = tuple(value) if call.style == "star" else (value,)
    args = (*[None] * len(call.prefix), *own, *[None] * len(call.args))
    return call.refusal(error, args, dict.fromkeys(call.kwargs))


# -- many together -------------------------------------------------------------------------------


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
                why = _refusal(error, call, values[at])
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
    return Column(indexes, [item.value for item in items], pickle.dumps(blobs, 5), plain=plain)
