"""What a worker answers when arguments cannot be rebuilt in it, or a result cannot be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procession.errors import NotPicklable
from procession.explaining.explain import explain, parameters
from procession.explaining.unloadable import explain_unloadable
from procession.pickling.pickler import Pickling

if TYPE_CHECKING:
    from procession.worker.runner import Header, Settings

__all__ = [
    "arguments_of",
    "refused_result",
    "unloadable",
    "unloadable_shared",
    "warn_changed",
]


def arguments_of(header: Header, value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """All arguments that the function is called with for one item."""
    if header.settings.style == "call":
        args, kwargs = value
        return (*header.prefix, *args), kwargs
    own = tuple(value) if header.settings.style == "star" else (value,)
    return (*header.prefix, *own, *header.args), header.kwargs


def unloadable(error: BaseException, job: Header, blob: bytes) -> NotPicklable:
    """Why an item's arguments could not be rebuilt here."""
    return explain_unloadable(
        error,
        where="argument",
        function=job.settings.name,
        root="argument",
        blob=blob,
        roots=lambda value: parameters(job.function, *arguments_of(job, value)),
    )


def unloadable_shared(
    error: BaseException, function: Any, shared: bytes, settings: Settings
) -> NotPicklable:
    """Why the arguments that go to every item could not be rebuilt here."""

    def roots(whole: Any) -> list[tuple[str, Any]]:
        prefix, args, kwargs = whole
        item = (None,) if settings.style == "value" else ()
        return parameters(function, (*prefix, *item, *args), kwargs)

    return explain_unloadable(
        error,
        where="argument",
        function=settings.name,
        root="argument",
        blob=shared,
        roots=roots,
    )


def refused_result(
    error: BaseException, result: Any, function: str, pickling: Pickling
) -> NotPicklable:
    """Why a result could not be pickled."""
    return explain(
        error, result, where="result", function=function, root="result", pickling=pickling
    )


def warn_changed(function: Any, name: str, place: int | str, item: int | None) -> None:
    """Warn of a large argument that goes to every item, and that an item has changed.

    Args:
        function: What was called.
        name: Its name, for the message.
        place: Which argument: its place among those that go to every item, or its name.
        item: The place of the item among the arguments, if it has one.
    """
    import warnings

    from procession.errors import ParallelWarning

    if isinstance(place, int):
        if item is not None and place >= item:
            place += 1
        place = parameters(function, (None,) * (place + 1), {})[place][0]
    code = getattr(function, "__code__", None)
    warnings.warn_explicit(
        f"{name}() changes its argument {place!r}, which goes to every item. Each item is to see "
        "it as it was sent, so it is loaded anew for each from now on, which takes time for one "
        f"so large. Change a copy; or pass procession.shared.put({place}), which is loaded once "
        "and keeps what items do to it, or procession.shared.array for memory that all write to.",
        ParallelWarning,
        getattr(code, "co_filename", "<unknown>"),
        getattr(code, "co_firstlineno", 1),
        getattr(function, "__module__", None) or "<unknown>",
    )
