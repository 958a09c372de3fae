"""Descriptors that a forked child of this process must not keep, and imports that a fork awaits.

A child made by `os.fork()` inherits every descriptor of this process. If it kept the writing end
of a lifeline, or this end of a worker's channel, workers would live for as long as it does. So
such a descriptor is owned (`own`), and disowned before it is closed. Every forked child closes
what was owned.

A fork waits until no other thread is amid an import. (Locks and what else a child starts afresh:
see `procession.system.after_fork`.)
"""

from __future__ import annotations

from collections.abc import Iterable

from procession.hints import Any
from procession.system import after_fork, cpython
from procession.system.descriptors import file_of
from procession.system.posix import at_fork
from procession.system.pristine import close_descriptor, threading, time

_PATIENCE = 2.0
"""Seconds that a fork waits for other threads' imports. A guess: ten times what all of Procession's
take. Not for ever, as a program may run within an import, and may wait there for this thread."""

_endless: set[str] = set()
"""Modules whose import outlasted it, which no fork waits for again."""

_owned: dict[int, Any] = {}
"""Descriptors, each with its file: the program may close it and use its number."""
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


def owns(descriptor: int) -> bool:
    """Whether it still is ours: the program may have closed it, and use its number."""
    known = _owned.get(descriptor)
    return known is not None and bool(known == file_of(descriptor))


def close(*descriptors: int) -> None:
    """Disown and close them, unless the program has closed them: then they are another's."""
    for descriptor in descriptors:
        known = _owned.pop(descriptor, None)
        if known is None or known == file_of(descriptor):
            close_descriptor(descriptor)


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

    The lock of a module that is being imported would never be released in the child. Much of
    Procession is imported when it is first needed, in any thread.
    """
    deadline = time.monotonic() + _PATIENCE
    before = cpython.locked_at_fork()
    forking.acquire()
    while begun := [name for name, owned in cpython.imports_elsewhere(_endless) if owned]:
        if time.monotonic() > deadline:
            _endless.update(begun)
        forking.release()
        time.sleep(0.0005)
        forking.acquire()
    # One whose import ended meanwhile releases a lock after the fork that it has not taken.
    for name, lock in cpython.locked_at_fork().items():
        if name not in before:
            lock.acquire()


def _start_afresh() -> None:
    forking.release()
    # What another thread began to import at the last instant is imported anew.
    for name in _endless:
        cpython.go_on_importing(name)
    for name, _ in cpython.imports_elsewhere(_endless):
        cpython.import_anew(name)
    kept: frozenset[int] = getattr(_kept, "descriptors", frozenset[int]())
    for descriptor, file in _owned.items():
        if descriptor in kept or file != file_of(descriptor):
            continue
        try:
            close_descriptor(descriptor)
        except OSError:
            continue  # the user's own code has closed it
    _owned.clear()


# At once, as the imports that a fork must wait for may be the first ones.
at_fork(before=_await_imports, after_in_parent=forking.release)
# Before the other renewals that open descriptors: those may get the numbers closed here.
after_fork.renew_in_child(_start_afresh)
