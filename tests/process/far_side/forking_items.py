"""Items, initializers and arguments that fork, and return in both processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def _copy(delay: float = 0.05) -> bool:
    """Fork; whether this is the child, after some time in which the parent goes on."""
    if os.fork():
        return False
    time.sleep(delay)
    return True


def returns(x: int) -> Any:
    """Returns in both."""
    return "STALE" if x == 1 and _copy() else x


def raises(x: int) -> int:
    """Raises in the child."""
    if x == 1 and _copy():
        raise LookupError("STALE")
    return x


def exits(x: int) -> int:
    """The child calls `sys.exit`, as a program does; its code is what its parent waits for."""
    if x != 1:
        return x
    child = os.fork()
    if not child:
        sys.exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Forks:
    """A result that forks where it is pickled; or an argument, where it is unpickled."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where, "stale": self.where == "pickled" and _copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.where, self.stale = state["where"], state["stale"]
        if self.where == "unpickled":
            self.where = "nowhere"
            self.stale = _copy()


def gives(where: str) -> Any:
    """A result that forks, or none."""
    return Forks(where)


def takes(forks: Any) -> bool:
    """Whether an argument is the child's."""
    return bool(forks.stale)


def second(x: int) -> int:
    """What comes next, and takes its time."""
    time.sleep(0.02)
    return x * 100


def forks_in_thread(x: int) -> int:
    """Forks in a thread of its own, which returns in both."""
    thread = threading.Thread(target=_copy)
    thread.start()
    thread.join()
    return x


def forks_at_start(folder: str) -> None:
    """An initializer."""
    _copy()


def streams(n: int) -> Iterator[Any]:
    """A generator that goes on in both."""
    yield 0
    stale = _copy()
    for each in range(1, n):
        yield "STALE" if stale else each


def _note(path: str) -> None:
    Path(path).write_text("done")


def has_child(path: str) -> str:
    """Starts a process of the standard library's, by fork; its target returns."""
    process = multiprocessing.get_context("fork").Process(target=_note, args=(path,))
    process.start()
    process.join()
    return f"{process.exitcode} {Path(path).read_text()}"


def writes_to_channel(x: int) -> int:
    """Sends an answer for another chunk by the worker's own channel."""
    from procession.process.far_side.worker_main import _Worker
    from procession.process.io import messages
    from procession.process.io.channel import send_all

    frame: Any = sys._getframe()
    while type(frame.f_locals.get("self")) is not _Worker:
        frame = frame.f_back
    if x == 1:
        send_all(frame.f_locals["self"]._sock, messages.pack_replies(messages.DONE, [], 99))
        time.sleep(60)
    return x
