"""Log records and warnings: recorded in the worker, packed for their way home, replayed there.

What cannot cross costs only what it is part of. To replay runs the user's handlers and filters. So
it is done after the result was settled, in the thread that wants the result, or in a thread for the
user's code. Each handler is guarded alone: what it raises goes where `logging.Handler.handleError`
puts it, and disturbs neither others nor the call.
"""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Callable
from functools import partial

from procession.forwarding.outgoing import AdoptedReporting, Outgoing
from procession.hints import TYPE_CHECKING, Any
from procession.once import Once
from procession.pickling.objects import attribute_of, class_of, is_a, is_one_of
from procession.system.cpython import pickle
from procession.system.interrupts import strikes, tried

if TYPE_CHECKING:
    import logging

_RECORDS_PER_ITEM = 10_000
"""Log records kept per item; what is above it is dropped. A guess, not measured."""

_PLAIN = frozenset({str, int, float, bool, type(None)})

_Warned = tuple[Any, Any, str, int]
"""Message, category, file name and line."""


# -- the worker's half -----------------------------------------------------------------------


class Recorder:
    """Keeps what one item logs and warns, under the caller's levels and filters.

    One per worker process. It takes the handlers of every logger away: a forked worker has its
    parent's, and would print each record twice. It takes each record where a logger looks for its
    handlers, whether it propagates or not, and replaces `warnings.showwarning`. All that lasts
    until an item comes whose records and warnings are to stay here.

    Attributes:
        noted: What was logged and warned since it was last taken.
    """

    def __init__(self) -> None:
        self.noted: list[Any] = []
        self._adopter = AdoptedReporting(self._logging_loaded)
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
        self._adopter.adopt(out)

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

    def take(self) -> bytes | None:
        """What was logged and warned since the last time, pickled; `None` if nothing was."""
        if not self.noted:
            return None
        records = [_pack_record(each) for each in self.noted if is_a(each, dict)]
        warned = [_pack_warning(each) for each in self.noted if is_a(each, tuple)]
        self.noted.clear()
        return pickle.dumps((records, warned), 5)

    def _logging_loaded(self) -> None:
        if self._call_handlers is None:
            import logging

            self._call_handlers = logging.Logger.callHandlers
            if not self._aside:
                self._replace_handlers()

    def _replace_handlers(self) -> None:
        import logging

        loggers: list[Any] = [logging.root, *logging.root.manager.loggerDict.values()]
        for logger in loggers:
            for handler in list(getattr(logger, "handlers", ())):
                logger.removeHandler(handler)
                self._replaced.append((logger, handler))
        call, records = self._call_handlers, self.noted

        def collect(logger: logging.Logger, record: logging.LogRecord) -> None:
            if len(records) < _RECORDS_PER_ITEM:
                records.append(_fields(record))
            if logger.hasHandlers():  # which the items themselves have added
                call(logger, record)

        logging.Logger.callHandlers = collect  # type: ignore[method-assign, assignment]

    def _show(self, message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
        self.noted.append((message, category, filename, lineno))


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


# -- their way home --------------------------------------------------------------------------


def _pack_record(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Its fields, as text where they are no plain values; and those pickled one by one."""
    odd = {name: value for name, value in fields.items() if not is_one_of(class_of(value), _PLAIN)}
    packed = {name: blob for name, value in odd.items() if (blob := _packed(value)) is not None}
    return {**fields, **{name: _text(value) for name, value in odd.items()}}, packed


def _unpack_record(fields: dict[str, Any], packed: dict[str, bytes]) -> dict[str, Any]:
    from procession.pickling.pickler import loads

    for name, blob in packed.items():
        fields[name] = tried(fields[name], loads, blob)  # or its text stays
    return fields


def _pack_warning(warned: _Warned) -> tuple[Any, ...]:
    message, category, filename, line = warned
    said = tried("", str, message) or _text(message)
    return _packed((message, category)), category.__name__, said, filename, line


def _unpack_warning(blob: Any, name: str, said: str, filename: str, line: int) -> _Warned:
    from procession.pickling.pickler import loads

    told = tried(None, loads, blob)
    message, category = told or (UserWarning(f"{name}: {said}"), UserWarning)
    return message, category, filename, line


def _packed(value: Any) -> bytes | None:
    from procession.pickling.pickler import dumps

    packed: bytes | None = tried(None, dumps, value, "by-value")
    return packed


def _text(value: Any) -> str:
    """A value as text, even if its own code fails."""
    text: str = tried("", repr, value) or f"<{attribute_of(class_of(value), '__name__')}>"
    return text


# -- the caller's half -----------------------------------------------------------------------


class Replay:
    """Handles in this process what came with one result, once: by the first thread that calls it.

    Other threads that call it wait until that is done, so that the one which has the result finds
    the records handled. A handler that asks for the result itself does not wait for itself. If
    Ctrl-C interrupts it, the next call goes on where it was.
    """

    __slots__ = ("_extras", "_left", "_once")

    def __init__(self, extras: bytes) -> None:
        self._extras: bytes | None = extras
        self._left: deque[Callable[[], None]] = deque()
        self._once = Once(self._handle)

    def __call__(self) -> None:
        """Handle it, or wait until it is handled."""
        if not self._once.mine:
            self._once()

    def _handle(self) -> None:
        extras, self._extras = self._extras, None
        if extras is not None:
            _guarded(partial(self._unpack, extras))
        while self._left:
            _guarded(self._left.popleft())

    def _unpack(self, extras: bytes) -> None:
        records, warned = pickle.loads(extras)
        self._left.extend(partial(_log, _unpack_record(*each)) for each in records)
        self._left.extend(partial(_warn_again, *_unpack_warning(*each)) for each in warned)


def _guarded(act: Callable[[], None], handler: Any = None, record: Any = None) -> None:
    """Do it; say what it raises where logging says such things."""
    try:
        act()
    except BaseException as error:
        if strikes(error):
            raise
        try:
            _report(handler, record)
        except BaseException as worse:
            if strikes(worse):
                raise


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
    # A subclass, or an integration that has replaced some of it, is to see the record.
    handle = partial(_log_plainly, logger) if _is_plain(logger) else logger.handle
    _guarded(partial(handle, record), None, record)


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
        logger.callHandlers(record)  # knows what to do where there is no handler


def _warn_again(message: Warning, category: type[Warning], filename: str, lineno: int) -> None:
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == filename:
            registry = module.__dict__.setdefault("__warningregistry__", {})
            where: Any = {"module": module.__name__, "registry": registry}
            break
    else:
        where = {}  # code without a file: module=None would mean that there is no filter any more
    try:
        warnings.warn_explicit(message, category, filename, lineno, **where)
    except Warning:
        # The filters turned to "error" after the item had started: it cannot raise there now.
        warnings.showwarning(message, category, filename, lineno)
