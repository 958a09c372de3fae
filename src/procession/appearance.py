"""How a decorated function looks to other code: its attributes, `dir` and `repr`."""

from __future__ import annotations

import functools
from typing import Any

from procession.configuration import Options
from procession.configuration.choices import short

__all__ = ["Annotations", "Appearance", "name_of", "shown"]

_VERBS = (
    *("aimap", "imap", "imap_unordered", "local", "map", "map_async", "options", "outcomes"),
    *("starmap", "submit", "with_options"),
)


class Annotations:
    """The function's own annotations.

    It stands in each class itself: Python puts an empty dict there when a class is asked for its
    annotations, and that would hide what a base has.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> dict[str, Any]:
        if instance is None:
            return {}
        annotations: dict[str, Any] = instance.__wrapped__.__annotations__
        return annotations

    def __set__(self, instance: Any, annotations: dict[str, Any]) -> None:
        instance.__wrapped__.__annotations__ = annotations


class Appearance:
    """What tools look at, the same for a decorated function and for one that is bound."""

    __wrapped__: Any

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The function's own: `functools.wraps` copies it, and is to find nothing of ours there."""
        attributes: dict[str, Any] = self.__wrapped__.__dict__
        return attributes

    def __dir__(self) -> list[str]:
        return sorted({*dir(self.__wrapped__), *_VERBS})

    def __str__(self) -> str:
        return repr(self)


def shown(function: Any, bound: object = None) -> str:
    """The repr of a decorated function: its decorator, the options it was given, its name.

    Args:
        function: The decorated function.
        bound: The object, or class, that it is bound to.
    """
    options = ", ".join(f"{name}={short(value)}" for name, value in _given(function).items())
    brackets = f"({options})" if options else ""
    wrapped: Any = function.__wrapped__
    what, owner = "function", ""
    if isinstance(wrapped, classmethod):
        what = "classmethod"
    elif isinstance(wrapped, staticmethod):
        what = "staticmethod"
    elif bound is not None:
        what, owner = "method", f" of {bound!r}"
    return f"<{function._self_style}{brackets} {what} {name_of(wrapped)}{owner}>"


def _given(function: Any) -> dict[str, Any]:
    """The options that were given, without those that are the default anyway."""
    defaults, given = Options(workers=0), function._set_options().items()
    return {name: value for name, value in given if value != getattr(defaults, name)}


def name_of(function: Any) -> str:
    """A name for a function or another callable."""
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__qualname__", None) or type(function).__name__
    return name
