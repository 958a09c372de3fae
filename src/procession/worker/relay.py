"""What crosses beside arguments and results: log records, warnings and context variables.

Going out: the caller's logger levels, warning filters and context variables, so that a function
behaves in the worker as it would have here. Coming home: the log records and warnings it gave,
which are then handled by the caller's own loggers and filters.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple

__all__ = ["Outgoing", "Recorder", "outgoing", "replay", "unchanged"]

_MARK = "procession"
_RECORDS_PER_ITEM = 10_000
"""Log records kept per item; what is above it is counted, not kept. A guess, not measured."""


class _Named(NamedTuple):
    """The category of a filter, by name."""

    module: str
    qualname: str


class Outgoing(NamedTuple):
    """What a worker takes over from the caller.

    Attributes:
        manners: Pickled pair of logger levels and warning filters. Levels are by logger name, for
            the root and every logger with a level of its own; `None` if the caller never imported
            `logging`.
        variables: Pickled pairs of context variable and value.
    """

    manners: bytes
    variables: tuple[bytes, ...]


# -- the caller's side ---------------------------------------------------------------------

_levels: dict[str, int] | None = None
_last_manners: tuple[Any, bytes] = None, b""
_crossing: dict[ContextVar[Any], bool] = {}


def _logger_levels() -> dict[str, int] | None:
    """The levels in force, read again only after some logger's level has changed.

    `logging` empties every logger's private `_cache` whenever a level changes, so a mark left
    in the root logger's cache tells for free whether what was read still holds.
    """
    global _levels
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    cache = getattr(logging.root, "_cache", None)
    if cache is not None and _MARK in cache:
        return _levels
    levels = {"": logging.root.level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        level = getattr(logger, "level", 0)
        if level:
            levels[name] = level
    _levels = levels
    if cache is not None:
        cache[_MARK] = True
    return levels


def _context_variables(pickling: Any) -> tuple[bytes, ...]:
    """Those context variables that can cross, with their values, each pickled alone."""
    context = copy_context()
    if not context:
        return ()
    from procession.wire.pickling import dumps

    crossing: list[bytes] = []
    for variable, value in context.items():
        known = _crossing.get(variable)
        if known is False or variable.name.startswith("procession_"):
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
    from procession.wire.pickling import dumps

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
    return not out.variables and not copy_context() and _manners() is out.manners


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


def _dump_manners(levels: dict[str, int] | None, filters: list[Any]) -> bytes:
    import pickle

    filters = list(map(_portable, filters))
    if all(map(_plain_filter, filters)):
        # Not by our own pickler: the usual filters name ``__main__``, as text, and looking into
        # that would load cloudpickle.
        return pickle.dumps((levels, filters), 5)
    from procession.wire.pickling import dumps

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
    from procession.wire.importing import importable, resolves

    if importable(category.__module__) and resolves(category):
        named = _Named(category.__module__, category.__qualname__)
        return action, message, named, module, line
    return each


def _plain_filter(each: Any) -> bool:
    category = each[2]
    return type(category) is _Named or category.__module__ == "builtins"


def replay(extras: Any) -> None:
    """Handle in this process the log records and warnings that came home with a result."""
    import pickle

    records, warned = pickle.loads(extras)
    if records:
        import logging

        for fields in records:
            record = logging.makeLogRecord(fields)
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
    for message, category, filename, lineno in warned:
        _warn_again(message, category, filename, lineno)


def _warn_again(message: Warning, category: type[Warning], filename: str, lineno: int) -> None:
    import warnings

    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == filename:
            registry = module.__dict__.setdefault("__warningregistry__", {})
            where: Any = {"module": module.__name__, "registry": registry}
            break
    else:
        where = {}  # code without a file: module=None would mean that nobody listens any more
    try:
        warnings.warn_explicit(message, category, filename, lineno, **where)
    except Warning:
        # The filters turned to "error" after the item had started: it cannot raise there now.
        warnings.showwarning(message, category, filename, lineno)


# -- the worker's side ---------------------------------------------------------------------


class Recorder:
    """Takes over the caller's levels, filters and variables; keeps what one item logs and warns.

    One per worker process. It replaces the handlers of every logger (a forked worker has its
    parent's, and would print each record twice) and `warnings.showwarning`.
    """

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []
        self._warned: list[tuple[Any, ...]] = []
        self._levels: dict[str, int] | None = None
        self._manners = b""
        self._waiting: set[str] = set()  # modules whose warnings are filtered once they are loaded
        self._handler: Any = None
        self._shows: Any = self._show

    def adopt(self, out: Outgoing) -> None:
        """Behave like the caller from here on."""
        import warnings

        warnings.showwarning = self._shows
        if out.manners == self._manners and not any(map(sys.modules.__contains__, self._waiting)):
            return
        from procession.wire.pickling import loads

        levels, filters = loads(out.manners)
        self._manners = out.manners
        if levels is not None:
            self._adopt_levels(levels)
        warnings.filters[:] = self._filters(filters)  # type: ignore[index]
        warnings._filters_mutated()  # type: ignore[attr-defined]

    def _filters(self, portable: list[Any]) -> list[Any]:
        """The filters whose categories can be there by now."""
        self._waiting.clear()
        wanted = any(each[0] == "error" for each in portable)
        filters: list[Any] = []
        for action, message, category, module, line in portable:
            if type(category) is _Named:
                home = category.module
                category = _category(category, wanted=wanted)
                if category is None:
                    if home not in sys.modules:
                        self._waiting.add(home)
                    continue
            filters.append((action, message, category, module, line))
        return filters

    def _adopt_levels(self, levels: dict[str, int]) -> None:
        import logging

        if self._handler is None:
            loggers = [logging.root, *logging.root.manager.loggerDict.values()]
            for logger in loggers:
                for handler in list(getattr(logger, "handlers", ())):
                    logger.removeHandler(handler)  # type: ignore[union-attr]
            self._handler = _collector(self._records)
            logging.root.addHandler(self._handler)
        if levels != self._levels:
            for name in self._levels or ():
                if name not in levels:
                    logging.getLogger(name).setLevel(logging.NOTSET)
            for name, level in levels.items():
                logging.getLogger(name or None).setLevel(level)
            self._levels = levels

    def _show(self, message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
        self._warned.append((message, category, filename, lineno))

    def take(self) -> bytes | None:
        """What was logged and warned since the last time, pickled; `None` if nothing was."""
        if not self._records and not self._warned:
            return None
        from procession.wire.pickling import dumps

        records, warned = self._records[:], self._warned[:]
        self._records.clear()
        self._warned.clear()
        try:
            return dumps((records, warned), "by-value")
        except Exception:
            plain = [
                (UserWarning(f"{c.__name__}: {m}"), UserWarning, f, n) for m, c, f, n in warned
            ]
            return dumps(([_plain(fields) for fields in records], plain), "by-value")


def _category(named: _Named, *, wanted: bool) -> Any:
    """A warning class; `None` if its module is not loaded, or has it no more."""
    from procession.wire.importing import find

    if wanted:
        try:
            __import__(named.module)
        except Exception:
            return None
    found = find(*named)
    return found if isinstance(found, type) and issubclass(found, Warning) else None


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """A record's fields, with those that are not plain values as text."""
    return {
        name: value if isinstance(value, (str, int, float, type(None))) else repr(value)
        for name, value in fields.items()
    }


def _collector(records: list[dict[str, Any]]) -> Any:
    """A logging handler that keeps records ready to be pickled (`logging` loads only now)."""
    import logging

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if len(records) >= _RECORDS_PER_ITEM:
                return
            fields = dict(record.__dict__)
            fields["msg"] = record.getMessage()
            fields["args"] = None
            if record.exc_info and not record.exc_text:
                fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
            fields["exc_info"] = None
            records.append(fields)

    return Collect()


def set_variables(variables: tuple[bytes, ...]) -> None:
    """Give the caller's context variables their values in this context."""
    from procession.wire.pickling import loads

    for pair in variables:
        try:
            variable, value = loads(pair)
        except Exception:
            continue  # its module cannot be imported here; the function cannot read it either
        variable.set(value)
