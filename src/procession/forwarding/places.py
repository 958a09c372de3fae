"""The working folder and the environment, as the program has changed them since it began.

A worker begins with what they are then, and lives on. So once the program has changed one, its
calls say what it is, and workers follow: an item that opens ``data.csv``, or reads a variable,
gives the same here and there.
"""

from __future__ import annotations

import os
import time
from typing import Any, Final

from procession.system.identity import read_umask
from procession.system.pristine import monotonic

__all__ = ["changes", "enter", "folder", "follow", "set_umask", "umask"]

_APART: Final = ("PROCESSION_", "PYTEST_CURRENT_TEST")
_CAPS: Final = "_THREADS"  # a worker's caps on threads are its pool's, see `threads`

_began: Final = dict(os.environ)
_now: Any = getattr(os.environ, "_data", None)
"""What `os.environ` keeps its variables in: looking at that costs a tenth of the mapping."""

_seen: Any = None if _now is None else dict(_now)
_changes: dict[str, str | None] = {}
_first: list[str | None] = []
_moved = False

_MASK_AGE: Final = 0.001
_first_mask: list[int | None] = []
_mask_read: tuple[float, int | None] = (-1.0, None)
_mask_moved = False


def folder() -> str | None:
    """The working folder, once it is, or was, another one than when this was first asked."""
    global _moved
    try:
        found: str | None = os.getcwd()
    except OSError:  # it was removed
        found = None
    if not _first:
        _first.append(found)
    if found != _first[0]:
        _moved = True
    return found if _moved else None


def umask() -> int | None:
    """The umask, once it is, or was, another one than when this was first asked.

    Read at most once in a millisecond, as it takes some 30 µs.
    """
    global _mask_moved, _mask_read
    when, found = _mask_read
    now = monotonic()
    if now - when > _MASK_AGE:
        found = read_umask()
        _mask_read = now, found
        if not _first_mask:
            _first_mask.append(found)
        _mask_moved = _mask_moved or found != _first_mask[0]
    return found if _mask_moved else None


def set_umask(mask: int | None) -> None:
    """In a worker: have the caller's umask."""
    if mask is not None:
        os.umask(mask)


def changes() -> dict[str, str | None]:
    """The variables that are, or were, not what they were at first; `None` for one that is gone.

    The same object as long as nothing has changed.
    """
    global _seen, _changes
    if _now is not None and _now == _seen:
        return _changes
    _seen = None if _now is None else dict(_now)
    present = dict(os.environ)
    names = {name for name, _ in present.items() ^ _began.items()} | _changes.keys()
    found = {name: present.get(name) for name in names if _crosses(name)}
    if found != _changes:
        _changes = found
    return _changes


def _crosses(name: str) -> bool:
    return not (name.startswith(_APART) or name.endswith(_CAPS))


def enter(path: str | None) -> None:
    """In a worker: have the caller's working folder."""
    if path is not None:
        try:
            os.chdir(path)
        except OSError:
            pass  # it is not there, or this is another machine


def follow(variables: dict[str, str | None]) -> None:
    """In a worker: have the caller's variables."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        elif os.environ.get(name) != value:
            os.environ[name] = value
    if "TZ" in variables and hasattr(time, "tzset"):
        time.tzset()
