"""What `multiprocessing` gives to processes and keeps, where nothing has imported it yet.

To import it takes 15 ms, a third of what a first pool takes. All that a worker needs of it is the
program's key and first folder, and the descriptor of the resource tracker. So these are made here,
as `multiprocessing` would. A later import, in the program or in a worker, finds them there. A
worker is a process of it from then on, with its name and its parent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

from procession.hints import Any
from procession.system import NamedTuple, cpython, process_names
from procession.system.import_hooks import when_loaded

__all__ = [
    "Told",
    "become",
    "is_loaded",
    "key",
    "lose_tracker",
    "origin",
    "tracker_descriptor",
    "tracker_to_start",
]

_PROCESS, _CONTEXT = "multiprocessing.process", "multiprocessing.context"
_TRACKER = "multiprocessing.resource_tracker"

_KEY_SIZE = 32
"""Bytes of a key of `multiprocessing`."""

_made: list[tuple[bytes, str | None]] = []
"""The key and the folder, once they were made here."""

_tracker: list[int] = []
"""Where the resource tracker is told things, if it was started without `multiprocessing`."""


def is_loaded() -> bool:
    """Whether the program has imported `multiprocessing`, or begun to."""
    return "multiprocessing" in sys.modules


def _process() -> Any:
    from multiprocessing import process

    return process


def _early() -> tuple[bytes, str | None]:
    if not _made:
        _made.append((os.urandom(_KEY_SIZE), _folder()))
        when_loaded(_PROCESS, _hand_over)
    return _made[0]


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _hand_over() -> None:
    process = _process()
    process.current_process().authkey, process.ORIGINAL_DIR = _made[0]


def key() -> bytes:
    """This process's key: `multiprocessing.current_process().authkey`."""
    return bytes(_process().current_process().authkey) if is_loaded() else _early()[0]


def origin() -> str | None:
    """The folder that an empty entry of `sys.path` stands for; none if it was removed."""
    folder: str | None = _process().ORIGINAL_DIR if is_loaded() else _early()[1]
    return folder


# -- the resource tracker --------------------------------------------------------------------


@contextmanager
def tracker_to_start() -> Generator[int, None, None]:
    """Have another process be the resource tracker: where it is to read; -1 if there is one.

    If what runs inside fails, there is none.
    """
    if is_loaded():
        with process_names.tracker_to_start() as reads:
            yield reads
        return
    if _tracker:
        yield -1
        return
    reads, writes = os.pipe()
    try:
        yield reads
        _tracker.append(writes)
        when_loaded(_TRACKER, _hand_tracker_over)
    finally:
        os.close(reads)
        if writes not in _tracker:
            os.close(writes)


def _hand_tracker_over() -> None:
    if _tracker:
        process_names.adopt_tracker(_tracker.pop())


def tracker_descriptor() -> int:
    """Where the resource tracker is told things; it is started if there is none."""
    if _tracker and cpython.loaded(_TRACKER) is None:
        return _tracker[0]
    from multiprocessing import resource_tracker

    descriptor: Any = resource_tracker.getfd()
    return int(descriptor)


def lose_tracker() -> None:
    """Forget the resource tracker, as the program has closed its descriptor."""
    _tracker.clear()
    process_names.lose_tracker()


# -- in a worker -----------------------------------------------------------------------------


class Told(NamedTuple):
    """What a worker is told of itself as a process of `multiprocessing`.

    Attributes:
        name: Its name.
        number: As which one of its parent's it was started.
        parent: The parent's process id.
        key: The parent's key.
        origin: The parent's first folder.
    """

    name: str
    number: int
    parent: int
    key: bytes
    origin: str | None


def become(told: Told, sentinel: int, tracker: int) -> None:
    """Be that process, as soon as this one imports `multiprocessing`.

    Args:
        told: What the parent has told.
        sentinel: Is ready to read when the parent has ended.
        tracker: Where the resource tracker is told things.
    """
    _made[:] = [(told.key, told.origin)]
    _tracker[:] = [tracker]
    when_loaded(_PROCESS, _hand_over)
    when_loaded(_CONTEXT, partial(_become, told, sentinel))
    when_loaded(_TRACKER, _hand_tracker_over)


def _become(told: Told, sentinel: int) -> None:
    process_names.become(told.name, told.number, told.parent, sentinel)
