"""Finds which object of a pickle cannot be rebuilt, after `loads` has failed.

The pickle is loaded once more by the unpickler that is written in Python, with something that
stands in for each object that fails. The search behind `procession.explaining.explain` then finds
the first of these in the whole.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

from procession.pickling.objects import class_of, is_a, type_name
from procession.system import cpython

__all__ = ["StandIn", "rebuild"]

_InPython: Any = cpython.python_unpickler()


class StandIn:
    """Stands for an object that could not be made."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __call__(self, *args: Any) -> StandIn:
        """Make another, where a class or a function was asked for."""
        return StandIn(*args)


def rebuild(blob: bytes) -> tuple[Any, Any, str]:
    """Load a pickle that cannot be loaded.

    Returns:
        What could be rebuilt; the first object in it that could not, or something that stands for
        it; and its class's name, or that of the function that was to make it.

    Raises:
        Exception: Not even this can read the pickle.
    """
    rebuilder = _Rebuilder(blob)
    whole = rebuilder.load()
    return whole, rebuilder.culprit, rebuilder.name


class _Rebuilder(_InPython):  # type: ignore[misc]
    """Goes on after failures, and notes the first."""

    dispatch: dict[int, Callable[[Any], None]] = dict(_InPython.dispatch)

    def __init__(self, blob: bytes) -> None:
        _InPython.__init__(self, io.BytesIO(blob))
        self.culprit: Any = None
        self.name = ""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _InPython.find_class(self, module, name)
        except Exception:
            stand_in = StandIn()
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
        except KeyboardInterrupt:
            raise
        except BaseException:
            made = StandIn(maker, *parts)
            if not any(is_a(part, StandIn) for part in made.parts):
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
        self.stack.append(StandIn())

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.NEXT_BUFFER[0]] = load_next_buffer


def _filling(usual: Callable[[Any], None]) -> Callable[[Any], None]:
    """An instruction that changes the object below it: its state, its items."""

    def load(self: Any) -> None:
        try:
            usual(self)
        except KeyboardInterrupt:
            raise
        except BaseException:
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
