"""Ending a worker that must go: its stacks if they are wanted, SIGTERM, a short grace, SIGKILL.

The signals go to the whole process group, so that what an item has started ends with it. The stacks
are written by faulthandler's own signal handler, which needs no GIL.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from procession.process.far_side.worker_setup import DUMP_SIGNAL
from procession.process.io.reactor import reactor

if TYPE_CHECKING:
    from procession.process.pool.worker import Worker

__all__ = ["GRACE", "put_down"]

GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL: enough to close files, short for someone who waits."""

_DUMP_EVERY, _DUMP_LOOKS = 0.004, 15
"""A stack is written within a millisecond, unless the process is stopped or starved."""


def put_down(worker: Worker, *, dump: bool) -> None:
    """End a worker that must go: its stacks if they are wanted, SIGTERM, grace, SIGKILL."""
    if not dump:
        _terminate(worker)
        return
    worker.signal(DUMP_SIGNAL, group=False)
    _await_dump(worker, 0, _DUMP_LOOKS)


def _await_dump(worker: Worker, size: int, looks: int) -> None:
    if worker.dead:
        return
    now = worker.box.stack_size()
    if looks == 0 or (now and now == size):
        _terminate(worker)
    else:
        reactor.call_later(_DUMP_EVERY, lambda: _await_dump(worker, now, looks - 1))


def _terminate(worker: Worker) -> None:
    worker.signal(signal.SIGTERM)
    worker.timers.append(reactor.call_later(GRACE, worker.kill))
