"""What a forked child of this process must not keep, and what must start afresh in it.

A child made by `os.fork()` inherits every descriptor of ours. If it kept the writing end of a
lifeline, or our end of a worker's channel, workers would outlive us for as long as it lives. So
whoever opens such a descriptor calls `own`, and `disown` before closing it; every forked child
closes what was owned.

A fork waits until no other thread is amid an import of ours. (Locks and what else a child starts
afresh: see `procession.system.after_fork`.)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from procession.system import after_fork
from procession.system.pristine import threading, time

__all__ = ["close", "disown", "file_of", "forking", "keeping", "own"]

_PATIENCE = 2.0
"""Seconds that a fork waits for other threads' imports. A guess: ten times what all of ours take;
not for ever, as a program may run within an import, and what that waits for may be in this
thread."""

_LOCKED_AT_FORK = {"logging": "_lock", "concurrent.futures.thread": "_global_shutdown_lock"}
"""Modules that take a lock before a fork and release it after. One whose import ended while the
fork waited for it releases it, and has not taken it: that is done in its place (private)."""

_endless: set[str] = set()
"""Modules whose import outlasted it, which no fork waits for again."""

_owned: dict[int, Any] = {}
"""Descriptors, each with what tells its file: the program may close it and use its number."""
_kept = threading.local()

forking = after_fork.lock()
"""Held while this process forks. Hold it from opening a descriptor until it is owned."""


def own(*descriptors: int) -> None:
    """Have these descriptors closed in every forked child."""
    for descriptor in descriptors:
        _owned[descriptor] = file_of(descriptor)


def disown(*descriptors: int) -> None:
    """Forget them; to be called before they are closed, as their numbers are then used again."""
    for descriptor in descriptors:
        _owned.pop(descriptor, None)


def close(*descriptors: int) -> None:
    """Disown and close them, unless the program has closed them: then they are not ours."""
    for descriptor in descriptors:
        known = _owned.pop(descriptor, None)
        if known is None or known == file_of(descriptor):
            os.close(descriptor)


def file_of(descriptor: int) -> Any:
    """What tells the file that a descriptor stands for; `None` if it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mode


class keeping:
    """While active in this thread, a child that it forks keeps these descriptors."""

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._descriptors = frozenset(descriptors)

    def __enter__(self) -> None:
        _kept.descriptors = self._descriptors

    def __exit__(self, *_: object) -> None:
        _kept.descriptors = frozenset()


def _await_imports() -> None:
    """Take `forking` at a moment when no other thread imports anything.

    The lock of a module that is being imported would never be released in the child, and much here
    is imported when it is first needed, in whichever thread that is.
    """
    deadline = time.monotonic() + _PATIENCE
    before = _loaded()
    forking.acquire()
    while begun := [name for name, lock in _import_locks() if lock.owner is not None]:
        if time.monotonic() > deadline:
            _endless.update(begun)
        forking.release()
        time.sleep(0.0005)
        forking.acquire()
    for name in _loaded() - before:
        getattr(sys.modules[name], _LOCKED_AT_FORK[name]).acquire()


def _loaded() -> set[str]:
    return {name for name, lock in _LOCKED_AT_FORK.items() if hasattr(sys.modules.get(name), lock)}


def _import_locks() -> list[tuple[str, Any]]:
    """The modules that others import, each with its lock (private to CPython)."""
    held: dict[str, Any] = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    found = [(name, weak()) for name, weak in list(held.items())]
    me = threading.get_ident()
    return [
        (name, lock)
        for name, lock in found
        if getattr(lock, "owner", me) != me and name not in _endless
    ]


def _import_afresh() -> None:
    """In the child: what another thread began to import at the last instant is imported anew."""
    held: dict[str, Any] = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    for name in _endless:  # it goes on here as far as it has come
        held.pop(name, None)
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if spec is not None:
            spec._initializing = False
    for name, _ in _import_locks():
        held.pop(name, None)
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if getattr(spec, "_initializing", False):
            del sys.modules[name]


def _start_afresh() -> None:
    forking.release()
    _import_afresh()
    kept: frozenset[int] = getattr(_kept, "descriptors", frozenset[int]())
    for descriptor, file in _owned.items():
        if descriptor in kept or file != file_of(descriptor):
            continue
        try:
            os.close(descriptor)
        except OSError:
            continue  # the user's own code has closed it
    _owned.clear()


# At once, as the imports that a fork must wait for may be the first ones.
os.register_at_fork(before=_await_imports, after_in_parent=forking.release)
# Before the renewals of whoever owns descriptors: what those open may get the numbers closed here.
after_fork.renew_in_child(_start_afresh)
