"""`procession_strict`: items that run in this process work on copies, as they would in a worker."""

from __future__ import annotations

from procession.hints import Any
from procession.pickling.pickler import dumps, loads
from procession.worker.job_header import Header, arguments_of, call_with

_on = False


def strict() -> bool:
    """Whether items that run here are pickled and unpickled as if they ran in a worker."""
    return _on


def set_strict(on: bool) -> bool:
    """Switch it; returns what it was."""
    global _on
    before, _on = _on, on
    return before


def call_on_copies(header: Header, value: Any) -> Any:
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
    copied = header._replace(prefix=prefix, args=args, kwargs=kwargs, copies=None)
    result = call_with(copied, value)
    try:
        return loads(dumps(result, settings.pickling))
    except Exception as error:
        from procession.worker.failures import refused_result

        raise refused_result(error, result, settings.name, settings.pickling) from None


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
