"""Says what could not be pickled, where it sits, why, and what to do: `NotPicklable`.

Called after pickling has failed; the picklers themselves only say that it did.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

from procession.errors import NotPicklable, Where
from procession.explaining.paths import path_of
from procession.explaining.search import Finding, Node, Search
from procession.pickling.objects import attribute_of, bases_of, class_of, text_of, type_name
from procession.pickling.pickler import Pickling
from procession.pickling.refusals import Refusal
from procession.system.interrupts import tried

_SHOWN = 3
_WIDTH = 96


def explain(
    error: BaseException,
    obj: Any,
    *,
    where: Where,
    function: str,
    root: str,
    pickling: Pickling = "strict",
) -> NotPicklable:
    """Explain why `obj`, called `root` in paths, could not be pickled for a function.

    Raises:
        MemoryError: It was pickling's error: that arrives as itself.
    """
    return _explain(error, [(root, obj)], where, function, pickling)


def explain_call(
    error: BaseException,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    target: Callable[..., Any],
    function: str,
    pickling: Pickling = "strict",
) -> NotPicklable:
    """Explain why the arguments of a call could not be pickled, by the parameters' names.

    The instance or class of a method comes first in `args`; `target` is undecorated.
    """
    return _explain(error, parameters(target, args, kwargs), "argument", function, pickling)


def parameters(
    target: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """The arguments of a call, each with the name of its parameter."""
    from inspect import signature

    try:
        return list(signature(target).bind(*args, **kwargs).arguments.items())
    except (TypeError, ValueError):
        # The call itself is wrong, or the callable does not say what it takes.
        return [(f"args[{i}]", arg) for i, arg in enumerate(args)] + list(kwargs.items())


def _explain(
    error: BaseException,
    roots: list[tuple[str, Any]],
    where: Where,
    function: str,
    pickling: Pickling,
) -> NotPicklable:
    if isinstance(error, MemoryError):
        raise error  # it says nothing of the object
    search = Search(pickling == "strict", code=where == "function")
    search.run(roots)
    findings = search.findings or [_unknown(error, search)]
    first = findings[0]
    trail = first.node.trail()
    path, remark = _path_of(trail)
    head = _head(where, function, trail[0].root, len(trail) == 1, first.refusal.what)
    lines = [f"  {path}  →  {_culprit(first)}{remark}"]
    for finding in findings[1:_SHOWN]:
        other, remark = _path_of(finding.node.trail())
        lines.append(f"  {other}  →  {_culprit(finding)}{remark}")
    if len(findings) > _SHOWN:
        at_least = "" if search.complete else "at least "
        lines.append(f"  and {at_least}{len(findings) - _SHOWN} more")
    text = f"{first.refusal.reason} {_mend(first.refusal, trail, where)}".strip()
    message = "\n".join([head, *lines, *textwrap.wrap(text, _WIDTH, break_long_words=False)])
    return NotPicklable(
        message, where=where, path=path, culprit=_culprit(first), reason=first.refusal.reason
    )


def _path_of(trail: list[Node]) -> tuple[str, str]:
    """See `path_of`, which asks the objects on the way, and these may raise anything."""
    found: tuple[str, str] = tried((trail[0].root, ""), path_of, trail)
    return found


def _head(where: Where, function: str, root: str, is_root: bool, what: str) -> str:
    verb = "is" if is_root else "holds"
    call = function if function.endswith(")") else f"{function}()"
    if where == "argument":
        return f"{call} cannot be sent to a worker: argument {root!r} {verb} {what}"
    if where == "function":
        return f"{call} cannot be sent to a worker: it {verb} {what}"
    if where == "result":
        return f"the result of {call} cannot be sent back: it {verb} {what}"
    return f"the exception that {call} raised cannot be sent back: it {verb} {what}"


def _culprit(finding: Finding) -> str:
    obj: Any = finding.node.obj
    cls = class_of(obj)
    return type_name(obj if issubclass(cls, type) else cls)


def _mend(refusal: Refusal, trail: list[Node], where: Where) -> str:
    owner = _owner(trail)
    clause = f"leave it out in {owner}.__getstate__" if owner else ""
    text = refusal.mend
    if where in ("result", "exception") and "inside the function" in text:
        # Written for what goes there; this comes back.
        text = "Return what the caller needs of it instead{or_leave_out}."
    text = text.replace("{leave_out}", f"{clause}, " if clause else "")
    return text.replace("{or_leave_out}", f", or {clause}" if clause else "")


def _owner(trail: list[Node]) -> str:
    """The class nearest to the culprit that is the user's own, and could leave it out."""
    for node in reversed(trail[:-1]):
        cls = class_of(node.obj)
        if cls is FunctionType or issubclass(cls, type):
            return ""  # it belongs to code, which no __getstate__ can change
        top = str(attribute_of(cls, "__module__")).partition(".")[0]
        in_python = any("__dict__" in own for _, own in bases_of(cls))
        if in_python and top not in sys.stdlib_module_names - {"__main__"}:
            name: str = attribute_of(cls, "__qualname__")
            return name.rpartition("<locals>.")[2]
    return ""


def _unknown(error: BaseException, search: Search) -> Finding:
    """What is said when no part of the value is to blame by itself."""
    deepest = search.last
    assert deepest is not None
    node = deepest.trail()[0]
    too_deep = isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)
    if too_deep or "recursion" in text_of(error):
        depth = f"{'' if search.complete else 'more than '}{deepest.depth}"
        return Finding(
            deepest,
            Refusal(
                f"{depth} levels of objects inside each other",
                "Pickle follows each level by recursion, and Python's limit for that was reached.",
                "Pass it in a flat form (a list of the parts), or give its class a __reduce__ "
                "that returns one.",
            ),
        )
    text = text_of(error).rstrip(".") or type(error).__name__
    return Finding(
        node,
        Refusal(
            f"something that cannot be pickled ({type(error).__name__})",
            f"Pickling it raised {type(error).__name__}: {text}.",
            "Pass what it was made from, and make it inside the function.",
        ),
    )
