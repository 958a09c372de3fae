"""What cannot be decorated, and what to write instead.

Checked when a function is decorated; the order of ``@classmethod`` and ours only when the function
is first used, because only then is there a class that shows it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from types import FunctionType

from procession.configuration.choices import short
from procession.hints import Any, Literal
from procession.pickling.objects import is_a
from procession.pickling.references import is_decorated

Kind = Literal["function", "coroutine", "generator", "async generator"]

# From `inspect`, which costs more to import than all of this module.
_GENERATOR = 0x20
_COROUTINE = 0x80
_ITERABLE_COROUTINE = 0x100
_ASYNC_GENERATOR = 0x200

_CONTEXTS = ("fork", "spawn", "forkserver")


def check(function: Any, style: str) -> None:
    """Refuse what ``@style`` cannot decorate.

    Args:
        function: What is to be decorated; classmethods and staticmethods are looked into.
        style: The decorator's name.

    Raises:
        TypeError: It cannot be decorated; the message says what to write instead.
    """
    inner = unwrapped(function)
    if is_decorated(inner):
        raise TypeError(_twice(function, inner, style))
    if is_a(inner, type):
        raise TypeError(
            f"@{style} is on the class {inner.__qualname__}, and it takes functions. Decorate the "
            f"method that does the work, or a function that makes the object:\n"
            f"    @{style}\n"
            f"    def make(*args):\n"
            f"        return {inner.__qualname__}(*args)"
        )
    if isinstance(inner, property):
        raise TypeError(
            f"@{style} is above @property, and a property takes no arguments to run with. "
            f"Decorate a method, and call that in the property."
        )
    if not callable(inner):
        raise positional_options(style, (inner,))
    what = kind(inner)
    if what == "async generator" or (style != "isolated" and what != "function"):
        raise TypeError(_not_a_plain_function(inner, what, style))


def kind(function: Any) -> Kind:
    """Tell what calling the function gives: its value, or something that must be driven.

    Looks through `functools.partial`, bound methods and callable objects, but not through
    ``__wrapped__``: what stands outermost decides.
    """
    function = _code_holder(unwrapped(function))
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if flags & _ASYNC_GENERATOR:
        return "async generator"
    if flags & (_COROUTINE | _ITERABLE_COROUTINE):
        return "coroutine"
    return "generator" if flags & _GENERATOR else "function"


def _wrapper_name(obj: object) -> str:
    """Give "classmethod" or "staticmethod" for such an object, else nothing."""
    if isinstance(obj, classmethod):
        return "classmethod"
    return "staticmethod" if isinstance(obj, staticmethod) else ""


def unwrapped(function: Any) -> Any:
    """Give the function in a classmethod or staticmethod object."""
    return function.__func__ if _wrapper_name(function) else function


def _code_holder(function: Any) -> Any:
    """Give the function whose code runs when this callable is called."""
    for _ in range(20):  # a partial of a partial of a method …; never a cycle
        if hasattr(function, "__code__"):
            return function
        if hasattr(function, "func") and hasattr(function, "keywords"):
            function = function.func
        elif hasattr(function, "__func__"):
            function = function.__func__
        else:
            called = type(function).__dict__.get("__call__")
            return called if hasattr(called, "__code__") else function
    return function


def positional_options(style: str, values: tuple[Any, ...]) -> TypeError:
    """Say that the decorator takes its options by name, and which these may be."""
    given = ", ".join(short(value) for value in values)
    if len(values) > 1 and callable(values[0]):
        return TypeError(
            f"{style}({given}) has more than the function. It decorates one function, and takes "
            f"options by name; to call the function, decorate it first: {style}(function)(…)."
        )
    hints = [hint for value in values if (hint := _option_for(value))]
    wanted = f"@{style}({', '.join(hints)})" if len(hints) == len(values) else ""
    mend = f"Write {wanted}." if wanted else f"Write @{style}, or @{style}(workers=4)."
    return TypeError(f"{style}({given}) is given no function, and takes options by name. {mend}")


def _option_for(value: Any) -> str:
    """Guess which option a positional value was meant for."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return f"workers={value}"
    if isinstance(value, float):
        return f"timeout={value}"
    if isinstance(value, str):
        return f"context={value!r}" if value in _CONTEXTS else f"backend={value!r}"
    options: object = value
    return f"**{short(options)}" if isinstance(value, Mapping) else ""


def _twice(outer: Any, inner: Any, style: str) -> str:
    name = _name(inner)
    if inner is not outer:
        below = _wrapper_name(outer)
        return (
            f"{name}() is decorated below @{below} and again above it, by @{style}. "
            f"Keep the decorator above @{below}, and take the other away."
        )
    return (
        f"{name}() is decorated already, and now by @{style} too. Keep one decorator: each gives "
        f"all the verbs (map, submit, …). For other options write {name}.with_options(…), for "
        f"another plain call {style}({name}.__wrapped__)."
    )


def _not_a_plain_function(function: Any, what: Kind, style: str) -> str:
    name = _name(_code_holder(function))
    if what == "coroutine":
        call = f"{name}(…)" if style == "background" else f"{name}.submit(…)"
        return (
            f"{name}() is an `async def` function, and @{style} runs ordinary ones: a coroutine "
            f"cannot be sent to a worker. Write `def {name}` (with asyncio.run inside, if it must "
            f"await), and `await {call}` where you call it; or write @isolated, which takes "
            f"`async def` and gives an awaitable."
        )
    if what == "generator":
        return (
            f"{name}() is a generator function, and @{style} runs functions that return: a "
            f"generator cannot be sent back from a worker. Return a list instead of yielding; or "
            f"write @isolated, which takes generator functions and streams their values."
        )
    return (
        f"{name}() is an async generator function, and no decorator takes those. Write it as a "
        f"generator (`def` with `yield`) under @isolated, which streams its values; or as a `def` "
        f"that returns a list."
    )


def check_order(function: Any, style: str) -> None:
    """Refuse a decorated function that ``@classmethod`` or ``@staticmethod`` stands above.

    Nothing tells a function that it was wrapped, so this looks for the wrapper where the name
    says that it is, or else (a class made inside a function) among what refers to it.

    Args:
        function: The decorated object.
        style: Its decorator's name.

    Raises:
        TypeError: The decorators are in the wrong order.
    """
    if not isinstance(function.__wrapped__, FunctionType):
        return  # the right order, or nothing that a class statement made
    parent, _, _ = function.__qualname__.rpartition(".")
    if not parent or parent.endswith("<locals>"):
        return  # not in a class
    above = _wrapper_above(function, parent)
    if not above:
        return
    first = "cls, …" if above == "classmethod" else "…"
    raise TypeError(
        f"{_name(function)}() has @{above} above @{style}, so @{style} cannot see which class it "
        f"is called on. Write @{style} above @{above}:\n"
        f"    @{style}\n"
        f"    @{above}\n"
        f"    def {function.__name__}({first})"
    )


def _wrapper_above(function: Any, parent: str) -> str:
    """Tell what stands above the decorated function: "classmethod", "staticmethod" or nothing."""
    candidates: list[Any]
    if "<locals>" in parent:
        candidates = gc.get_referrers(function)
    else:
        place: Any = sys.modules.get(function.__module__)
        for part in parent.split("."):
            place = getattr(place, "__dict__", {}).get(part)
        candidates = [getattr(place, "__dict__", {}).get(function.__name__)]
    for candidate in candidates:
        if _wrapper_name(candidate) and candidate.__func__ is function:
            return _wrapper_name(candidate)
    return ""


def _name(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).rpartition("<locals>.")[2]
