"""Where a worker on a cluster finds what was put (`procession.shared.put`).

A pickle from another machine names such an object by its key alone. The content travels once for
each machine. There it is laid down in memory that the workers can open. Each pickle that a worker
is given comes with the tickets of that memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping

from procession.hints import Any
from procession.pickling.pickler import loads

__all__ = ["ticket_of", "wrapped"]

_tickets: dict[Any, Any] = {}
"""Those that this worker was given, by key."""


class _Wrapped:
    """A pickle that tells its tickets before it is loaded."""

    def __init__(self, blob: bytes, tickets: Mapping[Any, Any]) -> None:
        self._blob = blob
        self._tickets = tickets

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self._blob, dict(self._tickets))


def wrapped(blob: Any, tickets: Mapping[Any, Any]) -> Any:
    """What a worker is given for a pickle; what is no pickle needs no tickets."""
    return pickle.dumps(_Wrapped(blob, tickets), 5) if type(blob) is bytes and tickets else blob


def _load(blob: bytes, tickets: Mapping[Any, Any]) -> Any:
    _tickets.update(tickets)
    return loads(blob)


def ticket_of(key: Any) -> Any:
    """Where the object with this key lies on this machine."""
    return _tickets[key]
