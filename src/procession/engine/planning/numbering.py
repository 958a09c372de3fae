"""The number of a single call among those of its function: what `seed=` gives it numbers by."""

from __future__ import annotations

from itertools import count
from typing import Any

from procession.engine.planning.job import Call
from procession.system.pristine import threading
from procession.worker import current as state

__all__ = ["number_of"]


class _Nested(threading.local):
    """How many single calls the item that this thread runs has made, by function.

    Attributes:
        item: What tells this item from others.
        counts: By the function's id; the function is kept, so that no id is used again.
    """

    item: tuple[Any, int] = (None, 0)
    counts: dict[int, tuple[Any, count[int]]] = {}


_nested = _Nested()


def number_of(call: Call) -> int:
    """The number of a call that is made now; from 0, in the order in which calls are made.

    A ``with_options`` copy counts with its original. Calls made inside an item are counted from 0
    for each item, so that they do not depend on what else its worker has run.
    """
    if call.decorated is None:
        return 0
    task = state.current_task()
    if task is None:
        number: int = next(call.decorated._self_numbers)
        return number
    entered, index = _nested.item
    now: Any = state.entered() or task
    if entered is not now or index != task.index:
        _nested.item = now, task.index
        _nested.counts = {}
    kept = _nested.counts.setdefault(id(call.decorated), (call.decorated, count()))
    return next(kept[1])
