"""Taking over the interpreter's settings of whoever made the call; see `interpreter`.

What belongs to a thread's context (decimal, numpy) is set in the context of each item, and ends
with it. What belongs to the process is set when a job brings another value than the one before, and
put back for a job that brings none.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

from procession.forwarding.interpreter_settings import DEFAULTS, PRINT_OPTIONS, read
from procession.forwarding.places import enter, follow, set_umask
from procession.system.import_hooks import forget, when_loaded

__all__ = ["Adopted", "initialized"]

_OF_CONTEXTS = ("decimal", "numpy")

_initialized: set[str] = set()
"""Settings that this worker's initializer has set: it is written for workers, so it wins."""


def initialized(before: dict[str, Any]) -> None:
    """Keep what an initializer has set from here on.

    Args:
        before: What `interpreter.read` gave before it ran.
    """
    _initialized.update(name for name, value in read().items() if value != before[name])


class Adopted:
    """What a worker has taken over.

    Args:
        inherits: Whether it was forked from the caller, whose settings of that moment it has.
        apart: Whether this process is the worker's own.
    """

    def __init__(self, *, inherits: bool = False, apart: bool = True) -> None:
        self._blob: bytes | None = None if inherits else b""
        self._base: dict[str, Any] = dict(DEFAULTS) if inherits else {}
        self._apart = apart
        self._values: dict[str, Any] = {}
        self._numpy: tuple[Any, Any, dict[str, Any]] | None = None
        self._dirty = False  # whether a numpy that knows no contexts has settings of ours

    def adopt(self, blob: bytes) -> None:
        """In the context of an item that is about to run: set what its job brought."""
        if blob != self._blob:
            self._blob = blob
            self._change(pickle.loads(blob) if blob else {})
        if self._values:
            self._enter()
        elif self._dirty:
            self._dirty = False
            _set_numpy(_NUMPYS_OWN)

    def _change(self, values: dict[str, Any]) -> None:
        self._values = {
            name: values[name] for name in _OF_CONTEXTS if name in values.keys() - _initialized
        }
        packed = self._values.get("numpy")
        self._numpy = None
        if packed is not None:
            from procession.pickling.pickler import loads

            self._numpy = loads(packed)
        else:
            forget("numpy", self._set_numpy)
        now = read()
        for name, setter in _SETTERS.items() if self._apart else ():
            if name in _initialized:
                continue
            if name in values:
                self._base.setdefault(name, now[name])
                setter(values[name])
            elif name in self._base and self._base[name] != now[name]:
                setter(self._base[name])

    def _enter(self) -> None:
        if "decimal" in self._values:
            _set_decimal(self._values["decimal"])
        if self._numpy is not None:
            when_loaded("numpy", self._set_numpy)
        elif self._dirty:
            self._dirty = False
            _set_numpy(_NUMPYS_OWN)

    def _set_numpy(self) -> None:
        if self._numpy is not None:
            self._dirty = sys.modules["numpy"].__version__.startswith("1.")
            _set_numpy(self._numpy)


_NUMPYS_OWN: tuple[dict[str, str], None, dict[str, Any]] = (
    {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
    None,
    {},
)


def _set_decimal(fields: tuple[Any, ...]) -> None:
    import decimal

    prec, rounding, least, most, capitals, clamp, traps = fields
    signals = [getattr(decimal, name) for name in traps]
    context = decimal.Context(prec, rounding, least, most, capitals, clamp, [], signals)
    decimal.setcontext(context)


def _set_numpy(settings: tuple[Any, Any, dict[str, Any]]) -> None:
    import numpy

    errors, call, printed = settings
    if numpy.geterrcall() is not call:
        numpy.seterrcall(call)
    numpy.seterr(**errors)
    numpy.set_printoptions(**{**PRINT_OPTIONS, **printed})


# -- what belongs to the process -------------------------------------------------------------


def _set_socket_timeout(seconds: float | None) -> None:
    import _socket

    _socket.setdefaulttimeout(seconds)


def _set_csv_field(size: int) -> None:
    import _csv

    _csv.field_size_limit(size)


def _set_locale(name: str | None) -> None:
    import locale

    try:
        locale.setlocale(locale.LC_ALL, name or "C")
        if name is None:
            locale.setlocale(locale.LC_CTYPE, "")  # as Python does when it starts
    except locale.Error:
        pass  # this system has it not; the page says so


def _set_recursion_limit(limit: int) -> None:
    try:
        sys.setrecursionlimit(limit)
    except RecursionError:
        pass  # deeper in calls than it allows: as it would raise in the caller


_SETTERS: dict[str, Callable[[Any], object]] = {
    "recursion_limit": _set_recursion_limit,
    "int_digits": sys.set_int_max_str_digits,
    "socket_timeout": _set_socket_timeout,
    "csv_field": _set_csv_field,
    "locale": _set_locale,
    "folder": enter,
    "umask": set_umask,
    "environment": follow,
}
