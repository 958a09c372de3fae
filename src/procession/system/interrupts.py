"""Exceptions that strike the code that runs here, and those that it raises itself.

A signal handler of the caller's runs amid whatever its main thread does, and what it raises goes
up through that. If an item runs there, the exception looks like the item's. It is the caller's:
it must end what the caller does, as it would without us, and no item may keep it or run again. So
is what a trace or profile function raises: a debugger that is told to quit.
"""

from __future__ import annotations

import itertools
import opcode
import signal
import threading
from types import CodeType, FrameType, TracebackType
from typing import Any

__all__ = ["strikes"]

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
    if threading.current_thread() is not threading.main_thread():
        return False  # handlers run in the main thread
    at = error.__traceback__
    last: TracebackType | None = None
    while at is not None:
        if _is_hook(at.tb_frame):
            return True
        last, at = at, at.tb_next
    return isinstance(error, KeyboardInterrupt) and not _raised(last)


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
