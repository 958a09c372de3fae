"""`parallel_chunks`: a plain call is split into pieces, and the pieces' results are joined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from procession.engine.call import Call
from procession.engine.map import map_verbs as verbs
from procession.engine.pieces.splitting import combine, split

__all__ = ["call"]

_PIECES_PER_WORKER = 4
"""Enough to even out pieces of different cost (at most a quarter of a worker's share waits at the
end), few enough that the function still sees large pieces. A guess in the range that OpenMP's
dynamic schedules and joblib's batches use."""

_SEEDED_PIECES = 32
"""With ``seed=`` the pieces are the same on every machine. A guess: enough for eight workers."""


def call(call: Call, data: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run the function on pieces of its first argument, and join the results.

    ``chunk=`` is the number of elements in a piece; without it the data are cut into a few pieces
    for each worker.
    """
    options = call.options
    size = None if options.chunk == "auto" else options.chunk
    # With a seed, results must not depend on how many workers there are.
    count = _SEEDED_PIECES if options.seed is not None else options.workers * _PIECES_PER_WORKER
    pieces = split(data, pieces=count, size=size)
    # A piece is an item here, and each is large enough for a message of its own.
    whole = call._replace(options=replace(options, chunk=1))
    parts = verbs.map_list(whole, "value", pieces, args, kwargs)
    if len(parts) == 1 and options.combine is None:
        return parts[0]  # nothing to join: empty data give what an empty piece gives
    return combine(parts, function=call.name, join=options.combine)
