"""What a forked child of this process must not keep, and what must start afresh in it.

A child made by `os.fork()` inherits every descriptor of ours. If it kept the writing end of a
lifeline, or our end of a worker's channel, workers would outlive us for as long as it lives. So
whoever opens such a descriptor calls `own`, and `disown` before closing it; every forked child
closes what was owned.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["disown", "forking", "keeping", "own", "renew_in_child"]

_owned: set[int] = set()
_renewals: list[Callable[[], Any]] = []
_kept = threading.local()
_registered = False

forking = threading.RLock()
"""Held while this process forks. Hold it from opening a descriptor until it is owned."""


def own(*descriptors: int) -> None:
    """Have these descriptors closed in every forked child."""
    _register()
    _owned.update(descriptors)


def disown(*descriptors: int) -> None:
    """Forget them; to be called before they are closed, as their numbers are then used again."""
    _owned.difference_update(descriptors)


def renew_in_child(renewal: Callable[[], Any]) -> None:
    """Call `renewal` in each forked child, before anything else runs there."""
    _register()
    _renewals.append(renewal)


class keeping:
    """While active in this thread, a child that it forks keeps these descriptors."""

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._descriptors = frozenset(descriptors)

    def __enter__(self) -> None:
        _kept.descriptors = self._descriptors

    def __exit__(self, *_: object) -> None:
        _kept.descriptors = frozenset()


def _register() -> None:
    global _registered
    if not _registered:
        _registered = True
        os.register_at_fork(
            before=forking.acquire,
            after_in_parent=forking.release,
            after_in_child=_start_afresh,
        )


def _start_afresh() -> None:
    forking.release()
    kept: frozenset[int] = getattr(_kept, "descriptors", frozenset[int]())
    for descriptor in _owned - kept:
        try:
            os.close(descriptor)
        except OSError:
            continue  # the user's own code has closed it
    _owned.clear()
    for renewal in _renewals:
        renewal()
