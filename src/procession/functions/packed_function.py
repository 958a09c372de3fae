"""What is sent for a function.

(a) A reference, if the function's name leads to it, however it is decorated: the worker walks to
the same object and unwraps it. (b) By value, if it has a name of its own in a module that workers
cannot import, such as ``__main__`` or a notebook. (c) Otherwise (lambdas, closures, a function
whose name means another one now) by value under ``pickling="by-value"``, and refused under
``"strict"``. Never by name alone.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType

from procession.errors import NotPicklable
from procession.functions.code_digests import code_digest
from procession.functions.freshness import Watch, watch
from procession.functions.plain import PlainFunction, names_in, plain_function
from procession.functions.reloads import Version, load, missing_hook, rewrites, stale, version
from procession.hints import Any
from procession.pickling.importable import refresh
from procession.pickling.objects import is_a
from procession.pickling.pickler import Pickling, dumps, loads
from procession.pickling.references import (
    Named,
    Naming,
    Reference,
    is_decorated,
    reference_to,
    resolve,
    why_not_by_value,
)
from procession.pickling.refusals import Refusal
from procession.system.cpython import pickle
from procession.system.identity import working_folder

__all__ = ["dump_function", "dump_watched", "load_function", "reduce_decorated"]

_KEPT = 128
"""Pickled functions that a caller keeps, and by-value functions that a worker keeps, so that their
globals live on between calls. A guess, not measured; `procession.worker.runner` remembers half as
many jobs."""

_Payload = tuple[tuple[str, ...], Reference | None, Any]

_loaded: OrderedDict[Any, Callable[..., Any]] = OrderedDict()
_pickled: dict[FunctionType, tuple[Pickling, int, Watch, bytes]] = {}


def dump_function(
    function: Callable[..., Any],
    decorated: Any = None,
    pickling: Pickling = "strict",
    buffers: list[Any] | None = None,
) -> bytes:
    """Pickle a function, or any callable, for workers.

    Args:
        function: What is to run there, undecorated.
        decorated: The decorated object it belongs to, if there is one.
        pickling: See `procession.pickling.pickler.dumps`.
        buffers: Takes the large buffers of what a function uses that goes by value.

    Raises:
        NotPicklable: With ``where="function"``.
    """
    return dump_watched(function, decorated, pickling, buffers)[0]


def dump_watched(
    function: Callable[..., Any],
    decorated: Any,
    pickling: Pickling,
    buffers: list[Any] | None = None,
) -> tuple[bytes, Watch | None]:
    """As `dump_function`; with what tells whether the same would be pickled for it again.

    Raises:
        NotPicklable: With ``where="function"``.
    """
    raw = function if type(function) is FunctionType else undecorated(function)
    known = _pickled.get(raw) if type(raw) is FunctionType else None
    if known is not None:
        before, owner, watching, payload = known
        if before == pickling and owner == id(decorated) and watching.holds():
            return payload, watching
    refresh()
    reference = _reference(raw, decorated)
    path = tuple(map(_absolute, sys.path))
    # Before it is looked at, and before it is pickled: what changes meanwhile is noticed.
    plain, watch_of = _plain_and_watch(raw) if reference is None else (None, None)
    if watch_of is None:
        watch_of = watch(raw, reference)
    if reference is not None:
        value: Any = _where_defined(raw), _version_of(reference[0])
    elif plain is not None:
        _check_named(plain.function, pickling)
        value = pickle.dumps(plain, 5)
    else:
        value, named = _dump_value(raw, pickling, buffers)
        if buffers:
            value = value, _digest(buffers)
        if named:
            watch_of = watch(raw, None, named)
    payload = pickle.dumps((path, reference, value), 5)
    if watch_of is not None and not watch_of.holds():
        watch_of = None
    if watch_of is not None and type(raw) is FunctionType:
        if len(_pickled) >= _KEPT:
            _pickled.clear()  # they keep what their functions use
        _pickled[raw] = pickling, id(decorated), watch_of, payload
    return payload, watch_of


def _absolute(entry: str) -> str:
    """A path entry as it is meant: relative to the folder in which it was first used."""
    if not entry:
        return working_folder()
    if os.path.isabs(entry):
        return entry
    found: Any = getattr(sys.path_importer_cache.get(entry), "path", None)
    return (
        found if isinstance(found, str) else os.path.normpath(os.path.join(working_folder(), entry))
    )


def _digest(buffers: list[Any]) -> tuple[Any, ...]:
    """What differs if the buffers do: a worker keeps what it has loaded."""
    import zlib

    views = [buffer.raw() for buffer in buffers]
    return tuple((len(view), zlib.crc32(view)) for view in views)


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
        while len(_loaded) > _KEPT:
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


def _reference(raw: Any, decorated: Any) -> Reference | None:
    """A name that leads to the decorated object, or to the function below it."""
    if decorated is not None and undecorated(decorated) is raw:
        reference = reference_to(decorated)
        if reference is not None:
            return reference
    return reference_to(raw)


def _where_defined(function: Any) -> tuple[Any, ...] | None:
    """Where a function's code stands in its file, and a digest of it."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    return code.co_name, code.co_firstlineno, code_digest(code)


def _version_of(module: str) -> tuple[Any, ...] | None:
    if module.partition(".")[0] in sys.stdlib_module_names:
        return None
    return tuple(version(module))


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
    here = _where_defined(function)
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


def _plain_and_watch(raw: Any) -> tuple[PlainFunction | None, Watch | None]:
    """A plain function with what it uses, and what notices that this has changed since."""
    if type(raw) is not FunctionType:
        return None, None
    watch_of = watch(raw, None, names=names_in(raw.__code__))
    return plain_function(raw), watch_of


def _dump_value(
    function: Any, pickling: Pickling, buffers: list[Any] | None = None
) -> tuple[Any, Named]:
    """A function by value, and what it uses that went by name."""
    is_function = type(function) is FunctionType
    if is_function:
        _check_named(function, pickling)
    try:
        if not is_function:
            return dumps(function, pickling, buffers), {}
        from procession.explaining.search import named_instead
        from procession.pickling.by_value import dumps_by_value

        try:
            return dumps_by_value(function, pickling, buffers, code=True), {}
        except Exception:
            named = named_instead([("function", function)], pickling == "strict")
            if not named:
                raise
        return dumps_by_value(function, pickling, buffers, code=True, named=named), named
    except Exception as error:
        raise _explained(error, function, pickling) from error


def _explained(error: Exception, function: Any, pickling: Pickling) -> NotPicklable:
    from procession.explaining.explain import explain

    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    short = name.rpartition("<locals>.")[2]
    root = short if short.replace(".", "").isidentifier() else "function"
    return explain(error, function, where="function", function=short, root=root, pickling=pickling)


def _check_named(function: FunctionType, pickling: Pickling) -> None:
    refusal = why_not_by_value(function) if pickling == "strict" else None
    if refusal is not None:
        raise _nameless(function, refusal)


def _nameless(function: FunctionType, refusal: Refusal) -> NotPicklable:
    """The error for a function that strict pickling cannot name."""
    code = function.__code__
    name = function.__qualname__.rpartition("<locals>.")[2]
    call = "A lambda" if function.__name__ == "<lambda>" else f"{name}()"
    what = refusal.what.removeprefix("the function ")
    return NotPicklable(
        f"{call} cannot be sent to a worker: it is {what}\n"
        f"  {name}  →  builtins.function (line {code.co_firstlineno} of {code.co_filename})\n"
        f"{refusal.reason} {refusal.mend}",
        where="function",
        path=name,
        culprit="builtins.function",
        reason=refusal.reason,
    )


def reduce_decorated(decorated: Any, named: Naming = "importable") -> Any:
    """What a decorated object's ``__reduce_ex__`` returns.

    Its name, if that leads to it; a ``with_options`` copy as (origin, changes); else the class of
    decorated functions, with the function, the decorator's name and the options.

    Args:
        decorated: The decorated object.
        named: Which functions what pickles leaves to their names.
    """
    origin = getattr(decorated, "_self_origin", None)
    if origin is not None:
        return rebuild_copy, (origin, dict(decorated._self_changes))
    reference = reference_to(decorated, named)
    if reference is not None:
        return resolve, reference
    # What belongs to this process stays here: a call made in a worker does not go further anyway.
    options = {
        name: value
        for name, value in decorated._self_decorator.items()
        if name not in ("backend", "context") or isinstance(value, str)
    }
    return type(decorated), (decorated.__wrapped__, decorated._self_style, options)


def rebuild_copy(origin: Any, changes: dict[str, Any]) -> Any:
    """A ``with_options`` copy, made again."""
    return origin.with_options(**changes)
