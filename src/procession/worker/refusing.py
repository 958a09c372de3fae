"""What a worker answers when arguments cannot be rebuilt in it, or a result cannot be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procession.errors import NotPicklable
from procession.wire.explain import explain, parameters
from procession.wire.pickling import Pickling
from procession.wire.unloadable import explain_unloadable

if TYPE_CHECKING:
    from procession.worker.run import Header, Settings

__all__ = ["arguments_of", "refused_result", "unloadable", "unloadable_shared"]


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
