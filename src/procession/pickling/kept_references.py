"""What a pickle refers to by its address, and its sender must keep until it has been opened.

What is sent beside its pickle (memory, pipes, what was put) notes itself while it is pickled. Who
wants to know collects the notes of what is pickled meanwhile, in its own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from procession.system.lent_descriptors import offer
from procession.system.pristine import threading

__all__ = ["note_sent", "noted", "snapshots"]

T = TypeVar("T")

_thread = threading.local()

snapshots: set[Any] = set()
"""Keys of what was put (`procession.shared.put`). The same object may be put again, and what was
sent before must still find what it referred to; other senders live as long as their object."""


def note_sent(sender: object) -> None:
    """Called by what is pickled as an address."""
    offer()
    collected: list[object] | None = getattr(_thread, "collected", None)
    if collected is not None:
        collected.append(sender)


def noted(work: Callable[[], T]) -> tuple[T, list[object]]:
    """What `work` returns, and what was pickled as an address meanwhile, to be kept."""
    before = getattr(_thread, "collected", None)
    sent: list[object] = []
    _thread.collected = sent
    try:
        return work(), sent
    finally:
        _thread.collected = before
        if before is not None:
            before += sent
