"""Which signals a worker blocks and ignores: none that its caller happened to.

A mask and an ignored signal pass from process to process, through ``exec`` as well. A service
blocks SIGCHLD, SIGTERM and others to take them by ``sigwait``, or ignores SIGCHLD so that children
need no reaping: its workers, and the fork server, must hear of theirs all the same.
"""

from __future__ import annotations

import signal
import threading

__all__ = ["unblock", "usual"]

_IGNORED_BY_PYTHON = frozenset({signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)})
_KEPT = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTTOU, signal.SIGTTIN})
"""SIGHUP is ignored under ``nohup``, whose meaning is just that it passes on."""


def unblock() -> None:
    """Block nothing in this thread."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def usual() -> None:
    """Ignore what Python itself ignores, and nothing that only the caller did."""
    if threading.current_thread() is not threading.main_thread():
        return  # no other may, and an executor of threads has its caller's signals
    for number in signal.valid_signals():
        if number in _KEPT:
            continue
        if number in _IGNORED_BY_PYTHON:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
