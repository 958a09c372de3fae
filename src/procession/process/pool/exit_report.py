"""What to say of a chunk whose worker is dead."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from procession.contract import End
from procession.process.pool.worker import Worker
from procession.system.pristine import time
from procession.system.resources import OOM_NOTE, OomWatch

if TYPE_CHECKING:
    from procession.process.pool.assignment import Ticket

__all__ = ["obituary", "watch_oom"]

_oom: OomWatch | None = None


def watch_oom() -> None:
    """Begin to notice the kernel's out-of-memory killer."""
    global _oom
    if _oom is None:
        _oom = OomWatch()


def _unanswered(ticket: Ticket, index: int) -> bool:
    return index not in (ticket.replied or ()) and any(i.index == index for i in ticket.chunk.items)


def obituary(worker: Worker, code: int | None) -> End:
    """How the chunk of a dead worker ended; blame goes to the item it ran, if it ran one.

    Args:
        worker: The worker, with its black box still open.
        code: Its exit code, or `None` if that is not known.
    """
    ticket = worker.ticket
    if ticket is None or worker.verdict == "cancelled":
        return End("cancelled")
    said = worker.box.report()
    if worker.untouchable:
        said = f"{_untouchable(worker)}\n{said}" if said else _untouchable(worker)
    if worker.failure_to_send is not None:
        return End("refused", error=worker.failure_to_send)
    if worker.verdict is not None:
        index, seconds, peak = worker.blame
        kind: Any = worker.verdict
        return End(kind, index, code, said, peak, None, seconds)
    running = worker.box.running()
    index, seconds = None, 0.0
    if running is not None and _unanswered(ticket, running.item):
        index, seconds = running.item, max(0.0, time.monotonic() - running.since)
    report = said
    deserted = worker.deserted or worker.box.deserted()
    if worker.reason:
        report = f"{worker.reason}\n{report}" if report else worker.reason
    elif code == -signal.SIGKILL and _oom is not None and _oom.struck():
        report = f"{OOM_NOTE}\n{report}" if report else OOM_NOTE
    return End("died", index, code, report, 0, None, seconds, deserted)


def _untouchable(worker: Worker) -> str:
    return (
        f"Worker {worker.pid} could not be killed (EPERM): this process is user {os.geteuid()} "
        "now, and was another one when it started that worker. It ends by itself after what it "
        "runs, at the latest with this program. Give up privileges before the first call, or call "
        "procession.shutdown() just before that."
    )
