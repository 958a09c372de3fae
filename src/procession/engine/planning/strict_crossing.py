"""Making calls that run in this process cross pickling all the same: `procession_strict`."""

from __future__ import annotations

from typing import Any

from procession.pickling.pickler import dumps, loads
from procession.worker.job_header import Header, arguments_of, call_with

__all__ = ["across", "crossing", "set_crossing"]

_crossing = False


def crossing() -> bool:
    """Whether items that run here are pickled and unpickled as if they ran in a worker."""
    return _crossing


def set_crossing(on: bool) -> bool:
    """Switch it; returns what it was."""
    global _crossing
    before, _crossing = _crossing, on
    return before


def across(header: Header, index: int, value: Any) -> Any:
    """Run one item here on copies of its arguments, and return a copy of its result.

    Raises:
        NotPicklable: The result cannot cross; arguments were checked before.
    """
    settings = header.settings
    try:
        sent = dumps((header.prefix, value, header.args, header.kwargs), settings.pickling)
    except Exception as error:
        raise _refused(error, header, value) from None
    prefix, value, args, kwargs = loads(sent)
    copied = header._replace(prefix=prefix, args=args, kwargs=kwargs, common=None)
    result = call_with(copied, value)
    try:
        return loads(dumps(result, settings.pickling))
    except Exception as error:
        from procession.explaining.explain import explain

        raise explain(
            error,
            result,
            where="result",
            function=settings.name,
            root="result",
            pickling=settings.pickling,
        ) from None


def _refused(error: Exception, header: Header, value: Any) -> BaseException:
    from procession.explaining.explain import explain_call

    args, kwargs = arguments_of(header, value)
    return explain_call(
        error,
        args,
        kwargs,
        target=header.function,
        function=header.settings.name,
        pickling=header.settings.pickling,
    )
