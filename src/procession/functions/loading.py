"""A function in a worker: found by its name, or rebuilt, from what `packed_function` made of it.

A name may mean another function here: its module was reloaded or edited, or the program loads it
through an import hook of its own. That is refused, and said.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType

from procession.errors import NotPicklable
from procession.functions.code_digests import code_digest
from procession.functions.reloads import Version, load, missing_hook, rewrites, stale
from procession.hints import Any
from procession.pickling.objects import is_a
from procession.pickling.pickler import loads
from procession.pickling.references import Reference, is_decorated, resolve
from procession.system.cpython import pickle

MOST_KEPT = 128
"""Pickled functions that a caller keeps, and by-value functions that a worker keeps, so that their
globals live on between calls. A guess, not measured; `procession.worker.runner` remembers half as
many jobs."""

_loaded: OrderedDict[Any, Callable[..., Any]] = OrderedDict()


def load_function(payload: bytes, buffers: Sequence[Any] = ()) -> Callable[..., Any]:
    """Find or rebuild, in a worker, the undecorated function that `dump_function` pickled.

    Args:
        payload: What it gave.
        buffers: The large buffers that it took.

    Raises:
        NotPicklable: The name leads to another function here.
        Exception: What importing the function's module, or rebuilding it, raises.
    """
    path, reference, rest = pickle.loads(payload)
    sys.path += [entry for entry in path if entry not in sys.path]
    if reference is not None:
        return _resolve(reference, rest)
    known = _loaded.get(rest)
    if known is not None:
        _loaded.move_to_end(rest)
        return known
    blob = rest if type(rest) is bytes else rest[0]
    function = undecorated(loads(blob, buffers))
    if isinstance(function, FunctionType):  # other callables have a state, which must be fresh
        _loaded[rest] = function
        while len(_loaded) > MOST_KEPT:
            _loaded.popitem(last=False)
    return function


def undecorated(function: Any) -> Callable[..., Any]:
    """The function below Procession's decorator, ``@classmethod`` and ``@staticmethod``."""
    while is_decorated(function):
        function = function.__wrapped__
    if is_a(function, classmethod, staticmethod):
        function = function.__func__
    inner: Callable[..., Any] = function
    return inner


def where_defined(function: Any) -> tuple[Any, ...] | None:
    """Where a function's code stands in its file, and a digest of it."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    return code.co_name, code.co_firstlineno, code_digest(code)


def _resolve(reference: Reference, expected: Any) -> Callable[..., Any]:
    defined, given = expected
    if given is None:
        return undecorated(resolve(*reference))
    module, theirs = reference[0], Version(*given)
    _import(module, theirs)
    hook = missing_hook(module, theirs)
    why = stale(module, theirs)
    try:
        function = undecorated(resolve(*reference))
    except AttributeError:
        if not (why or hook):
            raise
        raise _other_function(reference, why or hook, "It is not there. ") from None
    here = where_defined(function)
    if not _same_place(here, defined, rewritten=theirs.rewritten or rewrites(module)):
        why = why or hook or "Its module defines the function differently in a worker."
        place = f"It was {_place(defined)} in the caller, and is {_place(here)} here. "
        raise _other_function(reference, why, place)
    if why or (hook and theirs.changed):
        raise _other_function(reference, why or hook)
    return function


def _same_place(here: Any, defined: Any, *, rewritten: bool) -> bool:
    """Whether it is the same code; where asserts were rewritten, whether it stands there."""
    if here is None or defined is None:
        return here is defined
    same: bool = here[:2] == defined[:2] if rewritten else here[2] == defined[2]
    return same


def _import(module: str, theirs: Version) -> None:
    try:
        load(module, theirs)
    except ModuleNotFoundError as error:
        hook = missing_hook(module, theirs)
        if error.name is None or not f"{module}.".startswith(f"{error.name}.") or not hook:
            raise
        raise NotPicklable(
            f"{module} cannot be imported in this worker. {hook}",
            where="function",
            path=module,
            culprit="builtins.module",
            reason="A worker has no import hooks of the program.",
        ) from error


def _other_function(reference: Reference, why: str, place: str = "") -> NotPicklable:
    name = ".".join(reference[:2])
    mend = (
        ""
        if "initializer=" in why
        else " Reload the module (importlib.reload) or restart the program, and make an executor "
        "that was given as backend= anew."
    )
    return NotPicklable(
        f"{name} is not the same function in this worker. {place}{why}{mend}",
        where="function",
        path=name,
        culprit="builtins.function",
        reason="The name means another function in the worker.",
    )


def _place(defined: Any) -> str:
    return "a function of no file" if defined is None else f"{defined[0]}() at line {defined[1]}"
