"""Handling in the caller's process the log records and warnings that came home with a result.

That runs the user's handlers and filters, so it is done after the result was settled, in the thread
of whoever wants the result, or in one of the tellers'. Each handler is guarded alone: what it
raises goes where `logging.Handler.handleError` puts it, and disturbs neither others nor the call.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from procession.user_threads import Once

__all__ = ["Telling", "replay"]


class Telling:
    """What came with one result; handled once, by whoever calls this first.

    Others who call it wait until that is done, so that who has the result finds the records
    handled. A handler that asks for the result itself does not wait for itself.
    """

    __slots__ = ("_once",)

    def __init__(self, extras: Any) -> None:
        self._once = Once(_Replay(extras))

    def __call__(self) -> None:
        """Handle it, or wait until it is handled."""
        if not self._once.mine:
            self._once()


def replay(extras: Any) -> None:
    """Handle in this process the log records and warnings that came home with a result."""
    _Replay(extras)()


class _Replay:
    """Handles them one by one; goes on where it was if Ctrl-C has interrupted it."""

    def __init__(self, extras: Any) -> None:
        self._extras = extras
        self._left: deque[Callable[[], None]] = deque()

    def __call__(self) -> None:
        extras, self._extras = self._extras, None
        if extras is not None:
            _guarded(partial(self._unpack, extras))
        while self._left:
            _guarded(self._left.popleft())

    def _unpack(self, extras: Any) -> None:
        from procession.forwarding.carrying import unpack

        records, warned = unpack(extras)
        self._left.extend(partial(_log, fields) for fields in records)
        self._left.extend(partial(_warn_again, *fields) for fields in warned)


def _guarded(act: Callable[[], None], handler: Any = None, record: Any = None) -> bool:
    """Do it; say what it raises where logging says such things. Whether nothing was raised."""
    try:
        act()
    except BaseException as error:
        from procession.system.interrupts import strikes

        if strikes(error):
            raise
        try:
            _report(handler, record)
        except BaseException as worse:
            if strikes(worse):
                raise
        return False
    return True


def _report(handler: Any, record: Any) -> None:
    """In an ``except`` clause: say what went wrong, unless the program wants none of it."""
    logging = sys.modules.get("logging")
    if record is not None and logging is not None:
        (handler or logging.Handler()).handleError(record)
    elif logging is None or logging.raiseExceptions:
        import traceback

        if sys.stderr is not None:
            sys.stderr.write("--- Warning error ---\n")
            traceback.print_exc()


def _log(fields: dict[str, Any]) -> None:
    import logging

    record = logging.makeLogRecord(fields)
    if record.levelname == f"Level {record.levelno}":
        record.levelname = logging.getLevelName(record.levelno)  # it has a name here
    logger = logging.getLogger(record.name)
    if not logger.isEnabledFor(record.levelno):
        return
    if _is_plain(logger):
        _guarded(partial(_log_plainly, logger, record), None, record)
    else:  # a subclass, or an integration that has replaced some of it: it is to see the record
        _guarded(partial(logger.handle, record), None, record)


def _is_plain(logger: Any) -> bool:
    cls: Any = logger.__class__
    return all(
        getattr(cls, name).__module__ == "logging" and name not in logger.__dict__
        for name in ("handle", "callHandlers", "filter")
    )


def _log_plainly(logger: Any, record: Any) -> None:
    """What `Logger.handle` does, with each handler guarded alone."""
    import logging

    if logger.disabled:
        return
    passed = logger.filter(record)
    if not passed:
        return
    if isinstance(passed, logging.LogRecord):  # from Python 3.12 on
        record = passed
    found = False
    at: Any = logger
    while at is not None:
        for handler in list(at.handlers):
            found = True
            if record.levelno >= handler.level:
                _guarded(partial(handler.handle, record), handler, record)
        at = at.parent if at.propagate else None
    if not found:
        logger.callHandlers(record)  # knows what to do where nobody listens


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
