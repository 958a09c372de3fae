"""Exceptions without their constructors: taken apart, and made again, by their builtin base.

An exception class may ask for any arguments, while ``BaseException`` remembers only ``args``. So
pickle's own way, calling the class with its ``args``, fails for half of them, or gives another
text. What is written in C is made by the C constructor; the rest is put back attribute by
attribute.
"""

from __future__ import annotations

from typing import Any

from procession.pickling.objects import is_a

__all__ = ["apart", "has_own_reduce", "make_bare", "put_back", "reduce_exception"]

_OWN = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs_ex__")


def has_own_reduce(cls: type) -> bool:
    """Whether an exception class says itself how it is pickled."""
    for base in cls.__mro__:
        if base.__module__ == "builtins":
            return False
        if any(name in base.__dict__ for name in _OWN):
            return True
    return False


def builtin_base(cls: type) -> Any:
    """The first base that is written in C: it keeps state that has no name."""
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")


def apart(exc: BaseException) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the builtin base is made from again, and the attributes to put back."""
    reduced = builtin_base(type(exc)).__reduce__(exc)
    args: Any = reduced[1]
    state: dict[str, Any] = dict(exc.__dict__)
    if len(reduced) > 2 and isinstance(reduced[2], dict):
        state.update(reduced[2])  # such as ImportError.name, which are in no __dict__
    if isinstance(exc, AttributeError | NameError) and exc.name is not None:
        state["name"] = exc.name  # 3.11 forgets it
    for cls in type(exc).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(exc, name):
                state[name] = getattr(exc, name)
    if is_a(exc, BaseExceptionGroup):
        group: Any = exc
        return (group.message, list(group.exceptions)), state
    if exc.args != args:
        state["args"] = exc.args
    return args, state


def make_bare(cls: type[BaseException], args: Any) -> BaseException:
    """An exception of `cls`, without calling any code of its own."""
    base = builtin_base(cls)
    exc: BaseException = base.__new__(cls, *args)
    base.__init__(exc, *args)
    return exc


def put_back(exc: BaseException, state: dict[str, Any]) -> None:
    """Put attributes back, on frozen dataclasses too."""
    for name, value in state.items():
        try:
            object.__setattr__(exc, name, value)
        except AttributeError:
            exc.__dict__[name] = value  # a property of that name, over the instance's own value


def reduce_exception(exc: BaseException) -> Any:
    """Reducer of exceptions that are sent as values: no traceback, no cause."""
    args, state = apart(exc)
    return make_bare, (type(exc), args), state, None, None, put_back
