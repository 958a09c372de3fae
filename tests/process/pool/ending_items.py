"""What runs in workers that are about to end."""

from __future__ import annotations

import atexit
import os
import sys
import time
from pathlib import Path
from typing import Any

from procession import per_worker


class Closes:
    """Notes that it was closed."""

    path = ""

    def close(self) -> None:
        """Note it."""
        if self.path:
            Path(self.path + ".closed").touch()


class Refuses:
    """Cannot be closed."""

    def close(self) -> None:
        """Would end what closes it."""
        raise KeyboardInterrupt


closes = per_worker(Closes)
refuses = per_worker(Refuses)


def note_the_end(path: str) -> None:
    """Have the worker's end noted."""
    closes.value.path = path
    refuses()  # which is closed first
    atexit.register(Path(path + ".atexit").touch)


def note_and_wait(path: str) -> None:
    """The same, but never idle again."""
    note_the_end(path)
    Path(path + ".begun").touch()
    time.sleep(600)


def hold(path: str) -> None:
    """Use this thread's values."""
    closes.value.path = path
    refuses()


def who() -> int:
    """Whose process this is."""
    return os.getpid()


def nap(seconds: float) -> float:
    """Sleep."""
    time.sleep(seconds)
    return seconds


def wait_for(path: str) -> str:
    """Wait until a file is there."""
    Path(path + ".begun").touch()
    while not os.path.exists(path):
        time.sleep(0.005)
    return path


class Counts:
    """Counts how often it was pickled here."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.times = 0

    def __getstate__(self) -> Any:
        self.times += 1
        return {"data": bytes(self.size)}


_taken: list[Any] = []


def take(value: Any) -> None:
    """An initializer."""
    _taken[:] = [value]


def taken(_: Any) -> Any:
    """What it was given."""
    return _taken[0]


def has_loaded(module: str) -> bool:
    """Whether a worker has this module."""
    return module in sys.modules
