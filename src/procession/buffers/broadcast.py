"""Bytes that go to many workers: small ones travel in each message, large ones lie in one place.

On Linux the place is memory without a name, which any process of the same user can open
(`procession.system.descriptors`): it is gone with its last holder, however that one ends.
Elsewhere it is a temporary file, removed when the `BroadcastBytes` are dropped.
"""

from __future__ import annotations

import os
import weakref
from typing import Any

from procession.system.descriptors import NAMELESS, nameless, offer, reopen

__all__ = ["BroadcastBytes", "read_broadcast"]

IN_MESSAGE = 64 * 1024
"""Bytes up to which a copy in each message is cheaper than opening a file: a guess from the cost
of the two system calls (10 µs) against a pipe's 1 to 2 GB/s."""


class BroadcastBytes:
    """Bytes that can be sent many times.

    Args:
        content: The bytes.
    """

    def __init__(self, content: bytes) -> None:
        self._ticket: Any = content
        self._lent = False
        if len(content) <= IN_MESSAGE:
            return
        path = ""
        if NAMELESS:
            handle = nameless("procession")
            self._lent = True
            self._ticket = os.getpid(), handle, os.fstat(handle).st_ino
        else:
            import tempfile

            handle, path = tempfile.mkstemp(prefix="procession-")
            self._ticket = path
        weakref.finalize(self, _close, handle, path, os.getpid()).atexit = not self._lent
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view) :]
        except OSError:  # there is no room, or files may not be so large: it goes in each message
            self._ticket = content

    @property
    def ticket(self) -> Any:
        """What to put in the message: the bytes, or where they can be read."""
        if self._lent:
            offer()
        return self._ticket


def _close(handle: int, path: str, pid: int) -> None:
    if pid == os.getpid():
        os.close(handle)
        if path:
            os.unlink(path)


def read_broadcast(ticket: Any) -> bytes:
    """The bytes that a ticket stands for, in a worker.

    Raises:
        OSError: The bytes were dropped meanwhile, or their owner has died.
    """
    if isinstance(ticket, bytes):
        return ticket
    if isinstance(ticket, str):
        with open(ticket, "rb") as file:
            return file.read()
    pid, number, inode = ticket
    handle = reopen(pid, number, inode, os.O_RDONLY)
    try:
        # From there, as the place in the file may be its owner's, too.
        size, content = os.fstat(handle).st_size, b""
        while len(content) < size:
            content += os.pread(handle, size - len(content), len(content))
        return content
    finally:
        os.close(handle)
