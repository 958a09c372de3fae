"""Files with names, for systems where files without one cannot be opened by another process.

They lie in a folder of this process, which only its user can enter. It is removed when the process
ends in order; if the process was killed, the next one of the same user that makes such a folder
removes it. Linux needs none of this.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from itertools import count

__all__ = ["create", "create_pipe", "forget"]

_PREFIX = f"procession-shared-{os.getuid()}-"
_numbers = count()
_mine: tuple[int, str, int] | None = None  # process, folder, descriptor of its lock


def create(label: str) -> tuple[int, str]:
    """Make an empty file; returns its descriptor and its path."""
    path = _new_path(label)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path


def create_pipe() -> tuple[int, int, str]:
    """Make a pipe; returns where to read, where to write, and its path."""
    path = _new_path("pipe")
    os.mkfifo(path, 0o600)
    read = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    write = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    os.set_blocking(read, True)
    return read, write, path


def forget(path: str) -> None:
    """Remove a file that this process made."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _new_path(label: str) -> str:
    global _mine
    if _mine is None or _mine[0] != os.getpid():
        _sweep()
        folder = tempfile.mkdtemp(prefix=_PREFIX)
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        _mine = (os.getpid(), folder, lock)
        atexit.register(_remove, *_mine)
    return os.path.join(_mine[1], f"{label}-{next(_numbers)}")


def _remove(pid: int, folder: str, lock: int) -> None:
    if pid == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep() -> None:
    """Remove the folders of processes that were killed: nobody holds their lock."""
    parent = tempfile.gettempdir()
    for name in os.listdir(parent):
        if not name.startswith(_PREFIX):
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
            os.close(lock)
