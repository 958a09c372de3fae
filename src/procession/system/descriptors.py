"""Open files of this process: made without a name, and opened again by other processes.

What crosses is a descriptor's number. The receiver opens ``/proc/<pid>/fd/<n>`` (`reopen`). That
cannot be done where there is no ``/proc``, nor into a process that is not *dumpable*: after
``os.setuid``, or ``prctl(PR_SET_DUMPABLE, 0)``. Such a process hands out what it is asked for
(SCM_RIGHTS). Its socket is named after its pid and has no place in the file system. Only
the same user and root are answered, and only for a number that is still the file's.

What comes that way shares its open file with the sender. It is opened anew where there is a
``/proc``, as a process may always look into itself.
"""

from __future__ import annotations

import errno
import stat
import struct

from procession.hints import Any
from procession.system import after_fork, cpython
from procession.system.posix import CLOSE_ON_EXEC, LENDS_FILES, os
from procession.system.pristine import close_descriptor, socket, threading, time

NAMELESS = LENDS_FILES
"""Whether a file without a name can be opened again by another process."""

_ASKED = struct.Struct("=qQ")
_PEER = struct.Struct("3i")
_FOUND, _CLOSED = b"y", b"n"
_PATIENCE = 5.0
"""Seconds that a process which is connected has to say what it wants. It says so at once."""

_GET_DUMPABLE = 3


class Closed(OSError):
    """Raised when a descriptor was closed, and perhaps used again for another file."""


def nameless(label: str, size: int = 0, *, sealable: bool = False) -> int:
    """Make a file without a name, in memory if the system can; returns its descriptor.

    A process that may look into ``/proc/<pid>/fd`` can open it there. The file's mode lets only
    this process's user do so.

    Args:
        label: What it is called in ``/proc``.
        size: Its size in bytes.
        sealable: Whether it can be sealed.
    """
    if not hasattr(os, "memfd_create"):
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    else:
        flags = os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if sealable else 0)
        descriptor = os.memfd_create(label, flags)
    try:
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, size)
    except BaseException:
        close_descriptor(descriptor)
        raise
    return descriptor


def file_of(descriptor: int) -> Any:
    """What identifies the file that a descriptor stands for; `None` if it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mode


# -- the owner's side ----------------------------------------------------------------------------


def has_proc() -> bool:
    """Whether this process can open its own files anew."""
    return os.access("/proc/self/fd", os.X_OK)


def offer() -> None:
    """Call before a descriptor's number is sent: see to it that it can be opened elsewhere.

    Raises:
        OSError: It cannot, as the system refuses a socket or a thread.
    """
    if LENDS_FILES and _is_hidden():
        _desk.open()


def _is_hidden() -> bool:
    """Whether other processes of the same user cannot look into this one."""
    try:
        owner = os.stat("/proc/self/fd").st_uid
    except OSError:
        return True
    user = os.geteuid()
    # That of a process that is not dumpable is root's. Of root's own it does not tell.
    return owner != user if user else not _dumpable()


def _dumpable() -> bool:
    import ctypes

    try:
        return bool(ctypes.CDLL(None).prctl(_GET_DUMPABLE, 0, 0, 0, 0) == 1)
    except (OSError, AttributeError):
        return True  # no such call can be made here


def _name(pid: int) -> bytes:
    """Where a process is asked: pids of several containers may share one network."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        space = 0
    return b"\0procession-%d-%d" % (space, pid)


class _Desk:
    """Hands out descriptors of this process."""

    def __init__(self) -> None:
        self._lock = after_fork.lock()
        self._listener: Any = None
        self._file: Any = None

    def open(self) -> None:
        with self._lock:
            if self._listener is not None:
                if file_of(self._listener.fileno()) == self._file:
                    return
                self._listener.detach()  # the program has closed it
                self._listener = None
            listener = _socket()
            try:
                listener.bind(_name(os.getpid()))
                listener.listen(128)
                threading.Thread(
                    target=_serve, name="procession-lending", args=(listener,), daemon=True
                ).start()
            except BaseException:
                listener.close()
                raise
            self._listener, self._file = listener, file_of(listener.fileno())

    def renew(self) -> None:
        """In a forked child: what is asked for there is the parent's."""
        if self._listener is not None:
            if file_of(self._listener.fileno()) == self._file:
                self._listener.close()
            else:
                self._listener.detach()
            self._listener = None


def _socket() -> Any:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def _serve(listener: Any) -> None:
    while True:
        try:
            accepted = cpython.accept(listener)
        except OSError as error:
            if error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP):
                return  # it was closed
            time.sleep(0.01)  # too many files are open: it goes on when some are closed
            continue
        try:
            with socket.socket(fileno=accepted) as sock:
                _answer(sock)
        except OSError:
            pass  # it has gone


def _answer(sock: Any) -> None:
    if _peer(sock)[1] not in (0, os.geteuid(), os.getuid()):
        return
    sock.settimeout(_PATIENCE)
    asked = sock.recv(_ASKED.size)
    if len(asked) != _ASKED.size:
        return
    number, inode = _ASKED.unpack(asked)
    found = file_of(number)
    if found is not None and found[1] == inode:
        socket.send_fds(sock, [_FOUND], [number])
    else:
        sock.send(_CLOSED)


def _peer(sock: Any) -> tuple[int, int, int]:
    """Pid, user and group of the process at the other end."""
    pid, user, group = _PEER.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    )
    return pid, user, group


_desk = _Desk()
after_fork.renew_in_child(_desk.renew)


# -- the other side ------------------------------------------------------------------------------


def reopen(pid: int, number: int, inode: int, flags: int) -> int:
    """Open what another process has open under a number.

    Raises:
        Closed: It has it no more.
        OSError: It cannot be opened here; the text says why.
    """
    path = f"/proc/{pid}/fd/{number}"
    flags |= os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # Look before opening: opening a stranger's file or device may block or have effects.
        if os.stat(path).st_ino != inode:
            raise Closed(errno.ENOENT, "it was closed there")
        opened = os.open(path, flags)
    except PermissionError as error:
        opened = _borrowed(pid, number, inode, flags, str(error))
    except FileNotFoundError:
        if has_proc():
            raise
        opened = _borrowed(pid, number, inode, flags, "there is no /proc here")
    found = os.fstat(opened)
    if found.st_ino != inode:
        close_descriptor(opened)
        raise Closed(errno.ENOENT, "it was closed there")
    if stat.S_ISFIFO(found.st_mode):
        os.set_blocking(opened, True)
    return opened


def _borrowed(pid: int, number: int, inode: int, flags: int, why: str) -> int:
    """Ask for the descriptor, and open anew what comes if that can be done."""
    passed = _ask(pid, number, inode, why)
    try:
        return os.open(f"/proc/self/fd/{passed}", flags)
    except OSError:
        passed, kept = -1, passed
        return kept
    finally:
        if passed >= 0:
            close_descriptor(passed)


def _ask(pid: int, number: int, inode: int, why: str) -> int:
    import array

    refused = PermissionError(errno.EACCES, f"{why}, and it does not hand it out")
    with _socket() as sock:
        try:
            sock.connect(_name(pid))
            if _peer(sock)[0] != pid:
                raise refused
            sock.send(_ASKED.pack(number, inode), getattr(socket, "MSG_NOSIGNAL", 0))
            room = socket.CMSG_SPACE(array.array("i").itemsize)
            answer, rights, _, _ = sock.recvmsg(1, room, CLOSE_ON_EXEC)
        except ConnectionError:
            raise refused from None
    if answer == _CLOSED:
        raise Closed(errno.ENOENT, "it was closed there")
    numbers = array.array("i")
    for _, _, descriptors in rights:
        numbers.frombytes(descriptors[:4])
    if not numbers:
        raise refused
    return numbers[0]
