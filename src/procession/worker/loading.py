"""Whether a worker still loads what its next item needs: then it starts no process.

A module that makes a call in its own body makes it again in each worker that imports it. Were that
call to start a process, that one would import the module too, and so on without end. So as long as
a worker imports modules and unpickles for an item, and has not begun to run it, decorated calls run
there, and a `Pool` refuses. The same holds for threads that were started meanwhile, for good.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakSet

from procession.errors import NestedParallelism
from procession.worker import current as state

__all__ = ["allowed", "loading", "refuse", "watching"]

_early: WeakSet[threading.Thread] = WeakSet()
"""Threads that what was loaded has started."""

_before: list[set[threading.Thread]] = []
"""While something is being loaded: the threads that were there before."""

_allowed = 0


def loading() -> bool:
    """Whether the calling thread runs in a worker for no item."""
    if state._worker_pid is None or state._worker_pid != os.getpid():
        return False
    here = threading.current_thread()
    if here is threading.main_thread():
        return not (state._at_work or _allowed)
    return here in _early or (bool(_before) and here not in _before[-1])


@contextmanager
def watching() -> Generator[None, None, None]:
    """Something is being loaded: notice the threads that it starts."""
    _before.append(set(threading.enumerate()))
    try:
        yield
    finally:
        before = _before.pop()
        if threading.active_count() != len(before):
            _early.update(set(threading.enumerate()) - before)


@contextmanager
def allowed() -> Generator[None, None, None]:
    """The user's initializer runs, which may do what an item may do."""
    global _allowed
    _allowed += 1
    try:
        yield
    finally:
        _allowed -= 1


def refuse(what: str) -> NestedParallelism:
    """The error for what cannot be done while a worker loads."""
    module = _module_being_imported()
    where = f"while a worker imports module {module!r}" if module else "while a worker loads"
    return NestedParallelism(
        f"{what} {where}: each worker would start more of them, without end. Move the call into a "
        "function, so that the import does not make it."
    )


def _module_being_imported() -> str | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            name: Any = frame.f_globals.get("__name__")
            return str(name)
        frame = frame.f_back
    return None
