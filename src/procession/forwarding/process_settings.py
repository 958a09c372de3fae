"""Settings of the process that change what a function gives: read in the caller, set in workers.

A worker begins with what they are then, and lives on. So once the program has changed one, its
calls say what it is, and workers follow: an item that opens ``data.csv``, or reads a variable of
the environment, gives the same here and there. Nothing is imported to read them: a module that is
not loaded has its defaults.
"""

from __future__ import annotations

import _locale as c
import os
import sys
import time
from collections.abc import Callable

from procession.hints import Any, Generic, TypeVar
from procession.system import NamedTuple, cpython
from procession.system.identity import own_status, read_umask

T = TypeVar("T")


class Setting(NamedTuple):
    """One setting.

    Attributes:
        default: What it is where no code has set it; `None` also stands for a module's own default.
        read: Gives it, in the form in which it is sent.
        adopt: Has this process, a worker, take it over.
    """

    default: Any
    read: Callable[[], Any]
    adopt: Callable[[Any], object]


def glance() -> tuple[Any, ...]:
    """What differs once a setting does, in a microsecond.

    One function: each call is made for each single call, and costs more than what it does.
    """
    global _mask_read
    modules = sys.modules
    socket: Any = modules.get("_socket")
    csv: Any = modules.get("_csv")
    folder = None
    try:
        folder = os.getcwd()
    except OSError:  # it was removed
        pass
    status = own_status()
    read, mask = _mask_read
    if read is not status:
        mask = read_umask(status)
        _mask_read = status, mask
    return (
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        None if socket is None else socket.getdefaulttimeout(),
        None if csv is None else csv.field_size_limit(),
        c.setlocale(c.LC_ALL) if "locale" in modules else None,
        folder,
        mask,
        _changes if _now is not None and _now == _seen else _changed_variables(),
    )


# -- limits, timeouts and the locale ---------------------------------------------------------


def _socket_timeout() -> float | None:
    socket: Any = sys.modules.get("_socket")
    return None if socket is None else socket.getdefaulttimeout()


def _set_socket_timeout(seconds: float | None) -> None:
    import _socket

    _socket.setdefaulttimeout(seconds)


def _csv_field() -> int:
    csv: Any = sys.modules.get("_csv")
    return _CSV_FIELD if csv is None else csv.field_size_limit()


def _set_csv_field(size: int) -> None:
    import _csv

    _csv.field_size_limit(size)


def _set_recursion_limit(limit: int) -> None:
    try:
        sys.setrecursionlimit(limit)
    except RecursionError:
        pass  # deeper in calls than it allows: as it would raise in the caller


def _locale() -> str | None:
    """The locale, if the program has set more of it than Python itself does at its start."""
    if "locale" not in sys.modules:
        return None
    names = ("LC_COLLATE", "LC_MONETARY", "LC_NUMERIC", "LC_TIME", "LC_MESSAGES")
    categories = [getattr(c, name) for name in names if hasattr(c, name)]
    if all(c.setlocale(each) in ("C", "POSIX") for each in categories):
        return None
    return c.setlocale(c.LC_ALL)


def _set_locale(name: str | None) -> None:
    import locale

    try:
        locale.setlocale(locale.LC_ALL, name or "C")
        if name is None:
            locale.setlocale(locale.LC_CTYPE, "")  # as Python does when it starts
    except locale.Error:
        pass  # this system has it not; the page says so


# -- the working folder and the umask --------------------------------------------------------


class _Watched(Generic[T]):
    """A value that is told once it is, or was, another one than when it was first seen."""

    __slots__ = ("_first", "_moved")

    def __init__(self) -> None:
        self._first: list[T | None] = []
        self._moved = False

    def told(self, found: T | None) -> T | None:
        if not self._first:
            self._first.append(found)
        if found != self._first[0]:
            self._moved = True
        return found if self._moved else None


_watched_folder: _Watched[str] = _Watched()
_watched_umask: _Watched[int] = _Watched()

_mask_read: tuple[bytes, int | None] = (b"", None)


def _folder() -> str | None:
    found: str | None
    try:
        found = os.getcwd()
    except OSError:  # it was removed
        found = None
    return _watched_folder.told(found)


def _enter(path: str | None) -> None:
    if path is not None:
        try:
            os.chdir(path)
        except OSError:
            pass  # it is not there, or this is another machine


def _umask() -> int | None:
    return _watched_umask.told(read_umask())


def _set_umask(mask: int | None) -> None:
    if mask is not None:
        os.umask(mask)


# -- the environment -------------------------------------------------------------------------

_APART = ("PROCESSION_", "PYTEST_CURRENT_TEST")
_CAPS = "_THREADS"  # a worker's caps on threads are its pool's, see `worker.preparing`

_began = dict(os.environ)
_now: Any = cpython.environment
"""What `os.environ` keeps its variables in: looking at that costs a tenth of the mapping."""

_seen: Any = None if _now is None else dict(_now)
_changes: dict[str, str | None] = {}


def _changed_variables() -> dict[str, str | None]:
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


_kept: set[str] = set()
"""Variables that this worker's initializer has set."""


def keep_variables(before: dict[str, str | None], now: dict[str, str | None]) -> None:
    """In a worker: let what the initializer has set win, and follow the other ones.

    Args:
        before: What had changed before it ran.
        now: What has changed by now.
    """
    _kept.update(name for name, _ in now.items() ^ before.items())


def _set_variables(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if name in _kept:
            continue
        if value is None:
            os.environ.pop(name, None)
        elif os.environ.get(name) != value:
            os.environ[name] = value
    if "TZ" in variables and hasattr(time, "tzset"):
        time.tzset()


_CSV_FIELD = 131072

SETTINGS: dict[str, Setting] = {
    "recursion_limit": Setting(1000, sys.getrecursionlimit, _set_recursion_limit),
    "int_digits": Setting(4300, sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    "socket_timeout": Setting(None, _socket_timeout, _set_socket_timeout),
    "csv_field": Setting(_CSV_FIELD, _csv_field, _set_csv_field),
    "locale": Setting(None, _locale, _set_locale),
    "folder": Setting(None, _folder, _enter),
    "umask": Setting(None, _umask, _set_umask),
    "environment": Setting({}, _changed_variables, _set_variables),
}
"""By name."""
