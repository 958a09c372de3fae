"""Says what was pickled but could not be rebuilt where it arrived, and where it sits.

The receiver finds the place, in the pickle. The pickle is loaded once more by the unpickler that is
written in Python, with something that stands in for each object that fails; the search then finds
the first of these in the whole. The sender, who has the object, finds its class.
"""

from __future__ import annotations

import io
import pickle
import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from procession.errors import NotPicklable, Where
from procession.explaining.paths import path_of
from procession.explaining.search import Search
from procession.pickling.columns import pickle_of
from procession.pickling.objects import class_of, is_a, text_of, type_name
from procession.pickling.refusals import framework_mend
from procession.system import cpython
from procession.system.interrupts import strikes

_WIDTH = 96


def explain_unloadable(
    error: BaseException,
    *,
    where: Where,
    function: str,
    root: str,
    blob: Any = b"",
    roots: Callable[[Any], list[tuple[str, Any]]] | None = None,
) -> NotPicklable:
    """Explain, where it arrived, why something that was pickled could not be rebuilt.

    A result is rebuilt in the caller, all else in the worker.

    Args:
        error: What unpickling raised.
        where: What was to be rebuilt.
        function: The name of the function it was for.
        root: What it is called, such as a parameter's name.
        blob: The pickle, to find the path in; or as in a column.
        roots: Takes what the pickle held apart into pairs of an expression and its value.

    Raises:
        MemoryError: It was unpickling's error: that arrives as itself.
    """
    if isinstance(error, MemoryError):
        raise error  # it says nothing of the object
    path, culprit = _place_in(blob, roots or (lambda whole: [(root, whole)]))
    culprit = culprit or _rebuilt(error)
    text = type(error).__name__ + (f": {said}" if (said := text_of(error)) else "")
    place = "here" if where == "result" else "in the worker"
    reason = f"Rebuilding it {place} raised {text.rstrip('.')}."
    call = function if function.endswith(")") else f"{function}()"
    what = {"function": "it", "result": "its result", "exception": "its exception"}.get(
        where, "its argument" if root == where else f"its argument {root!r}"
    )
    if isinstance(error, ImportError):
        mend = f"Make that module importable {place} (is its folder on sys.path?)."
    else:
        owner = culprit.rpartition(".")[2] or "the class"
        mend = framework_mend(error) or (
            f"Correct __reduce__ or __setstate__ of {owner}, so that copy.copy() of it works."
        )
    lines = [
        f"{call} could not be run: {what} was pickled, but could not be rebuilt {place}"
        if where != "result"
        else f"the result of {call} was pickled, but could not be rebuilt here",
        f"  {path or root}  →  {culprit}" if culprit else f"  {path or root}",
        *textwrap.wrap(f"{reason} {mend}", _WIDTH, break_long_words=False),
    ]
    message = "\n".join(lines)
    return NotPicklable(message, where=where, path=path or root, culprit=culprit, reason=reason)


def _place_in(blob: Any, roots: Callable[[Any], list[tuple[str, Any]]]) -> tuple[str, str]:
    """Where in a pickle the object is that cannot be rebuilt, and what was to be made."""
    if not blob:
        return "", ""
    try:
        rebuilder = _Rebuilder(pickle_of(blob))
        whole, culprit = rebuilder.load(), rebuilder.culprit
        if culprit is not None:
            for node in Search(strict=False).reach(roots(whole)):
                if node.obj is culprit:
                    return path_of(node.trail())[0], rebuilder.name
    except BaseException as error:
        if strikes(error):
            raise
        return "", ""  # what fails once may fail otherwise the second time
    return "", rebuilder.name


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
    match = re.match(r"([\w.<>]+)\.__\w+__\(\)", text_of(error))
    return match[1] if match else ""


def locate(error: NotPicklable, roots: Iterable[tuple[str, Any]]) -> NotPicklable:
    """Add the path to a worker's error of `explain_unloadable`, where the object still is."""
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


# -- loading what cannot be loaded -------------------------------------------------------------

_InPython: Any = cpython.python_unpickler()


class _StandIn:
    """Stands for an object that could not be made."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __call__(self, *args: Any) -> _StandIn:
        """Make another, where a class or a function was asked for."""
        return _StandIn(*args)


class _Rebuilder(_InPython):  # type: ignore[misc]
    """Loads a pickle that cannot be loaded: goes on after failures, and notes the first.

    Attributes:
        culprit: The first object that cannot be rebuilt, or something that stands for it.
        name: Its class's name, or that of the function that was to make it.
    """

    dispatch: dict[int, Callable[[Any], None]] = dict(_InPython.dispatch)

    def __init__(self, blob: bytes) -> None:
        _InPython.__init__(self, io.BytesIO(blob))
        self.culprit: Any = None
        self.name = ""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _InPython.find_class(self, module, name)
        except BaseException as error:
            if strikes(error):
                raise
            stand_in = _StandIn()
            self.blame(stand_in, f"{module}.{name}")
            return stand_in

    def blame(self, culprit: Any, name: str) -> None:
        """Note the first failure."""
        if self.culprit is None:
            self.culprit, self.name = culprit, name

    def make(self, maker: Any, parts: tuple[Any, ...], call: Callable[[], Any]) -> None:
        """Make an object, or something that stands for it."""
        try:
            made = call()
        except BaseException as error:
            if strikes(error):
                raise
            made = _StandIn(maker, *parts)
            if not any(is_a(part, _StandIn) for part in made.parts):
                self.blame(made, _name_of(maker))
        if maker is self.culprit:
            self.culprit = made  # a class that is missing here: blame its object
        self.stack.append(made)

    def load_reduce(self) -> None:
        """``make(*args)``."""
        args, maker = self.stack.pop(), self.stack.pop()
        self.make(maker, args, lambda: maker(*args))

    def load_newobj(self) -> None:
        """``cls.__new__(cls, *args)``."""
        args, cls = self.stack.pop(), self.stack.pop()
        self.make(cls, args, lambda: cls.__new__(cls, *args))

    def load_newobj_ex(self) -> None:
        """``cls.__new__(cls, *args, **kwargs)``."""
        kwargs, args, cls = self.stack.pop(), self.stack.pop(), self.stack.pop()
        parts = (*args, *kwargs.values())
        self.make(cls, parts, lambda: cls.__new__(cls, *args, **kwargs))

    def load_next_buffer(self) -> None:
        """A buffer that left the pickle; it may be gone by now."""
        self.stack.append(_StandIn())

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.NEXT_BUFFER[0]] = load_next_buffer


def _filling(usual: Callable[[Any], None]) -> Callable[[Any], None]:
    """An instruction that changes the object below it: its state, its items."""

    def load(self: Any) -> None:
        try:
            usual(self)
        except BaseException as error:
            if strikes(error):
                raise
            obj = self.stack[-1]
            self.blame(obj, type_name(class_of(obj)))

    return load


for _code in (pickle.BUILD, pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS):
    _Rebuilder.dispatch[_code[0]] = _filling(_Rebuilder.dispatch[_code[0]])
_Rebuilder.dispatch[pickle.ADDITEMS[0]] = _filling(_Rebuilder.dispatch[pickle.ADDITEMS[0]])


def _name_of(maker: Any) -> str:
    if is_a(maker, type):
        return type_name(maker)
    return f"{getattr(maker, '__module__', '')}.{getattr(maker, '__qualname__', '')}".strip(".")
