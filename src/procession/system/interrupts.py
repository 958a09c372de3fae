"""What strikes the code that runs: signal handlers, trace functions and the collector's finalizers.

A signal handler of the caller's runs amid the work of its main thread, and what it raises goes
up through that. If an item runs there, the exception looks like the item's. It is the caller's: it
must end what the caller does, and no item may keep it or run again. The same holds for what a trace
or profile function raises: a debugger that is told to quit.

The collector strikes amid any code, and a ``__del__`` may do what it likes, make calls of
Procession included. Such a call must not wait for what the code below it would do next, so it is to
be known (`is_collecting`). Python says when a collection begins and ends. There is one at a time.
"""

from __future__ import annotations

import gc
import itertools
import opcode
import threading as _shared
from collections.abc import Callable
from functools import partial
from types import CodeType, FrameType, TracebackType

from procession.hints import Any
from procession.system import after_fork
from procession.system.pristine import threading

_RAISES = frozenset({opcode.opmap["RAISE_VARARGS"], opcode.opmap["RERAISE"]})

_EVENTS = frozenset(
    {"call", "line", "return", "exception", "opcode", "c_call", "c_return", "c_exception"}
)
"""What trace and profile functions are told."""

_deleted = object()
"""Stands for an argument that the function has deleted."""


def strikes(error: BaseException) -> bool:
    """Whether an exception of code that runs in this thread comes from a signal handler.

    True for Ctrl-C, and for what a handler that the caller has set raises: ``sys.exit``, the
    exception of a deadline; and for what the caller's trace or profile function raises. False for
    what the code raises itself, ``KeyboardInterrupt`` included.
    """
    if _shared.current_thread() is not _shared.main_thread():
        return False  # handlers run in the main thread
    at = error.__traceback__
    last: TracebackType | None = None
    while at is not None:
        if _is_hook(at.tb_frame):
            return True
        last, at = at, at.tb_next
    return isinstance(error, KeyboardInterrupt) and not _raised(last)


def tried(otherwise: Any, function: Callable[..., Any], *args: Any) -> Any:
    """What a function gives that runs code of the user's; `otherwise` if that raises anything.

    Raises:
        BaseException: What a signal handler has raised meanwhile.
    """
    try:
        return function(*args)
    except BaseException as error:
        if strikes(error):
            raise
        return otherwise


def _is_hook(frame: FrameType) -> bool:
    """Whether the interpreter has called a frame: as a handler, with a signal and the frame that it
    struck, or to trace, with the frame and an event."""
    code = frame.f_code
    count, rest = code.co_argcount, bool(code.co_flags & 0x04)  # inspect.CO_VARARGS
    if count < 2 and not rest:
        return False
    named = frame.f_locals
    given = [named.get(name, _deleted) for name in code.co_varnames[:count]]
    if rest:
        more = named.get(code.co_varnames[count + code.co_kwonlyargcount])
        given += more if type(more) is tuple else ()
    struck = frame.f_back
    return any(
        (_is_struck(two, struck, code) and isinstance(one, int))
        or (one is struck and one is not None and type(two) is str and two in _EVENTS)
        for one, two in itertools.pairwise(given)
    )


def _is_struck(where: Any, struck: FrameType | None, code: CodeType) -> bool:
    """Whether an argument of this code is, or was, the frame that a signal struck."""
    return (where is struck and where is not None) or (where is _deleted and _is_set(code))


def _is_set(code: CodeType) -> bool:
    """Whether this is the code of a handler that is set now."""
    import signal

    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        function = getattr(handler, "__func__", handler)
        if getattr(function, "__code__", None) is code:
            return True
    return False


def _raised(at: TracebackType | None) -> bool:
    """Whether the exception began at a ``raise`` in Python code."""
    if at is None:
        return False
    code, index = at.tb_frame.f_code.co_code, at.tb_lasti
    return 0 <= index < len(code) and code[index] in _RAISES


# -- the collector -------------------------------------------------------------------------------


_append: Any = list[Any].append
_begin: Any = list[Any].__init__


class _Collection(list[Any]):
    """Of the collection that runs, what the collector tells of it; else nothing of the kind.

    The collector calls C code only. Python code that it calls is where a signal that came
    meanwhile is handled, and what the handler raises is lost there: Ctrl-C, a deadline.
    """

    start = property(fset=_append)
    stop = property(fset=_begin)


_collection = _Collection([None])
_in_thread = threading.local()
_CALLBACKS = (partial(setattr, _collection), partial(setattr, _in_thread))
"""Called with ``"start"`` or ``"stop"``, and a dictionary that is another one each time."""


def watch_collections() -> None:
    """Know of collections from now on."""
    for callback in _CALLBACKS:
        if callback not in gc.callbacks:
            gc.callbacks.append(callback)


def runs_collection() -> bool:
    """Whether any thread collects."""
    return type(_collection[-1]) is dict


def is_collecting() -> bool:
    """Whether the calling thread collects, and so is in a finalizer."""
    last = _collection[-1]
    return type(last) is dict and getattr(_in_thread, "start", None) is last


def _renew() -> None:
    """In a forked child: its thread goes on with what it was at, another's is not there."""
    if not is_collecting():
        _collection[:] = [None]


after_fork.renew_in_child(_renew)
