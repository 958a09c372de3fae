"""What crosses beside arguments and results, on the worker's side; on the caller's, `relay`."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from procession.forwarding.caller_side import LevelsThere, Named, Outgoing
from procession.system.import_hooks import when_loaded

if TYPE_CHECKING:
    from procession.forwarding.carrying import Warned
    from procession.forwarding.logging_levels import Levels

__all__ = ["Recorder"]

_RECORDS_PER_ITEM = 10_000
"""Log records kept per item; what is above it is counted, not kept. A guess, not measured."""


class Recorder:
    """Takes over the caller's levels, filters and variables; keeps what one item logs and warns.

    One per worker process. It takes the handlers of every logger away (a forked worker has its
    parent's, and would print each record twice), and takes each record where a logger looks for its
    handlers, whatever propagates; it replaces `warnings.showwarning`. All that lasts until an item
    comes whose records and warnings are to stay here.
    """

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []
        self._warned: list[Warned] = []
        self._levels: Levels | None = None
        self._wanted: LevelsThere | None = None
        self._manners = b""
        self._waiting: set[str] = set()  # modules whose warnings are filtered once they are loaded
        self._call_handlers: Any = None
        self._replaced: list[tuple[Any, Any]] = []  # loggers and their handlers
        self._shows: Any = self._show
        self._showed: Any = warnings.showwarning
        self._aside = False

    def adopt(self, out: Outgoing) -> None:
        """Behave like the caller from here on."""
        warnings.showwarning = self._shows
        if self._aside:
            self._aside = False
            if self._call_handlers is not None:
                self._replace_handlers()
        if out.variables:
            _set_variables(out.variables)
        if out.manners == self._manners and not any(map(sys.modules.__contains__, self._waiting)):
            return
        from procession.pickling.pickler import loads

        self._wanted, filters = loads(out.manners)
        self._manners = out.manners
        if self._wanted is not None:
            # Most items log nothing, and loading `logging` takes a fresh worker 6 ms.
            when_loaded("logging", self._adopt_levels)
        warnings.filters[:] = self._filters(filters)  # type: ignore[index]
        warnings._filters_mutated()  # type: ignore[attr-defined]

    def step_aside(self) -> None:
        """What the next item logs and warns stays in this process."""
        if self._aside:
            return
        self._aside = True
        if warnings.showwarning is self._shows:
            warnings.showwarning = self._showed
        if self._call_handlers is not None:
            import logging

            logging.Logger.callHandlers = self._call_handlers  # type: ignore[method-assign]
            while self._replaced:
                logger, handler = self._replaced.pop()
                logger.addHandler(handler)

    def _filters(self, portable: list[Any]) -> list[Any]:
        """The filters whose categories can be there by now."""
        self._waiting.clear()
        wanted = any(each[0] == "error" for each in portable)
        filters: list[Any] = []
        for action, message, category, module, line in portable:
            if type(category) is Named:
                home = category.module
                category = _category(category, wanted=wanted)
                if category is None:
                    if home not in sys.modules:
                        self._waiting.add(home)
                    continue
            filters.append((action, message, category, module, line))
        return filters

    def _adopt_levels(self) -> None:
        assert self._wanted is not None
        if self._call_handlers is None:
            import logging

            self._call_handlers = logging.Logger.callHandlers
            if not self._aside:
                self._replace_handlers()
        if self._levels is None:
            from procession.forwarding.logging_levels import Levels

            self._levels = Levels()
        self._levels.adopt(*self._wanted)

    def _replace_handlers(self) -> None:
        import logging

        loggers: list[Any] = [logging.root, *logging.root.manager.loggerDict.values()]
        for logger in loggers:
            for handler in list(getattr(logger, "handlers", ())):
                logger.removeHandler(handler)
                self._replaced.append((logger, handler))
        call, records = self._call_handlers, self._records

        def collect(logger: logging.Logger, record: logging.LogRecord) -> None:
            if len(records) < _RECORDS_PER_ITEM:
                records.append(_fields(record))
            if logger.hasHandlers():  # which the items themselves have added
                call(logger, record)

        logging.Logger.callHandlers = collect  # type: ignore[method-assign, assignment]

    def _show(self, message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
        self._warned.append((message, category, filename, lineno))

    def take(self) -> bytes | None:
        """What was logged and warned since the last time, pickled; `None` if nothing was."""
        if not self._records and not self._warned:
            return None
        from procession.forwarding.carrying import pack

        records, warned = self._records[:], self._warned[:]
        self._records.clear()
        self._warned.clear()
        return pack(records, warned)


def _category(named: Named, *, wanted: bool) -> Any:
    """A warning class; `None` if its module is not loaded, or has it no more."""
    from procession.pickling.importable import find

    if wanted:
        try:
            __import__(named.module)
        except Exception:
            return None
    found = find(*named)
    return found if isinstance(found, type) and issubclass(found, Warning) else None


def _fields(record: Any) -> dict[str, Any]:
    """A record's fields, ready to be pickled."""
    fields = dict(record.__dict__)
    try:
        fields["msg"], fields["args"] = record.getMessage(), None
    except Exception:
        # The call's own mistake: the caller's handlers say so, as they would in a loop.
        fields["msg"], fields["args"] = record.msg, record.args
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = _traceback(record.exc_info)
    fields["exc_info"] = None
    return fields


def _traceback(exc_info: Any) -> str:
    import logging

    try:
        return logging.Formatter().formatException(exc_info)
    except Exception:  # of the error's own code
        return f"{exc_info[0].__name__} (its traceback cannot be formatted)"


def _set_variables(variables: tuple[bytes, ...]) -> None:
    """Give the caller's context variables their values in this context."""
    from procession.pickling.pickler import loads

    for pair in variables:
        try:
            variable, value = loads(pair)
        except Exception:
            continue  # its module cannot be imported here; the function cannot read it either
        variable.set(value)
