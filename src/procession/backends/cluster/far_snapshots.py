"""On a machine of the cluster: what was put (`procession.shared.put`), once for all workers there.

The content comes with each order that needs it, from the engine's own memory on this machine. It is
laid down once, and goes when no order has needed it for a while.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pickle import PickleBuffer

from procession.buffers.housekeeping import housekeeper
from procession.buffers.nameless_memory import BroadcastBytes
from procession.buffers.sender import Placed, segments
from procession.hints import Any
from procession.pickling.pickler import loads
from procession.process.io.reactor import reactor
from procession.system import after_fork
from procession.system.pristine import time

__all__ = ["held"]

_KEPT = 60.0
"""Seconds for which what no order needs is kept. A guess: longer than most pauses between calls."""


class _Joined:
    """A pickle with its buffers, as one pickle."""

    def __init__(self, blob: bytes, *buffers: bytes) -> None:
        self._parts = blob, buffers

    def __reduce__(self) -> tuple[Any, ...]:
        return loads, self._parts


class _Laid:
    """What lies here, and how many orders use it."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        placed = segments.place([PickleBuffer(part) for part in parts], private=True)
        self._lies: Placed | BroadcastBytes
        if placed is None:
            self._lies = BroadcastBytes(pickle.dumps(_Joined(*parts), 5))
        else:
            self._lies = placed
        self.users = 0
        self.since = 0.0

    @property
    def ticket(self) -> Any:
        lies = self._lies
        return lies.ticket if isinstance(lies, BroadcastBytes) else tuple(lies)

    def drop(self) -> None:
        """Tell the workers that they need not keep it."""
        if isinstance(self._lies, Placed):
            self._lies.drop()


_lock = after_fork.rlock()
_laid: dict[Any, _Laid] = {}

after_fork.renew_in_child(_laid.clear)


@contextmanager
def held(keys: Sequence[Any], contents: Sequence[Any]) -> Generator[Mapping[Any, Any]]:
    """Have what was put lie here within a ``with`` block; gives the tickets by key.

    Args:
        keys: Of what is needed.
        contents: The content of each: its pickle and its large buffers, pickled together.
    """
    if not keys:
        yield {}
        return
    housekeeper.use_clock(reactor.call_later)
    with _lock:
        for key, content in zip(keys, contents, strict=True):
            if key not in _laid:
                _laid[key] = _Laid(pickle.loads(content))
        used = {key: _laid[key] for key in keys}
        for laid in used.values():
            laid.users += 1
    try:
        yield {key: laid.ticket for key, laid in used.items()}
    finally:
        with _lock:
            now = time.monotonic()
            for laid in used.values():
                laid.users -= 1
                laid.since = now
            for key, laid in list(_laid.items()):
                if not laid.users and now - laid.since > _KEPT:
                    del _laid[key]
                    laid.drop()
