"""How the caller reports, and its context variables: read there, adopted by its workers.

These are the levels of its loggers, its warning filters, and those context variables that can
cross: so a function behaves in a worker as it would in the caller. The caller's half is `outgoing`,
the worker's half `AdoptedReporting`. What comes home is in `records`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextvars import ContextVar, copy_context

from procession.forwarding.interpreter_settings import holds_settings
from procession.hints import TYPE_CHECKING, Any
from procession.system import NamedTuple, cpython
from procession.system.import_hooks import when_loaded
from procession.system.interrupts import tried

if TYPE_CHECKING:
    import logging

_MARK = "procession"


class CategoryName(NamedTuple):
    """The category of a filter, by name."""

    module: str
    qualname: str


class Outgoing(NamedTuple):
    """What a worker takes over from the caller.

    Attributes:
        reporting: Pickled pair of logger levels and warning filters.
        variables: Pickled pairs of context variable and value.
    """

    reporting: bytes
    variables: tuple[bytes, ...]


Levels = tuple[dict[str, int], int]
"""Levels by logger name, for the root and every logger with a level of its own; and what
`logging.disable` was given."""

# -- the caller's half -----------------------------------------------------------------------

_levels: tuple[object, Levels] = None, ({}, 0)
_last_reporting: tuple[Any, bytes] = None, b""
_crossing: dict[ContextVar[Any], bool] = {}


def outgoing(pickling: Any = "strict") -> Outgoing:
    """Take what a worker needs to behave like this thread."""
    return Outgoing(_reporting(), _context_variables(pickling))


def unchanged(out: Outgoing | None) -> bool:
    """Whether `outgoing` would give the same again, where that is quickly told."""
    if out is None:
        return True
    known, blob = _last_reporting
    if out.variables or blob is not out.reporting:
        return False
    logging: Any = sys.modules.get("logging")
    mark, levels = _levels
    cache = None if logging is None else getattr(logging.root, "_cache", None)
    # As `_reporting` does, in one function: this is asked for each single call.
    same = cache is not None and cache.get(_MARK) is mark and known[0] is levels
    if not (same and known[1] == warnings.filters) and _reporting() is not blob:
        return False
    context = copy_context()
    return not context or all(_crossing.get(variable) is False for variable in context)


def _logger_levels() -> Levels | None:
    """The levels in force, read again only after some logger's level has changed.

    `None` if this process never imported `logging`.

    `logging` empties every logger's private `_cache` whenever a level changes. So a mark left in
    the root logger's cache tells for free whether what was read still holds. It is left before the
    levels are read, as another thread may set one meanwhile, and each reading has its own.
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
        if known is None:
            _crossing[variable] = known = _crosses(variable)
        if known:
            # A value bound to this process stays here, as the docs say.
            blob = tried(None, dumps, (variable, value), pickling)
            if blob is not None:
                crossing.append(blob)
    return tuple(crossing)


def _crosses(variable: ContextVar[Any]) -> bool:
    if holds_settings(variable) or variable.name.startswith("procession_"):
        return False
    from procession.pickling.pickler import dumps

    return tried(None, dumps, variable) is not None


def _reporting() -> bytes:
    """Levels and filters, pickled again only when one of them has changed."""
    global _last_reporting
    levels, filters = _logger_levels(), warnings.filters
    known, blob = _last_reporting
    if known is not None and known[0] is levels and known[1] == filters:
        return blob
    filters = list(filters)
    blob = _dump_reporting(levels, filters)
    _last_reporting = (levels, filters), blob
    return blob


def _dump_reporting(levels: Levels | None, filters: list[Any]) -> bytes:
    import pickle

    filters = list(map(_portable, filters))
    if all(map(_is_plain, filters)):
        # Not by Procession's own pickler: the usual filters name ``__main__``, as text, and looking
        # into that would load cloudpickle.
        return pickle.dumps((levels, filters), 5)
    from procession.pickling.pickler import dumps

    packed: bytes | None = tried(None, dumps, (levels, filters), "by-value")
    if packed is not None:
        return packed
    # A filter is for a warning class that cannot cross: no item raises it.
    return dumps((levels, list(filter(_is_plain, filters))), "by-value")


def _portable(each: Any) -> Any:
    """A filter, with the name of its category where a worker can import that.

    A worker does not, unless some filter turns warnings into errors. As long as a category's module
    is not loaded no code gives such a warning, and the caller's own filters judge what comes home.
    Numpy, whose filters are in each caller that has loaded it, takes 50 ms.
    """
    action, message, category, module, line = each
    if category.__module__ == "builtins":
        return each
    from procession.pickling.importable import importable, resolves

    if importable(category.__module__) and resolves(category):
        named = CategoryName(category.__module__, category.__qualname__)
        return action, message, named, module, line
    return each


def _is_plain(each: Any) -> bool:
    category = each[2]
    return type(category) is CategoryName or category.__module__ == "builtins"


# -- the worker's half -----------------------------------------------------------------------


class AdoptedReporting:
    """Has this process report as the caller does. One per worker.

    Args:
        logging_loaded: Called when `logging` is loaded, if the caller has loaded it as well.
    """

    def __init__(self, logging_loaded: Callable[[], None]) -> None:
        self._logging_loaded = logging_loaded
        self._reporting = b""
        self._wanted: Levels | None = None
        self._levels: _WorkerLevels | None = None
        self._waiting: set[str] = set()  # modules whose warnings are filtered once they are loaded

    def adopt(self, out: Outgoing) -> None:
        """Take over what the caller has sent; its variables for the present context."""
        from procession.pickling.pickler import loads

        for pair in out.variables:
            arrived = tried(None, loads, pair)
            if arrived is not None:
                variable, value = arrived
                variable.set(value)
            # Else its module cannot be imported here: the function cannot read it either.
        known = out.reporting == self._reporting
        if known and not any(map(sys.modules.__contains__, self._waiting)):
            return
        self._wanted, filters = loads(out.reporting)
        self._reporting = out.reporting
        if self._wanted is not None:
            # Most items log nothing, and loading `logging` takes a fresh worker 6 ms.
            when_loaded("logging", self._adopt_levels)
        warnings.filters[:] = self._filters(filters)  # type: ignore[index]
        cpython.warning_filters_changed()

    def _adopt_levels(self) -> None:
        assert self._wanted is not None
        self._logging_loaded()
        if self._levels is None:
            self._levels = _WorkerLevels()
        self._levels.adopt(*self._wanted)

    def _filters(self, portable: list[Any]) -> list[Any]:
        """The filters whose categories can be there by now."""
        self._waiting.clear()
        wanted = any(each[0] == "error" for each in portable)
        filters: list[Any] = []
        for action, message, category, module, line in portable:
            if type(category) is CategoryName:
                home = category.module
                category = _category(category, wanted=wanted)
                if category is None:
                    if home not in sys.modules:
                        self._waiting.add(home)
                    continue
            filters.append((action, message, category, module, line))
        return filters


def _category(named: CategoryName, *, wanted: bool) -> Any:
    """A warning class; `None` if its module is not loaded, or has it no more."""
    from procession.pickling.importable import find

    if wanted and tried(None, __import__, named.module) is None:
        return None
    found = find(*named)
    return found if isinstance(found, type) and issubclass(found, Warning) else None


class _WorkerLevels:
    """Has this process's loggers behave as if they had the caller's levels.

    No logger is made for them: a logger is of the class that was set when it was made, and
    libraries set one of their own (`logging.setLoggerClass`) while they are imported. A plain
    logger made before that by name would be what they find, without the methods that they call. So
    levels are set on the loggers that there are. Those of others are looked up by name whenever a
    logger asks for its level.
    """

    def __init__(self) -> None:
        import logging

        self._logging = logging
        self._wanted: dict[str, int] = {}
        self._absent: dict[str, int] = {}
        self._effective = effective = logging.Logger.getEffectiveLevel

        def level_of(logger: logging.Logger) -> int:
            return self._level_of(logger) if self._absent else effective(logger)

        logging.Logger.getEffectiveLevel = level_of  # type: ignore[method-assign, assignment]

    def adopt(self, levels: dict[str, int], disabled: int) -> None:
        """Have these levels, and no others.

        Args:
            levels: By name; the root logger's is empty.
            disabled: What the caller has given to `logging.disable`.
        """
        for name in self._wanted.keys() - levels.keys():
            _set_level(self._logger(name), self._logging.NOTSET)
        self._wanted = levels
        loggers = {name: self._logger(name) for name in levels}
        self._absent = {name: levels[name] for name, found in loggers.items() if found is None}
        for name, logger in loggers.items():
            _set_level(logger, levels[name])
        # Also has each logger forget what it knows of the levels above it.
        self._logging.disable(disabled)

    def _level_of(self, logger: logging.Logger) -> int:
        """A logger's level: its own, or the next one above it, whether that was made or not."""
        name = logger.name
        if self._logger(name) is not logger:
            return self._effective(logger)  # it is in no tree
        while name:
            level = self._absent.get(name) or getattr(self._logger(name), "level", 0)
            if level:
                return int(level)
            name = name.rpartition(".")[0]
        return self._logging.root.level

    def _logger(self, name: str) -> Any:
        """The logger of this name; `None` if there is none, or only a place for it."""
        root = self._logging.root
        found: Any = root.manager.loggerDict.get(name) if name else root
        return None if isinstance(found, self._logging.PlaceHolder) else found


def _set_level(logger: Any, level: int) -> None:
    if logger is None or logger.level == level:
        return
    tried(None, logger.setLevel, level)  # a library's own class may know no such level
