"""Descriptors of nameless files that any process of the same user can open again.

A shared object travels as an *address*: who has it open (pid), under which descriptor, and what
file that is (device, inode). The receiver opens it there (`procession.system.descriptors`) and
compares device and inode. So a descriptor that was closed and used again is never taken for the
object. Nothing has a name, so nothing is left behind however a process ends. The kernel sees to it
that only the same user can open it.

On other systems (macOS), files get a name in a folder of this process, which only its user can
enter. It is removed when the process ends in order. If the process was killed, the next one of the
same user that makes such a folder removes it.
"""

from __future__ import annotations

import atexit
import errno
import shutil
import stat
import tempfile
from itertools import count

from procession.errors import ProcessionError
from procession.pickling.objects import ATOMS, class_of, is_one_of
from procession.pickling.out_of_band import note_sent, with_senders
from procession.pickling.pickler import dumps
from procession.system import NamedTuple, descriptors
from procession.system.descriptors import NAMELESS
from procession.system.interrupts import strikes
from procession.system.limits import explained
from procession.system.posix import OWN_WORKERS, fcntl, os
from procession.system.pristine import close_descriptor

__all__ = [
    "NAMELESS",
    "Address",
    "address",
    "create",
    "create_pipe",
    "dumps_and_sent",
    "dumps_into",
    "forget",
    "note_sent",
    "reopen",
]


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
    with explained():
        if NAMELESS:
            return descriptors.nameless(f"procession-{label}", size), ""
        path = _new_path(label)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, size)
        except OSError:
            close_descriptor(fd)
            raise
    return fd, path


def create_pipe() -> tuple[int, int, str]:
    """Make a pipe in one direction; returns where to read, where to write, and its name."""
    with explained():
        if NAMELESS:
            return *os.pipe(), ""
        path = _new_path("pipe")
        os.mkfifo(path, 0o600)
        read = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        write = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.set_blocking(read, True)
        return read, write, path


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
            raise  # a pipe that no one reads
        raise _gone(where) from None
    found = os.fstat(fd)
    if not _is(found, where):
        close_descriptor(fd)
        raise _gone(where)
    if stat.S_ISFIFO(found.st_mode):
        os.set_blocking(fd, True)
    return fd


def _open_named(where: Address, flags: int) -> int:
    # Look before opening: opening a stranger's file or device may block or have effects.
    if not _is(os.stat(where.path), where):
        raise _gone(where)
    return os.open(where.path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def dumps_into(value: object, taker: str, root: str = "value") -> bytes:
    """Pickle what a shared object is given.

    Args:
        value: What is given.
        taker: What takes it, and as which argument, for the message.
        root: The argument.

    Raises:
        NotPicklable: It cannot cross.
    """
    try:
        return dumps(value)
    except BaseException as error:
        if strikes(error):
            raise
        from procession.explaining.explain import explain

        raise explain(error, value, where="argument", function=taker, root=root) from None


def dumps_and_sent(value: object, taker: str, root: str = "value") -> tuple[bytes, list[object]]:
    """As `dumps_into`; returns also what was pickled as an address, to be kept open."""
    if is_one_of(class_of(value), ATOMS):
        return dumps(value), []
    return with_senders(lambda: dumps_into(value, taker, root))


def _is(found: os.stat_result, where: Address) -> bool:
    return (found.st_dev, found.st_ino) == (where.device, where.inode)


def _gone(where: Address) -> ProcessionError:
    return ProcessionError(
        f"A procession.shared object that process {where.pid} sent cannot be opened: that process "
        "has ended, has dropped the object, or is on another machine. Keep a reference to the "
        "object where it is sent from until it has arrived; it works on one machine only."
    )


# -- with names, where files without one cannot be opened by another process ---------------------

_FOLDERS = f"procession-shared-{os.getuid() if OWN_WORKERS else 0}-"
_numbers = count()
_mine: tuple[int, str, int] | None = None  # process, folder, descriptor of its lock


def forget(path: str) -> None:
    """Remove a file that this process made."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _new_path(label: str) -> str:
    """A new name in this process's folder."""
    global _mine
    if _mine is None or _mine[0] != os.getpid():
        _remove_folders_of_the_killed()
        folder = tempfile.mkdtemp(prefix=_FOLDERS)
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        _mine = (os.getpid(), folder, lock)
        atexit.register(_remove, *_mine)
    return os.path.join(_mine[1], f"{label}-{next(_numbers)}")


def _remove(pid: int, folder: str, lock: int) -> None:
    if pid == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
        close_descriptor(lock)


def _remove_folders_of_the_killed() -> None:
    """Those whose lock is not held any more."""
    parent = tempfile.gettempdir()
    for name in os.listdir(parent):
        if not name.startswith(_FOLDERS):
            continue
        folder = os.path.join(parent, name)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(lock).st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its process is alive
        finally:
            close_descriptor(lock)
