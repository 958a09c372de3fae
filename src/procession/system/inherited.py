"""Futures of calls that ran when this process was forked: their results go to the parent.

In the child such a future is settled at once, with an error that says so, and whoever waits for it
there is told. What was to be called when it is done is not: that is the parent's to do.
"""

from __future__ import annotations

import os
from typing import Any

from procession.system import after_fork

__all__ = ["outstanding", "refusal"]

outstanding: set[Any] = set()
"""The futures of calls that were begun and are not settled."""


def refusal(name: str) -> BaseException:
    """What a child is told of a call of its parent."""
    from procession.errors import PoolClosed

    return PoolClosed(
        f"{name}() was called in process {os.getppid()}, from which this one ({os.getpid()}) was "
        "forked: its result goes there. Call it again here, or read its result before the fork."
    )


def _settle_all() -> None:
    while outstanding:
        _settle(outstanding.pop())


def _settle(future: Any) -> None:
    work, future._work = future._work, None
    future.__dict__.pop("_condition", None)  # its lock may be held; another is made when needed
    untold = True
    if future._state == "CANCELLED":
        future._state = "CANCELLED_AND_NOTIFIED"
    elif future._state == "PENDING":
        future._exception = refusal(work.name)
        future._state = "FINISHED"
    else:
        untold = False  # perhaps
    future._done_callbacks.clear()
    for waiter in future._waiters:
        standard = hasattr(waiter, "event")  # of concurrent.futures, which must not be told twice
        if standard:
            waiter.event._at_fork_reinit()
            if hasattr(waiter, "lock"):
                waiter.lock._at_fork_reinit()
        if untold or not standard:
            waiter.add_exception(future)


after_fork.renew_in_child(_settle_all)
