"""How many of the calls that wait go to a worker in one message. Pure policy."""

from __future__ import annotations

from collections import deque
from itertools import islice

from procession.process.pool.assignment import Assignment

__all__ = ["joining"]

_TOGETHER = 0.002
"""Seconds that calls of one message are to take together. A guess: a message costs some 50 µs."""

_MOST = 128
"""Calls in one message. A guess: what a message costs for each of them is little by then."""


def joining(queue: deque[Assignment], first: Assignment, size: int) -> int:
    """How many of the calls that wait are to go with this one.

    Args:
        queue: What waits.
        first: The call that goes to a worker.
        size: How many workers there may be.
    """
    chunk = first.chunk
    pace = chunk.job.pace
    if chunk.given is None or pace < 0 or chunk.job.limited:
        return 0  # what is limited is watched from the moment when it is sent
    most = min((len(queue) + 1) // size, _MOST, int(_TOGETHER / max(pace, 1e-6))) - 1
    count = 0
    for each in islice(queue, max(0, most)):
        if each.over or each.chunk.given is None or each.chunk.job is not chunk.job:
            break
        count += 1
    return count
