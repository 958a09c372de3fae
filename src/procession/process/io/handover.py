"""What our fork server and its client say to each other, and what a process is handed that way.

A request is one byte with descriptors (SCM_RIGHTS), over a pair of connected sockets that nobody
else holds. The first descriptors of each are where the new process reads what it is to run, and
where the server writes two numbers: its process id, or a negative errno, and in the end its exit
code.
"""

from __future__ import annotations

import array
import os
import struct
from collections.abc import Sequence

from procession.system.pristine import socket

__all__ = [
    "MOST",
    "ROOM",
    "Inherited",
    "inherited",
    "numbers_in",
    "read_number",
    "receive",
    "send",
    "write_number",
]

MOST = 253
"""Most descriptors that Linux passes with one message (SCM_MAX_FD)."""

ROOM = socket.CMSG_SPACE(MOST * array.array("i").itemsize)
"""What `recvmsg` needs for so many."""

_NUMBER = struct.Struct("q")

inherited: list[int] = []
"""In a process that our server has forked: the descriptors that it was handed."""


class Inherited:
    """Stands for a descriptor in what is sent to a new process.

    Args:
        place: Its place among those that are sent along.
    """

    def __init__(self, place: int) -> None:
        self._place = place

    def detach(self) -> int:
        """Its number in that process."""
        return inherited[self._place]


def numbers_in(descriptors: bytes) -> list[int]:
    """The descriptors that an SCM_RIGHTS message brings. (`socket.recv_fds` takes no flags.)"""
    numbers = array.array("i")
    numbers.frombytes(descriptors[: len(descriptors) - len(descriptors) % numbers.itemsize])
    return list(numbers)


def send(requests: int, descriptors: Sequence[int]) -> None:
    """Send a request, over this socket's descriptor.

    Raises:
        OSError: The server is gone.
        ValueError: These are more descriptors than one message takes.
    """
    if len(descriptors) > MOST:
        raise ValueError(
            f"{len(descriptors)} descriptors cannot be passed to one process, at most {MOST}"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, requests)
    try:
        quietly = getattr(socket, "MSG_NOSIGNAL", 0)  # SIGPIPE may mean the caller's end
        socket.send_fds(sock, [b"\0"], list(descriptors), quietly)
    finally:
        sock.detach()


def receive(sock: socket.socket) -> list[int]:
    """Wait for a request.

    Returns:
        Its descriptors; none if this process may not open so many.

    Raises:
        EOFError: Nobody is there any more who could send one.
    """
    data, beside, flags, _ = sock.recvmsg(1, ROOM, socket.MSG_CMSG_CLOEXEC)
    if not data:
        raise EOFError
    numbers = [number for _, _, descriptors in beside for number in numbers_in(descriptors)]
    if not flags & socket.MSG_CTRUNC:
        return numbers
    for number in numbers:
        os.close(number)
    return []


def write_number(descriptor: int, number: int) -> None:
    """Tell the client; if it is gone, nobody wants to know."""
    try:
        os.write(descriptor, _NUMBER.pack(number))  # at once: a pipe takes so little whole
    except BrokenPipeError:
        pass


def read_number(descriptor: int) -> int:
    """Wait for the server's next number.

    Raises:
        EOFError: The server is gone, or cannot open what it was sent.
    """
    data = os.read(descriptor, _NUMBER.size)
    if len(data) < _NUMBER.size:
        raise EOFError("the fork server ended, or may open no more files (ulimit -n)")
    number: int = _NUMBER.unpack(data)[0]
    return number
