"""Has the main thread fork the server that is a copy of the program, between two of its items.

A helper thread finds out that a map is worth a pool while the main thread runs its items. The copy
is to be forked when no thread is amid anything: the main one between two items, and the helper
waiting for that. If the main thread does not come by soon, as an item takes long, there is no copy.
"""

from __future__ import annotations

from procession.system import after_fork
from procession.system.wakeup import Wakeup

__all__ = ["CopyRequest"]

_PATIENCE = 0.05
"""Seconds for which the helper waits. Some slices of short items are run in that time."""


class CopyRequest:
    """One map's request.

    Attributes:
        open: Whether the main thread is asked to fork.
    """

    __slots__ = ("_done", "_lock", "_possible", "open")

    def __init__(self) -> None:
        self.open = False
        self._possible = False
        self._lock = after_fork.lock()
        self._done = Wakeup()

    def possible(self) -> bool:
        """In the helper thread: whether a copy can be, as far as is known."""
        from procession.process.forkserver import zygote

        self._possible = zygote.is_possible(1, asking=True)
        return self._possible

    def ask(self) -> None:
        """In the helper thread: wait until it was forked, or for a while."""
        if not self._possible:
            return
        from procession.process.forkserver import client  # noqa: F401  # pyright: ignore[reportUnusedImport]

        self.open = True
        self._done.wait(_PATIENCE)
        with self._lock:  # the main thread may be at it
            self.open = False

    def answer(self) -> None:
        """In the thread that runs the items: fork it, if that is wanted and can be."""
        with self._lock:
            if not self.open:
                return
            self.open = False
            try:
                from procession.process.forkserver import client
                from procession.process.start.starting import quietly

                server = client.copy_beside(1)
                if server is not None:
                    quietly(server.ensure_running)
            except Exception:
                pass  # another server is tried, which says what is wrong
        self._done.wake()
