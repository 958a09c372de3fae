"""Calls that cannot mean what they say, and what to write instead."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from procession.engine.job import Call

__all__ = ["check_items", "first_argument"]


def first_argument(
    call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The first argument, by position or by name, and the others."""
    if args:
        return args[0], args[1:], kwargs
    import inspect

    names = list(inspect.signature(call.function).parameters)[len(call.prefix) :]
    if names and names[0] in kwargs:
        rest = dict(kwargs)
        return rest.pop(names[0]), (), rest
    raise TypeError(
        f"{call.name}() needs its first argument, the items to run on: write {call.name}(items)."
    )


def check_items(items: object, args: tuple[Any, ...], name: str, verb: str) -> None:
    """Refuse what cannot be mapped over; warn of arguments that look like a second input."""
    kind = type(items)
    if not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__"):
        shown = f"{name}(items)" if verb == "plain call" else f"{name}.{verb}(items)"
        raise TypeError(
            f"{shown} runs {name}() on every item of an iterable, and was given "
            f"{type(items).__name__}. Write [{items!r:.40}] to run it on one item, or "
            f"{name}.local(...) to call it here."
        )
    if args and (length := _length(items)) > 1:
        for extra in args:
            if _length(extra) == length:
                from procession._warn import warn_user

                warn_user(
                    f"{name}.{verb}(xs, ys): ys goes whole to every item, it is not zipped with "
                    f"xs as Executor.map would. For pairs write {name}.starmap(zip(xs, ys)); if "
                    f"it is meant, pass it by keyword."
                )
                return


def _length(value: object) -> int:
    """How long a list, tuple or range is; 0 for anything else."""
    return len(cast("Sized", value)) if isinstance(value, (list, tuple, range)) else 0
