"""Messages between this process and one worker, over a pair of connected sockets.

A message is a tuple of plain values, marshalled, and then any number of segments: large blobs and
buffers, which are sent from where they lie and received into memory of their own, writable. The
parent never blocks: what the socket does not take now is kept and sent when it can be. A worker
blocks.

A worker passes descriptors with a frame's first bytes (SCM_RIGHTS), so that what they stand for can
be opened though the worker has died since.

Frame: ``<u32 length of the tuple> <u64 number of segments>``, the tuple, the segments. The
tuple's last entry then gives the length of each segment.
"""

from __future__ import annotations

import array
import marshal
import os
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from procession.hints import Any
from procession.system import after_fork
from procession.system.posix import CLOSE_ON_EXEC, DO_NOT_WAIT, OWN_WORKERS
from procession.system.pristine import close_descriptor, socket

SEGMENT = 64 * 1024
"""Blobs from this size on are sent from where they lie. A guess: below it, one copy more costs
less than the larger number of system calls."""

MOST = 253
"""Most descriptors that Linux passes with one message (SCM_MAX_FD)."""

ROOM = socket.CMSG_SPACE(MOST * array.array("i").itemsize) if OWN_WORKERS else 0
"""What `recvmsg` needs for so many."""

_HEAD = struct.Struct("<IQ")
_BLOCK = 64 * 1024
# A program that lets SIGPIPE end it is not to be ended by the death of a worker.
_QUIETLY = int(getattr(socket, "MSG_NOSIGNAL", 0))
_PARTS = 512
"""Most parts in one system call; the kernel's own limit is 1024."""

_Received = tuple[bytes, list[tuple[int, int, bytes]], int, Any]
Message = tuple[tuple[Any, ...], Sequence[Any]]


class Frame(list[Any]):
    """The parts to send for a message.

    Attributes:
        descriptors: What to pass with them.
    """

    descriptors: Sequence[int] = ()


def frame(message: tuple[Any, ...], segments: Sequence[Any] = ()) -> Frame:
    """The parts to send for a message."""
    if not segments:
        body = marshal.dumps(message)
        return Frame([_HEAD.pack(len(body), 0) + body])
    views = [memoryview(segment).cast("B") for segment in segments]
    sizes = tuple(map(len, views))
    body = marshal.dumps((*message, sizes))
    return Frame([_HEAD.pack(len(body), len(sizes)) + body, *views])


def numbers_in(descriptors: bytes) -> list[int]:
    """The descriptors that an SCM_RIGHTS message brings. (`socket.recv_fds` takes no flags.)"""
    numbers = array.array("i")
    numbers.frombytes(descriptors[: len(descriptors) - len(descriptors) % numbers.itemsize])
    if not CLOSE_ON_EXEC:
        for number in numbers:
            os.set_inheritable(number, False)
    return list(numbers)


class Passed(dict[int, int]):
    """Descriptors that came with frames, by their file's inode, until they are taken."""

    def add(self, descriptors: bytes) -> None:
        """Take what one call of ``recvmsg`` brought."""
        for number in numbers_in(descriptors):
            inode = os.fstat(number).st_ino
            if inode in self:
                close_descriptor(self[inode])
            self[inode] = number

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        while self and not ending():
            close_descriptor(self.popitem()[1])


class Receiver:
    """Puts the frames that come in together again.

    Args:
        sock: Where to read; a blocking socket.

    Attributes:
        passed: Takes the descriptors that are passed; `None`: there are none.
        fetched: What was received and is not yet read.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.passed: Passed | None = None
        self._sock = sock
        self._rest = b""
        self._piece: bytearray | None = None
        self._filled = 0
        self._segmented = False
        self._message: tuple[Any, ...] | None = None
        self._sizes: deque[int] = deque()
        self._segments: list[bytearray] = []
        self.fetched: deque[_Received] = deque()

    @property
    def amid(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return self._piece is not None or bool(self._rest)

    def fetch(self) -> bool:
        """Wait for data and keep it until `read` is called. Not amid a large piece: then false.

        It is received and kept in one step: a signal handler that raises runs before or after it,
        and in both cases nothing is lost.
        """
        if self._piece is not None:
            return False
        if not self.fetched:
            self.fetched.extend(map(self._sock.recvmsg, (_BLOCK,), (ROOM,), (CLOSE_ON_EXEC,)))
        return True

    def read(self, flags: int = 0) -> list[Message]:
        """Read once, and return the messages that are complete by now, perhaps none.

        Raises:
            EOFError: The other side is closed.
            BlockingIOError: Nothing is there, and `flags` say not to wait.
        """
        if self._piece is not None:
            size = self._sock.recv_into(memoryview(self._piece)[self._filled :], 0, flags)
            if not size:
                raise EOFError
            self._filled += size
            messages: list[Message] = []
            if self._filled == len(self._piece):
                self._complete(messages)
            return messages
        if self.passed is None:
            data = os.read(self._sock.fileno(), _BLOCK)  # takes half of what `recv` takes
        else:
            if self.fetched:
                data, rights, _, _ = self.fetched.popleft()
            else:
                data, rights, _, _ = self._sock.recvmsg(_BLOCK, ROOM, flags | CLOSE_ON_EXEC)
            for level, kind, descriptors in rights:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    self.passed.add(descriptors)
        if not data:
            raise EOFError
        if self._rest:
            data, self._rest = self._rest + data, b""
        elif len(data) >= _HEAD.size:
            length, segments = _HEAD.unpack_from(data)
            if not segments and len(data) == _HEAD.size + length:  # one frame, and all of it
                return [(marshal.loads(memoryview(data)[_HEAD.size :]), ())]
        return self._parse(memoryview(data))

    def _parse(self, view: memoryview) -> list[Message]:
        messages: list[Message] = []
        at = 0
        while at < len(view):
            if self._piece is not None:
                taken = view[at : at + len(self._piece) - self._filled]
                self._piece[self._filled : self._filled + len(taken)] = taken
                self._filled += len(taken)
                at += len(taken)
                if self._filled == len(self._piece):
                    self._complete(messages)
                continue
            if len(view) - at < _HEAD.size:
                self._rest = bytes(view[at:])
                break
            length, segments = _HEAD.unpack_from(view, at)
            at += _HEAD.size
            if not segments and len(view) - at >= length:
                messages.append((marshal.loads(view[at : at + length]), ()))
                at += length
            else:
                self._segmented = bool(segments)
                self._piece, self._filled = bytearray(length), 0
        return messages

    def _complete(self, messages: list[Message]) -> None:
        """A piece is full: begin the next one of its frame, or hand the frame out."""
        assert self._piece is not None
        if self._message is None:
            loaded: tuple[Any, ...] = marshal.loads(self._piece)
            self._message = loaded
            if self._segmented:
                sizes: tuple[int, ...] = loaded[-1]
                self._sizes.extend(sizes)
        else:
            self._segments.append(self._piece)
        message = self._message
        assert message is not None
        self._piece = None
        while self._sizes:
            size = self._sizes.popleft()
            if size:
                self._piece, self._filled = bytearray(size), 0
                return
            self._segments.append(bytearray())
        messages.append((message, self._segments))
        self._message, self._segments = None, []


class Sender:
    """Sends frames without ever blocking.

    Args:
        sock: Where to write; a blocking socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = after_fork.lock()
        self._waiting: deque[memoryview] = deque()
        self._sending = False  # by this thread, if it is seen: then a finalizer has struck it

    def send(self, parts: Sequence[Any]) -> bool:
        """Send a frame, or as much as the socket takes now.

        Returns:
            Whether all is sent. If not, call `flush` when the socket can be written to.

        Raises:
            OSError: The other side is closed.
        """
        with self._lock:
            amid = self._sending
            try:
                self._sending = True
                if len(parts) == 1 and not (self._waiting or amid):
                    part = parts[0]
                    try:
                        sent = self._sock.send(part, DO_NOT_WAIT | _QUIETLY)
                    except BlockingIOError:
                        sent = 0
                    if sent == len(part):
                        return True
                    self._waiting.appendleft(memoryview(part)[sent:])
                    return False
                self._waiting.extend([memoryview(part) for part in parts])
                return not amid and self._flush()
            finally:
                self._sending = amid

    def flush(self) -> bool:
        """Send what waits. Whether all is sent now.

        Raises:
            OSError: The other side is closed.
        """
        return self.send(())

    def _flush(self) -> bool:
        while self._waiting:
            batch = [self._waiting[i] for i in range(min(len(self._waiting), _PARTS))]
            try:
                sent = self._sock.sendmsg(batch, (), DO_NOT_WAIT | _QUIETLY)
            except BlockingIOError:
                return False
            while sent:
                first = self._waiting[0]
                if len(first) > sent:
                    self._waiting[0] = first[sent:]
                    break
                sent -= len(first)
                self._waiting.popleft()
            while self._waiting and not self._waiting[0]:
                self._waiting.popleft()
        return True


def split(data: bytes) -> list[Message]:
    """The messages in some whole frames without segments."""
    found: list[Message] = []
    at = 0
    while at < len(data):
        length, _ = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        found.append((marshal.loads(data[at : at + length]), ()))
        at += length
    return found


def parse(parts: Sequence[Any]) -> list[Message]:
    """The messages in a frame's parts, as if they had been received."""
    one, other = socket.socketpair()
    with one, other:
        send_all(one, parts)
        return Receiver(other).read()


def send_short(descriptor: int, data: bytes) -> None:
    """Send a short frame and wait until it is sent. Takes half of what `send_all` takes.

    Raises:
        OSError: The other side is closed.
    """
    sent = os.write(descriptor, data)
    while sent < len(data):
        sent += os.write(descriptor, memoryview(data)[sent:])


def send_all(sock: socket.socket, parts: Iterable[Any]) -> None:
    """Send a frame and wait until it is sent: the worker's way.

    Raises:
        OSError: The other side is closed.
    """
    descriptors = getattr(parts, "descriptors", ())
    for part in parts:
        if descriptors:
            sent = socket.send_fds(sock, [part], descriptors[:MOST])
            part = memoryview(part)[sent:]
            descriptors = ()
        sock.sendall(part)
