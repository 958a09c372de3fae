"""Whether objects of a type must not cross to another process.

A class that inherits from a type in the table is refused with it. It is not if it says itself,
below that type, how it is pickled (``__reduce__``, ``__reduce_ex__`` or ``__getstate__``).
"""

from __future__ import annotations

import sys

from procession.hints import Any
from procession.pickling.refused_types import CURSOR, DATABASE, HANDLES, TABLE, Refusal

__all__ = ["Refusal", "Refused", "framework_mend", "is_handle", "refusal_of"]


class Refused(Exception):
    """Raised while pickling at an object that must not cross."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal

    def __str__(self) -> str:
        return f"{self.refusal.what} cannot be pickled: {self.refusal.reason}"


_OWN = ("__reduce__", "__reduce_ex__", "__getstate__")


def refusal_of(cls: type) -> Refusal | None:
    """Why instances of `cls` must not cross, or `None` if they may."""
    for base in cls.__mro__:
        refusal = TABLE.get(f"{base.__module__}.{base.__qualname__}")
        if refusal is not None:
            return refusal
        if base is not object and any(name in base.__dict__ for name in _OWN):
            return None
    return _database(cls)


def is_handle(cls: type) -> bool:
    """Whether objects of a type are handles of a library: they hold connections or open files."""
    return any(f"{base.__module__}.{base.__qualname__}" in HANDLES for base in cls.__mro__)


def _database(cls: type) -> Refusal | None:
    """Connections and cursors of any PEP 249 driver, by their methods and by name or module."""
    for refusal, methods, name in (
        (DATABASE, "cursor commit rollback close", "connection"),
        (CURSOR, "execute executemany fetchone fetchmany fetchall close", "cursor"),
    ):
        known = name in cls.__name__.lower() or _is_driver(cls.__module__)
        if known and all(_has(cls, method) for method in methods.split()):
            return refusal
    return None


def _has(cls: type, method: str) -> bool:
    return any(method in base.__dict__ for base in cls.__mro__)


def _is_driver(module: Any) -> bool:
    top = sys.modules.get(str(module).partition(".")[0])
    return top is not None and hasattr(top, "apilevel") and hasattr(top, "paramstyle")


def framework_mend(error: BaseException) -> str:
    """What to do where a framework says that it was not set up in this process."""
    if type(error).__name__ not in ("AppRegistryNotReady", "ImproperlyConfigured"):
        return ""
    return (
        "Django was not set up in this worker. Write initializer=django.setup, with "
        "DJANGO_SETTINGS_MODULE in the environment: each worker then does what manage.py does."
    )
