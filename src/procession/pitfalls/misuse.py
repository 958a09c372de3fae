"""Calls that cannot mean what they say, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from types import FunctionType, MethodType

from procession.hints import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from procession.engine.call import Call

_TAKES_ANY = 0x08  # inspect.CO_VARKEYWORDS: inspect is slow to import


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


def check_call(call: Call, items: object, verb: str) -> None:
    """Refuse what cannot be mapped over, and options given as arguments.

    Arguments that look like a second input are warned of.

    Args:
        call: What is called.
        items: What it is to be mapped over.
        verb: The verb; nothing for a plain call.
    """
    kind = type(items)
    written = f"{call.name}.{verb}" if verb else call.name
    if not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__"):
        instead = f"Write [{items!r:.40}] to run it on one item"
        if hasattr(kind, "__aiter__"):
            instead = "Write [item async for item in items] for what comes asynchronously"
        elif isinstance(items, (FunctionType, MethodType, type)):
            instead = f"Call it: write {written}({items.__name__}(...)) for what it gives"
        raise TypeError(
            f"{written}(items) runs {call.name}() on every item of an iterable, and was given "
            f"{kind.__name__}. {instead}, or {call.name}.local(...) to call it here."
        )
    if call.kwargs:
        wrong = wrong_keyword(call, call.kwargs, verb, "items")
        if wrong is not None:
            raise wrong
    if call.args and (length := _length(items)) > 1:
        for extra in call.args:
            if _length(extra) == length:
                from procession.errors import warn_user

                warn_user(
                    f"{written}(xs, ys): ys goes whole to every item, it is not zipped with "
                    f"xs as Executor.map would. For pairs write {call.name}.starmap(zip(xs, ys)); "
                    f"if it is meant, pass it by keyword."
                )
                return


def _length(value: object) -> int:
    """How long a list, tuple or range is; 0 for anything else."""
    return len(cast("Sized", value)) if isinstance(value, (list, tuple, range)) else 0


def wrong_keyword(
    call: Call, kwargs: Mapping[str, Any], verb: str, shown: str = "..."
) -> TypeError | None:
    """What to say of an option, ours or another library's, that was given as an argument.

    Args:
        call: What is called.
        kwargs: The keyword arguments of the call.
        verb: The verb; nothing for a plain call.
        shown: The arguments that stand before them, for the message.

    Returns:
        The error, or `None` if the function takes them all, or those that it does not take are
        no options either.
    """
    from procession.configuration.choices import short
    from procession.configuration.validation import VERBS, as_option

    for name, value in kwargs.items():
        if _takes(call.function, name):
            continue
        mend = VERBS.get(name, "").replace(" f.", f" {call.name}.")
        option = "" if mend else as_option(name, value)
        if option:
            written = f".{verb}" if verb else ""
            mend = f"As an option, write {call.name}.with_options({option}){written}({shown})."
        if mend:
            written = f"{call.name}.{verb}" if verb else call.name
            return TypeError(
                f"{written}({shown}, {name}={short(value)}) gives {name} to {call.name}(), which "
                f"has no such parameter. {mend}"
            )
    return None


def _takes(function: Any, name: str) -> bool:
    """Whether a function takes this keyword; also if it does not say."""
    if type(function) is not FunctionType:
        if hasattr(function, "__wrapped__"):
            return True  # what is around it may take more than it says
        import inspect

        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return True
        return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    code = function.__code__
    end = code.co_argcount + code.co_kwonlyargcount
    names = code.co_varnames[code.co_posonlyargcount : end]
    return bool(code.co_flags & _TAKES_ANY) or name in names
