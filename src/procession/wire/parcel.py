"""Bytes that go to many workers: small ones travel in each message, large ones lie in one place.

On Linux the place is memory without a name, which any process of the same user can open through
the owner's entry in /proc: it is gone with its last holder, whoever dies and how. Elsewhere it is
a temporary file, removed when the parcel is dropped.
"""

from __future__ import annotations

import os
import sys
import weakref
from typing import Any

from procession.system.nameless import nameless

__all__ = ["Parcel", "unpack"]

IN_MESSAGE = 64 * 1024
"""Bytes up to which a copy in each message is cheaper than opening a file: a guess from the cost
of the two system calls (10 µs) against a pipe's 1 to 2 GB/s."""


class Parcel:
    """Bytes that can be sent many times.

    Attributes:
        ticket: What to put in the message: the bytes, or where they can be read.
    """

    def __init__(self, content: bytes) -> None:
        self.ticket: Any = content
        if len(content) <= IN_MESSAGE:
            return
        if sys.platform == "linux":
            handle = nameless("procession")
            self.ticket = f"/proc/{os.getpid()}/fd/{handle}"
            weakref.finalize(self, _close, handle, os.getpid()).atexit = False
        else:
            import tempfile

            handle, self.ticket = tempfile.mkstemp(prefix="procession-")
            weakref.finalize(self, _remove, handle, self.ticket, os.getpid())
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]


def _close(handle: int, pid: int) -> None:
    if pid == os.getpid():
        os.close(handle)


def _remove(handle: int, path: str, pid: int) -> None:
    if pid == os.getpid():
        os.close(handle)
        os.unlink(path)


def unpack(ticket: Any) -> bytes:
    """The bytes that a ticket stands for, in a worker.

    Raises:
        OSError: The parcel was dropped meanwhile, or its owner has died.
    """
    if isinstance(ticket, bytes):
        return ticket
    with open(ticket, "rb") as file:
        return file.read()
