"""What is too large for a task of Dask's goes straight to its workers, before the task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress

from procession.hints import Any

_NO_WORKER_SECONDS = 0.5
"""Seconds until what is to go to workers waits for one by a task. Dask itself waits 30 s and fails;
a cluster that starts workers when they are needed sees only tasks. A guess."""

_TRIES = 3
"""How often that is tried, as the worker may have gone again."""


class Broadcast:
    """Content that goes once to each machine, straight from here where that can be.

    Args:
        content: Gives it.

    Attributes:
        future: Dask's future of it, once it was sent.
    """

    def __init__(self, content: Callable[[], bytes]) -> None:
        self._content = content
        self.future: Any = None
        self._sending: Any = None

    @property
    def ready(self) -> bool:
        """Whether it is there, and was not lost since with all who had it."""
        return self.future is not None and self.future.status == "finished"

    async def send(self, client: Any) -> None:
        """In the client's thread: send it, unless it is there or on its way."""
        if self._sending is None:
            self._sending = asyncio.Lock()
        async with self._sending:
            if not self.ready:
                self.future = await scatter(client, self._content(), broadcast=True)


async def scatter(client: Any, content: bytes, *, broadcast: bool) -> Any:
    """Dask's future of some bytes; by way of the scheduler only if workers cannot be reached.

    Args:
        client: Dask's client; this runs in its thread.
        content: The bytes.
        broadcast: Whether all workers get it, and not one.
    """
    how = {"broadcast": broadcast, "hash": False, "asynchronous": True}
    direct = True
    for _ in range(_TRIES):
        try:
            return await client.scatter(content, direct=direct, timeout=_NO_WORKER_SECONDS, **how)
        except (TimeoutError, ValueError, KeyError):
            # No worker is there, or those that were have gone meanwhile, as an adaptive cluster's
            # do (replicate: "to delete data"): wait for one as a task does.
            with suppress(CancelledError):  # a restart has dropped that
                await client.gather(client.submit(int, pure=False), asynchronous=True)
        except OSError:
            direct = False
    return await client.scatter(content, direct=False, **how)
