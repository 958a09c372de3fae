"""Descriptors of nameless files that any process of the same user can open again.

A shared object travels as an *address*: who has it open (pid), under which descriptor, and what
file that is (device, inode). The receiver opens it there (`procession.system.descriptors`) and
compares device and inode, so that a descriptor that was closed and used again is never taken for
the object. Nothing has a name, so nothing is left behind however a process ends, and the kernel
sees to it that only the same user can open it.

On other systems (macOS), files get a name in a private folder: see
`procession.shared.memory.folder`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from typing import Any
from weakref import ref

from procession.errors import ProcessionError
from procession.pickling.objects import ATOMS
from procession.pickling.out_of_band import note_sent, with_senders
from procession.pickling.pickler import dumps
from procession.system import NamedTuple, descriptors
from procession.system.descriptors import NAMELESS
from procession.system.limits import explained

__all__ = [
    "NAMELESS",
    "Address",
    "Closing",
    "address",
    "close_struck",
    "create",
    "create_pipe",
    "dumps_and_sent",
    "note_sent",
    "reopen",
]


class Closing(ref[Any]):
    """Closes the descriptor of an object that nobody holds any more, once.

    The object's ``__del__`` calls `close`. Ctrl-C may strike in there at any instant, and Python
    goes on without it. Then the weak reference that this is, whose callback is a function in C,
    puts the descriptor aside, and `close_struck` closes it.

    Args:
        owner: The object.
        descriptor: The descriptor.
    """

    __slots__ = ("_left",)
    _left: list[Any]

    def __new__(cls, owner: object, descriptor: int) -> Closing:
        """As `weakref.ref`."""
        made = super().__new__(cls, owner, _struck.append)
        made._left = [None, descriptor]
        _owned.add(made)
        return made

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def close(self) -> None:
        """Close it, unless it was closed."""
        if self._left:
            # In one call, amid which no signal handler can raise.
            deque(map(os.close, iter(self._left.pop, None)), 0)
        _owned.discard(self)


_struck: deque[Any] = deque()
_owned: set[Closing] = set()


def close_struck() -> None:
    """Close what finalizers that were interrupted have left open."""
    while _struck:
        _struck.popleft().close()


class Address(NamedTuple):
    """Where a descriptor can be opened again, as long as its process keeps it open.

    Attributes:
        pid: The process that has it open.
        fd: Its descriptor there.
        device: The file's device.
        inode: The file's inode.
        path: The file's name; empty where files have none.
    """

    pid: int
    fd: int
    device: int
    inode: int
    path: str = ""


def create(label: str, size: int) -> tuple[int, str]:
    """Make an empty file in memory; returns its descriptor and its name, if it has one."""
    close_struck()
    with explained():
        if NAMELESS:
            return descriptors.nameless(f"procession-{label}", size), ""
        from procession.shared.memory import folder

        fd, path = folder.create(label)
        try:
            os.ftruncate(fd, size)
        except OSError:
            os.close(fd)
            raise
    return fd, path


def create_pipe() -> tuple[int, int, str]:
    """Make a pipe in one direction; returns where to read, where to write, and its name."""
    close_struck()
    with explained():
        if NAMELESS:
            return *os.pipe(), ""
        from procession.shared.memory import folder

        return folder.create_pipe()


def address(fd: int, path: str = "") -> Address:
    """The address to send for a descriptor of this process."""
    found = os.fstat(fd)
    return Address(os.getpid(), fd, found.st_dev, found.st_ino, path)


def reopen(where: Address, flags: int) -> int:
    """Open what another process has open.

    Raises:
        ProcessionError: If it is not open there any more, or is another machine's.
    """
    try:
        if where.path:
            fd = _open_named(where, flags)
        else:
            fd = descriptors.reopen(where.pid, where.fd, where.inode, flags)
    except PermissionError as error:
        raise ProcessionError(
            f"A procession.shared object of process {where.pid} cannot be opened here: "
            f"{error.strerror}. Shared objects are for processes of the same user only; where it "
            "has changed since (os.setuid, prctl), make and send them after that."
        ) from None
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise  # a pipe that nobody reads
        raise _gone(where) from None
    found = os.fstat(fd)
    if not _is(found, where):
        os.close(fd)
        raise _gone(where)
    if stat.S_ISFIFO(found.st_mode):
        os.set_blocking(fd, True)
    return fd


def _open_named(where: Address, flags: int) -> int:
    # Look before opening: opening a stranger's file or device may block or have effects.
    if not _is(os.stat(where.path), where):
        raise _gone(where)
    return os.open(where.path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def dumps_and_sent(value: object) -> tuple[bytes, list[object]]:
    """Pickle `value`; returns also what was pickled as an address, to be kept open."""
    if type(value) in ATOMS:
        return dumps(value), []
    return with_senders(lambda: dumps(value))


def _is(found: os.stat_result, where: Address) -> bool:
    return (found.st_dev, found.st_ino) == (where.device, where.inode)


def _gone(where: Address) -> ProcessionError:
    return ProcessionError(
        f"A procession.shared object that process {where.pid} sent cannot be opened: that process "
        "has ended, has dropped the object, or is on another machine. Keep a reference to the "
        "object where it is sent from until it has arrived; it works on one machine only."
    )
