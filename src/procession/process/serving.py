"""What our fork server runs in its own process; `server` is the client's side."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterable
from multiprocessing import forkserver
from typing import Any

from procession.process import environment

__all__ = ["give_back_alarm", "serve"]

_PRELOAD = (
    "procession.process.child",
    "procession.worker.run",
    "procession.worker.recorder",
    "procession.worker.threads",
    "procession.wire.pickling",
    "procession.wire.functions",
    "procession.wire.exceptions",
    "multiprocessing.popen_forkserver",
)
_SOON = 0.3
"""Seconds after its start at which the server imports what most items need: some 20 ms, for which
the first ones of a program had better not wait. A guess: the first workers are up."""

_alarm: Any = signal.SIG_DFL
"""What SIGALRM meant to the server before."""


def serve(listener: int, alive: int) -> None:
    """What the server process runs, until nobody holds the other end of `alive`."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _load(_PRELOAD)
    gc.enable()  # it takes 3 ms of loading, and finds nothing
    global _alarm
    _alarm = signal.signal(signal.SIGALRM, _import_more)
    signal.setitimer(signal.ITIMER_REAL, _SOON)
    sys.excepthook = _except_orphans
    try:
        forkserver.main(listener, alive, [])
    except (EOFError, ConnectionError):
        pass  # the client went amid a request: nobody is there to be served


def _load(modules: Iterable[str]) -> None:
    environment.load(modules)
    gc.freeze()  # what the collector does not visit is not copied in each forked worker


def _import_more(*_: object) -> None:
    """Import the rest, between two requests or amid one; in the server only."""
    give_back_alarm()
    _load(environment.ITEMS_NEED)


def give_back_alarm() -> None:
    """Let SIGALRM mean what it meant: here when it has come, and in each forked worker."""
    signal.signal(signal.SIGALRM, _alarm)


def _except_orphans(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Say nothing if a process was to be started for a client that has gone meanwhile."""
    if not issubclass(kind, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, trace)
