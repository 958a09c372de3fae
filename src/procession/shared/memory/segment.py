"""Shared memory with a table of the processes that use it, and which of them are alive.

A process that uses a segment claims a row of its table by a lock on one byte of the file. The
kernel drops that lock when the process ends, however it ends. So asking for the lock tells whether
the process is alive, also where process ids were used again. Such locks belong to a process and are
not inherited by `fork`. They are dropped when *any* descriptor of the file is closed in the
process: so a process never opens the same segment twice.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import struct
import sys
import weakref
from collections.abc import Generator
from typing import Any, Protocol, TypeVar, cast

from procession.errors import ProcessionError
from procession.shared.memory import posix_semaphores as semaphores
from procession.shared.memory.layout import (
    BUSY,
    FIRST_ROW,
    HIGHEST,
    INCARNATION,
    KIND,
    MAGIC,
    PARTICIPANT,
    POLLED,
    ROW_WORDS,
    ROWS,
    SEMAPHORES,
    WORD,
)
from procession.shared.memory.memory_file import MemoryFile, opening
from procession.system import after_fork
from procession.system.posix import fcntl
from procession.system.pristine import threading, time

# `struct flock` on Linux (64 bits), and on macOS and the BSDs.
_FLOCK = struct.Struct("hhqqi4x" if sys.platform == "linux" else "qqihh")
_OWNER_BITS = 16

_S = TypeVar("_S", bound="Shared")
_leaving = False


class Flag(Protocol):
    """One byte of a segment, true or false; ``flag[()]``."""

    def __getitem__(self, key: tuple[()], /) -> bool: ...
    def __setitem__(self, key: tuple[()], value: bool, /) -> None: ...


class Segment(MemoryFile):
    """One file in memory, mapped, with its rows. Made by `create`; sent by its address.

    Attributes:
        words: The memory as signed words of 8 bytes.
        map: The memory as bytes.
        row: The row this process claimed; 0 before it needs one.
        views: The objects of this process that live in here, by class.
    """

    def __init__(self, fd: int, path: str, creator: int = 0) -> None:
        self.row: int = 0
        super().__init__(fd, path, creator)
        self.words: memoryview[int] = memoryview(self.map).cast("q")
        self.views: weakref.WeakValueDictionary[type, Any] = weakref.WeakValueDictionary()
        self._guard = threading.Lock()
        if creator:
            self.words[0], self.words[KIND] = MAGIC, _kind()
        self.check()

    @classmethod
    def create(cls, label: str, body: int = 0) -> Segment:
        """Make a segment with `body` bytes for the object itself."""
        size = (FIRST_ROW + ROWS * ROW_WORDS) * WORD + body
        return cls._make(label, -(-size // WORD) * WORD)

    def check(self) -> None:
        """Refuse what an incompatible process has made."""
        if self.words[0] != MAGIC or self.words[KIND] != _kind():
            raise ProcessionError(
                "A procession.shared object comes from a process with another version of "
                "procession or another kind of Python; both sides must use the same."
            )

    def flag(self, word: int) -> Flag:
        """The first byte of a word as true or false, to be read and written as ``flag[()]``."""
        at = word * WORD
        view: Any = memoryview(self.map)[at : at + 1].cast("?", ())
        return cast("Flag", view)

    def claim(self) -> int:
        """This process's row, claimed at the first call.

        Raises:
            ProcessionError: If as many processes as there are rows use the object.
        """
        with self.guard():
            if self.row:
                return self.row
            row = next((row for row in range(1, ROWS) if self._lock_byte(row)), 0)
            if not row:
                raise ProcessionError(
                    f"{ROWS - 1} processes use this shared object already, and that is the most."
                )
            words, at = self.words, FIRST_ROW + row * ROW_WORDS
            words[at + INCARNATION] = (words[at + INCARNATION] + 1) % (1 << 40)
            words[at + BUSY] = 0
            words[at + PARTICIPANT] = 0
            words[HIGHEST] = max(words[HIGHEST], row)
            self.row = row
            _leave_in_order()
            return row

    def identity(self) -> int:
        """A number for this process that no other user of the segment ever has. Never 0."""
        row = self.row or self.claim()
        return self.words[FIRST_ROW + row * ROW_WORDS + INCARNATION] << _OWNER_BITS | row

    def alive(self, identity: int) -> bool:
        """Whether the process with this `identity` still uses the segment."""
        row = identity & ((1 << _OWNER_BITS) - 1)
        incarnation = self.words[FIRST_ROW + row * ROW_WORDS + INCARNATION]
        return incarnation == identity >> _OWNER_BITS and self.occupied(row)

    def occupied(self, row: int) -> bool:
        """Whether a live process has this row."""
        if row == self.row:
            return row != 0
        linux = sys.platform == "linux"
        ask = (fcntl.F_WRLCK, os.SEEK_SET, row, 1, 0) if linux else (row, 1, 0, fcntl.F_WRLCK, 0)
        answer = _FLOCK.unpack(fcntl.fcntl(self.fd, fcntl.F_GETLK, _FLOCK.pack(*ask)))
        return bool(answer[0 if linux else 3] != fcntl.F_UNLCK)

    def rows(self) -> range:
        """Every row that was ever claimed."""
        return range(1, self.words[HIGHEST] + 1)

    def column(self, word: int) -> list[int]:
        """One word of each row, from row 0 on."""
        end = FIRST_ROW + (self.words[HIGHEST] + 1) * ROW_WORDS
        return self.words[FIRST_ROW + word : end : ROW_WORDS].tolist()

    @contextlib.contextmanager
    def guard(self) -> Generator[None]:
        """Keep all other threads and processes out of claims and recoveries; held for moments."""
        with self._guard:
            while True:
                try:
                    fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, 0)
                    break
                except OSError as error:
                    # The kernel takes threads of two processes that hold different objects'
                    # guards for a deadlock. It is none: guards are never held while waiting.
                    if error.errno != errno.EDEADLK:
                        raise
                    time.sleep(0.001)
            try:
                yield
            finally:
                fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, 0)

    def _lock_byte(self, row: int) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Say that this process goes in order: it is missing, but it did not die."""
        if self.row:
            self.words[FIRST_ROW + self.row * ROW_WORDS + PARTICIPANT] = 0
            for view in list(self.views.values()):
                view._leave()

    def after_fork(self) -> None:
        """In a forked child: the row is the parent's, so claim another when one is needed."""
        self.row = 0
        self._guard = threading.Lock()
        for view in list(self.views.values()):
            view._after_fork()


class Shared:
    """Base of the shared objects: one per process and segment, however often it arrives."""

    _segment: Segment

    def __reduce__(self) -> tuple[Any, ...]:
        return attach, (type(self), self._segment)

    def _open(self, segment: Segment, *arguments: Any) -> None:
        """Become a view on `segment`; what `__init__` is for a new object."""
        self._segment = segment

    def _create(self, label: str, body: int = 0) -> None:
        """Become a new object on a segment of its own, with `body` bytes for what it keeps."""
        segment = Segment.create(label, body)
        with opening:
            segment.views[type(self)] = self
        self._prepare(segment)
        self._open(segment)

    def _prepare(self, segment: Segment) -> None:
        """Write what a new segment must hold before it is opened."""

    def _after_fork(self) -> None:
        """Forget what belongs to the parent process."""

    def _leave(self) -> None:
        """Give back what is this process's alone: it ends in order, or drops the object."""


def attach(cls: type[_S], segment: Segment, *arguments: Any) -> _S:
    """This process's `cls` object on `segment`; made if there is none yet."""
    with opening:
        found: _S | None = segment.views.get(cls)
        if found is None:
            found = cls.__new__(cls)
            found._open(segment, *arguments)
            segment.views[cls] = found
        return found


def _kind() -> int:
    return SEMAPHORES if semaphores.usable() else POLLED


def _leave_in_order() -> None:
    """Have `_leave_all` called at the end of a process of multiprocessing too.

    Those do not run what is registered with atexit, at least before Python 3.13.
    """
    global _leaving
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not _leaving:
        _leaving = True
        _leave_at_exit(util)
        # What is unpickled for a new process comes before it forgets the finalizers of its parent.
        util.register_after_fork(util, _leave_at_exit)


def _leave_at_exit(util: Any) -> None:
    util.Finalize(None, _leave_all, exitpriority=0)


def _after_fork() -> None:
    global _leaving
    _leaving = False
    for segment in list(Segment.known.values()):
        segment.after_fork()


def _leave_all() -> None:
    for segment in list(Segment.known.values()):
        segment.leave()


after_fork.renew_in_child(_after_fork)
atexit.register(_leave_all)
