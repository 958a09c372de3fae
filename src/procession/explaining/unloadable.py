"""Says what was pickled but could not be rebuilt where it arrived, and where it sits.

The receiver finds the place, in the pickle; the sender, who has the object, its class.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from procession.errors import NotPicklable, Where
from procession.explaining.frameworks import DJANGO_ERRORS, DJANGO_MEND
from procession.explaining.paths import path_of
from procession.explaining.search import Search
from procession.pickling.objects import class_of, is_a, type_name

__all__ = ["explain_unloadable", "locate"]

_WIDTH = 96


def explain_unloadable(
    error: BaseException,
    *,
    where: Where,
    function: str,
    root: str,
    blob: bytes = b"",
    roots: Callable[[Any], list[tuple[str, Any]]] | None = None,
) -> NotPicklable:
    """Explain, where it arrived, why something that was pickled could not be rebuilt.

    Args:
        error: What unpickling raised.
        where: What was to be rebuilt: a result is rebuilt in the caller, all else in the worker.
        function: The name of the function it was for.
        root: What it is called, such as a parameter's name.
        blob: The pickle, to find the path in.
        roots: Takes what the pickle held apart into pairs of an expression and its value.

    Raises:
        MemoryError: It was unpickling's error: that arrives as itself.
    """
    if isinstance(error, MemoryError):
        raise error  # it says nothing of the object
    path, culprit = _place_in(blob, roots or (lambda whole: [(root, whole)]))
    culprit = culprit or _rebuilt(error)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    place = "here" if where == "result" else "in the worker"
    reason = f"Rebuilding it {place} raised {text.rstrip('.')}."
    call = function if function.endswith(")") else f"{function}()"
    what = {"function": "it", "result": "its result", "exception": "its exception"}.get(
        where, "its argument" if root == where else f"its argument {root!r}"
    )
    if isinstance(error, ImportError):
        mend = f"Make that module importable {place} (is its folder on sys.path?)."
    elif type(error).__name__ in DJANGO_ERRORS:
        mend = DJANGO_MEND
    else:
        owner = culprit.rpartition(".")[2] or "the class"
        mend = f"Correct __reduce__ or __setstate__ of {owner}, so that copy.copy() of it works."
    lines = [
        f"{call} could not be run: {what} was pickled, but could not be rebuilt {place}"
        if where != "result"
        else f"the result of {call} was pickled, but could not be rebuilt here",
        f"  {path or root}  →  {culprit}" if culprit else f"  {path or root}",
        *textwrap.wrap(f"{reason} {mend}", _WIDTH, break_long_words=False),
    ]
    message = "\n".join(lines)
    return NotPicklable(message, where=where, path=path or root, culprit=culprit, reason=reason)


def _place_in(blob: bytes, roots: Callable[[Any], list[tuple[str, Any]]]) -> tuple[str, str]:
    """Where in a pickle the object is that cannot be rebuilt, and what was to be made."""
    from procession.explaining.rebuilding import rebuild

    if not blob:
        return "", ""
    try:
        whole, culprit, name = rebuild(blob)
        if culprit is not None:
            for node in Search(strict=False).reach(roots(whole)):
                if node.obj is culprit:
                    return path_of(node.trail())[0], name
    except (Exception, SystemExit):
        return "", ""  # what fails once may fail otherwise the second time
    return "", name


def _rebuilt(error: BaseException) -> str:
    """The class that was being rebuilt, as far as the error tells."""
    traceback = error.__traceback__
    while traceback is not None:
        variables = traceback.tb_frame.f_locals
        name = traceback.tb_frame.f_globals.get("__name__", "")
        if not name.startswith("procession."):
            for variable in ("self", "cls"):
                if variable in variables:
                    value = variables[variable]
                    return type_name(value if is_a(value, type) else class_of(value))
        traceback = traceback.tb_next
    match = re.match(r"([\w.<>]+)\.__\w+__\(\)", str(error))
    return match[1] if match else ""


def locate(error: NotPicklable, roots: Iterable[tuple[str, Any]]) -> NotPicklable:
    """Add the path to an error of `explain_unloadable`, where the object still is.

    Args:
        error: The error that came from the worker.
        roots: What had been pickled, after the expressions that paths start with.
    """
    search = Search(strict=False)
    found: tuple[str, str] | None = None
    for node in list(search.reach(roots)):  # all of it, to know what makes each
        name = type_name(class_of(node.obj))
        if error.culprit in _names_of(node.obj, name, search):
            path, _ = path_of(node.trail())
            if path == error.path:
                found = path, name
                break
            found = found or (path, name)
    if found is None or (found[0] != error.path and not error.path.isidentifier()):
        return error  # the worker knows the place better
    path, name = found
    old = f"  {error.path}  →  {error.culprit}"
    message = str(error).replace(old, f"  {path}  →  {name}", 1)
    owner = re.escape(error.culprit.rpartition(".")[2])
    message = re.sub(rf"\bof(\s){owner}, so", rf"of\1{name.rpartition('.')[2]}, so", message)
    return NotPicklable(message, where=error.where, path=path, culprit=name, reason=error.reason)


def _names_of(obj: Any, name: str, search: Search) -> set[str]:
    """What an error may call an object that could not be rebuilt: its class, or what makes it."""
    names = {name, name.rpartition(".")[2], name.partition(".")[2]} - {""}
    maker = search.makers.get(id(obj))
    if maker is not None:
        names.add(f"{getattr(maker, '__module__', '')}.{getattr(maker, '__qualname__', '')}")
    return names
