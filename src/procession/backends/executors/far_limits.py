"""Limits in the workers of an executor that cannot end what runs: one more process, which can.

A worker of loky, of the standard library, or of any executor that is given a job with a ``timeout``
or a ``memory_limit`` runs that job's items in a worker process of our own, kept for the next item,
and ends it when an item passes its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from procession.contract import Chunk, End, Item, Job, Reply
from procession.pickling.packed_initializer import Packed
from procession.system.pristine import threading
from procession.worker.preparing import Cap

__all__ = ["Guard"]


class Guard:
    """Runs items, one at a time, in a process that is ended when one passes its limit."""

    def __init__(self, packed: Packed, threads: Cap | None) -> None:
        from procession.backends.process import ProcessBackend, WorkerSpec
        from procession.worker.preparing import run_unpacked

        # Opened there, as what it takes to unpickle its arguments is limited too.
        initializer, initargs = (run_unpacked, (packed,)) if packed else (None, ())
        spec = WorkerSpec(None, initializer, initargs, threads_per_worker=threads)
        self._backend = ProcessBackend(spec, 1)

    def run(
        self, job: Job, item: tuple[int, int, bytes, tuple[Any, ...]]
    ) -> tuple[list[Reply], End]:
        """Run one item and say how it ended."""
        index, attempt, blob, buffers = item
        heard = _Heard()
        chunk = Chunk(job, [Item(index, None, blob, buffers, attempt)], heard)
        self._backend.start(chunk)
        heard.over.wait()
        return heard.replies, heard.end


class _Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.end = End("cancelled")
        self.over = threading.Event()

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """Keep the replies, with their buffers in one piece: they travel on."""
        self.replies.extend(replies)

    def ended(self, chunk: Chunk, end: End) -> None:
        """Wake who waits."""
        self.end = end
        self.over.set()
