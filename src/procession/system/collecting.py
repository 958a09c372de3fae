"""Whether a thread is just collecting garbage, so that what it runs may be a finalizer.

The collector strikes amid any code, ours included, and a ``__del__`` may do what it likes, call
functions of ours included. Such a call must not wait for what the code below it would do next, so
it is to be known. Python says when a collection begins and ends, and there is one at a time.
"""

from __future__ import annotations

import gc
from typing import Any

from procession.system import after_fork
from procession.system.pristine import threading

__all__ = ["here", "watch"]

_get_ident = threading.get_ident
_thread = 0
"""Which thread collects; 0 if none does."""


def watch() -> None:
    """Know of collections from now on."""
    if _told not in gc.callbacks:
        gc.callbacks.append(_told)


def here() -> bool:
    """Whether the calling thread collects, and so is in a finalizer."""
    return _thread != 0 and _thread == _get_ident()


def _told(phase: str, _: Any) -> None:
    global _thread
    _thread = _get_ident() if phase == "start" else 0


def _renew() -> None:
    """In a forked child: its thread goes on with what it was at, another's is not there."""
    global _thread
    if not here():
        _thread = 0


after_fork.renew_in_child(_renew)
