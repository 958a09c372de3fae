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
from collections.abc import Callable
from types import FunctionType

from procession.errors import NotPicklable
from procession.functions.loading import MOST_KEPT, undecorated, where_defined
from procession.functions.needs import PlainFunction, names_in, plain_function
from procession.functions.reloads import version
from procession.hints import Any
from procession.pickling.freshness import Watch, watch
from procession.pickling.importable import refresh
from procession.pickling.pickler import Pickling, dumps
from procession.pickling.references import (
    Named,
    Naming,
    Reference,
    reference_to,
    resolve,
    why_not_by_value,
)
from procession.pickling.refusals import Refusal
from procession.system.cpython import pickle
from procession.system.identity import working_folder
from procession.system.interrupts import strikes

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
        value: Any = where_defined(raw), _version_of(reference[0])
    elif plain is not None:
        _check_named(plain.function, pickling)
        value = pickle.dumps(plain, 5)
    else:
        value, named = _dump_value(raw, pickling, buffers)
        if named:
            watch_of = watch(raw, None, named)
        if buffers:
            value, watch_of = (value, _digest(buffers)), None  # they are sent each time
    payload = pickle.dumps((path, reference, value), 5)
    if watch_of is not None and not watch_of.holds():
        watch_of = None
    if watch_of is not None and type(raw) is FunctionType:
        if len(_pickled) >= MOST_KEPT:
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


def _reference(raw: Any, decorated: Any) -> Reference | None:
    """A name that leads to the decorated object, or to the function below it."""
    if decorated is not None and undecorated(decorated) is raw:
        reference = reference_to(decorated)
        if reference is not None:
            return reference
    return reference_to(raw)


def _version_of(module: str) -> tuple[Any, ...] | None:
    if module.partition(".")[0] in sys.stdlib_module_names:
        return None
    return tuple(version(module))


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
        except BaseException as error:
            if strikes(error):
                raise
            named = named_instead([("function", function)], pickling == "strict")
            if not named:
                raise
        return dumps_by_value(function, pickling, buffers, code=True, named=named), named
    except BaseException as error:
        if strikes(error):
            raise
        raise _explained(error, function, pickling) from error


def _explained(error: BaseException, function: Any, pickling: Pickling) -> NotPicklable:
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
