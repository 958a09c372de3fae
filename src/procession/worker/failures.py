"""What a worker answers for an item that has failed.

A global of a module that the program has set at run time is not set in a worker, which imports the
module anew. The error that comes of it (``'NoneType' object …``) says nothing of that. So what the
globals look like that the item's code names is sent with the error, and compared in the caller's
process: a note tells the difference.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType, TracebackType

from procession.buffers.nameless_memory import Gone
from procession.errors import NotPicklable, TaskExited
from procession.hints import Any
from procession.items import Reply
from procession.pickling.objects import class_of
from procession.pickling.pickler import Pickling
from procession.system.cpython import pickle
from procession.system.interrupts import tried
from procession.worker import current
from procession.worker.job_header import Header, Settings, arguments_of

_EXITS = (SystemExit, KeyboardInterrupt)


def exited(error: BaseException, function: str, where: str = "in a worker") -> TaskExited:
    """What becomes of SystemExit and KeyboardInterrupt that an item raised."""
    what = f"SystemExit({error.code!r})" if isinstance(error, SystemExit) else "KeyboardInterrupt"
    who = function if " " in function else f"{function}()"
    wrapped = TaskExited(
        f"{who} raised {what} {where}. An item cannot end the caller's program: return "
        "a value that says so, or raise an exception of your own.",
        code=error.code if isinstance(error, SystemExit) else None,
    )
    wrapped.__cause__ = error
    return wrapped


def item_error(error: BaseException, settings: Settings) -> BaseException:
    """What goes home of an error that an item, or what pickles for it, has raised."""
    ends = issubclass(class_of(error), _EXITS) and not settings.exits
    return exited(error, settings.name) if ends else error


def argument_error(error: BaseException, header: Header, blob: Any) -> BaseException:
    """Why an item's arguments could not be rebuilt here."""
    if isinstance(error, (Gone, MemoryError, *_EXITS)):
        return item_error(error, header.settings)
    from procession.explaining.explain import parameters
    from procession.explaining.unloadable import explain_unloadable

    return explain_unloadable(
        error,
        where="argument",
        function=header.settings.name,
        root="argument",
        blob=blob,
        roots=lambda value: parameters(header.function, *arguments_of(header, value)),
    )


def result_error(error: BaseException, result: Any, settings: Settings) -> BaseException:
    """Why a result could not be pickled."""
    if isinstance(error, (MemoryError, *_EXITS)):
        return item_error(error, settings)
    return refused_result(error, result, settings.name, settings.pickling)


def refused_result(
    error: BaseException, result: Any, function: str, pickling: Pickling
) -> NotPicklable:
    """The refusal of a result that cannot be pickled."""
    from procession.explaining.explain import explain

    return explain(
        error, result, where="result", function=function, root="result", pickling=pickling
    )


def failed(
    index: int,
    error: BaseException,
    settings: Settings,
    seconds: float = 0.0,
    extras: bytes | None = None,
) -> Reply:
    """The reply for an item that came to nothing."""
    from procession.pickling.exceptions import dump_exception

    payload = dump_exception(_with_host(error), settings.pickling)
    return Reply(index, False, payload, (), seconds, False, extras)


def raised(
    index: int, error: BaseException, header: Header, seconds: float, extras: bytes | None
) -> Reply:
    """The reply for an item whose function has raised an error."""
    reply = failed(index, error, header.settings, seconds, extras)
    if type(error) is TaskExited:
        return reply
    return reply._replace(payload=_append_globals(reply.payload, header.function, error))


def job_failed(index: int, error: BaseException) -> Reply:
    """The reply for each item of a job that could not be opened."""
    from procession.pickling.exceptions import dump_exception
    from procession.pickling.notes import IN_INITIALIZER, WHILE_LOADING, add_note, notes_of

    if isinstance(error, _EXITS):
        error = exited(error, "the import of the function's module")
    if IN_INITIALIZER not in notes_of(error):
        add_note(error, WHILE_LOADING)
    return Reply(index, False, dump_exception(_with_host(error), "by-value"))


def _with_host(error: BaseException) -> BaseException:
    """On a cluster: say on which machine it happened, and what to do if a module is not there."""
    machine = current.host()
    if machine:
        from procession.pickling.notes import add_note

        add_note(error, f"This happened on the machine {machine}.")
        missing = _missing_module(error)
        if missing:
            add_note(
                error,
                f"The module {missing!r} is not installed on {machine}. Install it on the "
                "cluster's machines, or send it to them: client.upload_file('module.py') on Dask, "
                "runtime_env={'py_modules': [...]} on Ray.",
            )
    return error


def _missing_module(error: BaseException | None) -> str:
    """The module that could not be imported, if that is why."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name
        if isinstance(error, NotPicklable):
            import re

            found = re.search(r"No module named '([\w.]+)'", str(error))
            if found:
                return found.group(1)
        error = error.__cause__ or error.__context__
    return ""


# -- globals that the code of a failed item names --------------------------------------------

_MOST = 40
"""Globals told of one error. A guess, more than functions name."""

_PLAIN = (int, float, complex, str, bytes, bool)
_SKIPPED = (ModuleType, FunctionType, BuiltinFunctionType, type)
_MISSING = object()

Seen = list[tuple[str, str, str, str]]
"""Module of the code, as what the code names it, module that it is in, and how it looked."""


def _append_globals(payload: bytes, function: Any, error: BaseException) -> bytes:
    """Append to a pickled error what the globals look like that its code names.

    To load the error alone, one need not know of it.
    """
    try:
        seen = _seen(function, error)
    except BaseException:  # of the values' own code
        return payload
    return payload + pickle.dumps(seen, 5) if seen else payload


def globals_note(payload: Any) -> str:
    """A note on the globals that look otherwise in this process; empty if there are none."""
    stream = io.BytesIO(payload)
    pickle.load(stream)
    if stream.tell() == len(stream.getbuffer()):
        return ""
    told: list[str] = []
    seen: Seen = pickle.load(stream)
    for name, module, attribute, there in seen:
        space = getattr(sys.modules.get(module), "__dict__", None)
        if space is None:
            continue
        here = tried("", _look, space.get(attribute, _MISSING))
        if here and here != there:
            told.append(f"{name} is {there} in the worker, and {here} in your process")
    if not told:
        return ""
    return (
        f"{'; '.join(told)}. What a program sets in a module at run time is not set in workers, "
        "which import it anew: pass it as an argument, or set it with initializer=."
    )


def _seen(function: Any, error: BaseException) -> Seen:
    found: dict[str, tuple[str, str, str, str]] = {}
    for code, space in _codes(function, error.__traceback__):
        module = space.get("__name__")
        if not isinstance(module, str) or not _is_the_user_s(module, space):
            continue
        for name, home, attribute, value in _named(code, space, module):
            if len(found) >= _MOST:
                return list(found.values())
            look = _look(value)
            if look and name not in found:
                found[name] = (name, home, attribute, look)
        missing = getattr(error, "name", None)
        if isinstance(error, NameError) and missing in code.co_names and missing not in space:
            found[missing] = (missing, module, missing, "not there")
    return list(found.values())


def _codes(
    function: Any, traceback: TracebackType | None
) -> Iterator[tuple[CodeType, dict[str, Any]]]:
    """The function's code, and that of each frame that the error came through."""
    code, space = getattr(function, "__code__", None), getattr(function, "__globals__", None)
    if code is not None and space is not None:
        yield code, space
    while traceback is not None:
        yield traceback.tb_frame.f_code, traceback.tb_frame.f_globals
        traceback = traceback.tb_next


def _is_the_user_s(module: str, space: dict[str, Any]) -> bool:
    top = module.partition(".")[0]
    if top in ("__main__", "procession") or top in sys.stdlib_module_names:
        return False  # scripts' functions are sent with their globals
    return getattr(sys.modules.get(module), "__dict__", None) is space


def _named(
    code: CodeType, space: dict[str, Any], module: str
) -> Iterator[tuple[str, str, str, Any]]:
    """What the code names: globals, and attributes of modules that are globals."""
    names = code.co_names
    for name in names:
        value = space.get(name, _MISSING)
        if isinstance(value, ModuleType):
            home = value.__name__
            if _is_the_user_s(home, value.__dict__):
                for attribute in names:
                    if attribute != name and attribute in value.__dict__:
                        yield f"{name}.{attribute}", home, attribute, value.__dict__[attribute]
        elif value is not _MISSING:
            yield name, module, name, value


def _look(value: Any) -> str:
    """What a global looks like, for the note; empty for what is never set at run time."""
    if value is _MISSING:
        return "not there"
    if value is None:
        return "None"
    if isinstance(value, _SKIPPED):
        return ""
    cls: Any = value.__class__
    if cls in _PLAIN:
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:37]}..."
    name = f"{'an' if cls.__name__[0] in 'aeiouAEIOU' else 'a'} {cls.__name__}"
    if cls in (list, dict, set, tuple, frozenset, bytearray):
        return f"an empty {cls.__name__}" if not value else f"{name} that is not empty"
    return name
