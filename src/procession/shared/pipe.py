"""Pipe: two connections, each of which any process may be given.

Each direction is a pipe of the kernel, which any process of the same user can open again while
someone has it open; so there is an end of file when the last writer is gone, however it went.
"""

from __future__ import annotations

import errno
import os
import weakref
from multiprocessing import connection
from typing import Any

from procession.errors import ProcessionError
from procession.pickling.pickler import loads
from procession.shared.memory import handles
from procession.system import after_fork
from procession.system.pristine import select

_lock = after_fork.rlock()
_connections: weakref.WeakValueDictionary[tuple[int, int], Connection]
_connections = weakref.WeakValueDictionary()


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Two connected ends.

        here, there = shared.Pipe()
        work.submit(there)
        here.send(question)
        answer = here.recv()

    Like `multiprocessing.Pipe`, but an end can be passed to a worker like any other argument. Close
    it here after it has arrived there, if you wait for the other end's end of file.

    Args:
        duplex: Whether both ends send and receive; else the first receives and the second sends.

    Returns:
        Two `Connection` objects.
    """
    read, write, name = handles.create_pipe()
    if not duplex:
        return Connection(_End(read, name, False), None), Connection(None, _End(write, name, True))
    back_read, back_write, back_name = handles.create_pipe()
    return (
        Connection(_End(read, name, False), _End(back_write, back_name, True)),
        Connection(_End(back_read, back_name, False), _End(write, name, True)),
    )


class _End:
    """One end of a kernel's pipe."""

    def __init__(self, fd: int, name: str, writable: bool) -> None:
        self.stream: Any = connection.Connection(fd, readable=not writable, writable=writable)
        self.inode = os.fstat(fd).st_ino
        self.name = name

    def address(self) -> tuple[Any, ...]:
        return tuple(handles.address(self.stream.fileno(), self.name))


class Connection:
    """One end of a `Pipe`. Like `multiprocessing.connection.Connection`.

        if here.poll(5):    # seconds
            answer = here.recv()

    It has a ``fileno()``, so `multiprocessing.connection.wait` works on it.
    """

    def __init__(self, reader: _End | None, writer: _End | None) -> None:
        self._reader = reader
        self._writer = writer
        self._key = (reader.inode if reader else 0, writer.inode if writer else 0)
        with _lock:
            _connections[self._key] = self

    def __reduce__(self) -> tuple[Any, ...]:
        handles.note_sent(self)
        ends = (self._reader, self._writer)
        return _receive, (self._key, *(end and end.address() for end in ends))

    @property
    def readable(self) -> bool:
        """Whether it can receive."""
        return self._reader is not None

    @property
    def writable(self) -> bool:
        """Whether it can send."""
        return self._writer is not None

    @property
    def closed(self) -> bool:
        """Whether it was closed in this process."""
        return all(end.stream.closed for end in (self._reader, self._writer) if end)

    def fileno(self) -> int:
        """The descriptor to wait on: the one to read from, if there is one.

        Raises:
            OSError: If it is closed.
        """
        end = self._reader or self._writer
        assert end is not None
        descriptor: int = end.stream.fileno()
        return descriptor

    def close(self) -> None:
        """Close it in this process."""
        for end in (self._reader, self._writer):
            if end:
                end.stream.close()

    def send(self, obj: Any) -> None:
        """Send an object; waits while the pipe is full.

        Args:
            obj: Anything that can be passed to a worker.

        Raises:
            OSError: If it is closed, or only receives; `BrokenPipeError` if no one can receive.
            NotPicklable: The object cannot cross to another process.
        """
        self._to_write().send_bytes(handles.dumps_into(obj, "shared.Pipe.send", "obj"))

    def recv(self) -> Any:
        """Receive the next object, waiting for it.

        Returns:
            The object; a copy, as an argument is.

        Raises:
            EOFError: If there is none, and no one can send any more.
            OSError: If it is closed, or only sends.
        """
        return loads(self._to_read().recv_bytes())

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send the bytes of a bytes-like object as one message.

        Args:
            buf: The object.
            offset: Where to begin in it.
            size: How many bytes; by default all the rest.

        Raises:
            OSError: If it is closed, or only receives; `BrokenPipeError` if no one can receive.
        """
        self._to_write().send_bytes(buf, offset, size)

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive the next message as bytes.

        Args:
            maxlength: The most bytes to accept; a longer message is an `OSError`.

        Raises:
            EOFError: If there is none, and no one can send any more.
        """
        message: bytes = self._to_read().recv_bytes(maxlength)
        return message

    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Receive the next message into a writable buffer; returns its length in bytes.

        Args:
            buf: The buffer.
            offset: Where to begin in it.

        Raises:
            multiprocessing.BufferTooShort: If it does not fit.
            EOFError: If there is none, and no one can send any more.
        """
        length: int = self._to_read().recv_bytes_into(buf, offset)
        return length

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is something to receive.

        Args:
            timeout: Seconds to wait for it at most; ``None`` waits without end.

        Raises:
            OSError: If it is closed, or only sends.
        """
        stream = self._to_read()
        if stream.closed:
            raise OSError("handle is closed")
        # Not the stream's own, which asks a clock that may stand still (see `pristine`).
        ready = select.poll()
        ready.register(stream.fileno(), select.POLLIN)
        return bool(ready.poll(None if timeout is None else max(0.0, timeout) * 1000))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _to_read(self) -> Any:
        if self._reader is None:
            raise OSError("connection is write-only")
        return self._reader.stream

    def _to_write(self) -> Any:
        if self._writer is None:
            raise OSError("connection is read-only")
        return self._writer.stream


def _receive(
    key: tuple[int, int], read: tuple[Any, ...] | None, write: tuple[Any, ...] | None
) -> Connection:
    with _lock:
        found = _connections.get(key)
        if found is None or found.closed:
            found = Connection(_open(read, os.O_RDONLY), _open(write, os.O_WRONLY))
        return found


def _open(address: tuple[Any, ...] | None, flags: int) -> _End | None:
    if address is None:
        return None
    where = handles.Address(*address)
    try:
        return _End(handles.reopen(where, flags), where.path, flags == os.O_WRONLY)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise ProcessionError(
            "This end of a shared.Pipe cannot be opened: the other end is not open anywhere any "
            "more. Keep both ends open where they were made until they have arrived."
        ) from None
