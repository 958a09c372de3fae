"""What crosses beside arguments and results, on the caller's side; on the worker's, `recorder`.

Going out: the caller's logger levels, warning filters and context variables, so that a function
behaves in the worker as it would have here. (What comes home: see `replaying`.)
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, copy_context
from typing import Any

from procession.forwarding.interpreter_settings import holds_settings
from procession.system.named_tuple import NamedTuple

__all__ = ["LevelsThere", "Named", "Outgoing", "outgoing", "unchanged"]

_MARK = "procession"


class Named(NamedTuple):
    """The category of a filter, by name."""

    module: str
    qualname: str


class Outgoing(NamedTuple):
    """What a worker takes over from the caller.

    Attributes:
        manners: Pickled pair of logger levels and warning filters.
        variables: Pickled pairs of context variable and value.
    """

    manners: bytes
    variables: tuple[bytes, ...]


LevelsThere = tuple[dict[str, int], int]
"""Levels by logger name, for the root and every logger with a level of its own; and what
`logging.disable` was given."""

_levels: tuple[object, LevelsThere] = None, ({}, 0)
_last_manners: tuple[Any, bytes] = None, b""
_crossing: dict[ContextVar[Any], bool] = {}


def _logger_levels() -> LevelsThere | None:
    """The levels in force, read again only after some logger's level has changed.

    `None` if this process never imported `logging`.

    `logging` empties every logger's private `_cache` whenever a level changes, so a mark left
    in the root logger's cache tells for free whether what was read still holds. It is left before
    the levels are read, as another thread may set one meanwhile, and each reading has its own.
    """
    global _levels
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    cache = getattr(logging.root, "_cache", None)
    mark, known = _levels
    if mark is not None and cache is not None and cache.get(_MARK) is mark:
        return known
    mark = object()
    if cache is not None:
        cache[_MARK] = mark
    levels = {"": logging.root.level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        level = getattr(logger, "level", 0)
        if level:
            levels[name] = level
    _levels = mark, (levels, logging.root.manager.disable)
    return _levels[1]


def _context_variables(pickling: Any) -> tuple[bytes, ...]:
    """Those context variables that can cross, with their values, each pickled alone."""
    context = copy_context()
    if not context:
        return ()
    from procession.pickling.pickler import dumps

    crossing: list[bytes] = []
    for variable, value in context.items():
        known = _crossing.get(variable)
        if known is False:
            continue
        if known is None:
            _crossing[variable] = known = _crosses(variable)
        if known:
            try:
                crossing.append(dumps((variable, value), pickling))
            except Exception:
                continue  # a value bound to this process stays here, as the docs say
    return tuple(crossing)


def _crosses(variable: ContextVar[Any]) -> bool:
    if holds_settings(variable) or variable.name.startswith("procession_"):
        return False
    from procession.pickling.pickler import dumps

    try:
        dumps(variable)
    except Exception:
        return False
    return True


def outgoing(pickling: Any = "strict") -> Outgoing:
    """Take what a worker needs to behave like this thread."""
    return Outgoing(_manners(), _context_variables(pickling))


def unchanged(out: Outgoing | None) -> bool:
    """Whether `outgoing` would give the same again, where that is quickly told."""
    if out is None:
        return True
    if out.variables or _manners() is not out.manners:
        return False
    return all(_crossing.get(variable) is False for variable in copy_context())


def _manners() -> bytes:
    """Levels and filters, pickled again only when one of them has changed."""
    global _last_manners
    levels, filters = _logger_levels(), sys.modules["warnings"].filters
    known, blob = _last_manners
    if known is not None and known[0] is levels and known[1] == filters:
        return blob
    filters = list(filters)
    blob = _dump_manners(levels, filters)
    _last_manners = (levels, filters), blob
    return blob


def _dump_manners(levels: LevelsThere | None, filters: list[Any]) -> bytes:
    import pickle

    filters = list(map(_portable, filters))
    if all(map(_plain_filter, filters)):
        # Not by our own pickler: the usual filters name ``__main__``, as text, and looking into
        # that would load cloudpickle.
        return pickle.dumps((levels, filters), 5)
    from procession.pickling.pickler import dumps

    try:
        return dumps((levels, filters), "by-value")
    except Exception:  # a filter for a warning class that cannot cross: nobody there raises it
        return dumps((levels, [each for each in filters if _plain_filter(each)]), "by-value")


def _portable(each: Any) -> Any:
    """A filter, with the name of its category where a worker can import that.

    A worker does not, unless some filter turns warnings into errors: as long as a category's module
    is not loaded nobody gives such a warning, the caller's own filters judge what comes home, and
    numpy, whose filters are in each caller that has loaded it, takes 50 ms.
    """
    action, message, category, module, line = each
    if category.__module__ == "builtins":
        return each
    from procession.pickling.importable import importable, resolves

    if importable(category.__module__) and resolves(category):
        named = Named(category.__module__, category.__qualname__)
        return action, message, named, module, line
    return each


def _plain_filter(each: Any) -> bool:
    category = each[2]
    return type(category) is Named or category.__module__ == "builtins"
