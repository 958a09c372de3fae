"""Start contexts for executors that are not ours: the standard library's, but for ``__main__``."""

from __future__ import annotations

import multiprocessing
from typing import Any

from procession.process.start.starting import authkey, launcher
from procession.system import cpython

__all__ = ["without_main"]


def without_main(context: Any) -> Any:
    """A context whose processes do not import the caller's ``__main__``, so no guard is needed.

    Args:
        context: The name of a start method, or a context object.
    """
    if isinstance(context, str):
        context = multiprocessing.get_context(context)
    if context.get_start_method() not in _POPENS:
        return context
    return _Context(context)


class _Context:
    """A context that makes its processes start by our launcher; all else is the real one's."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_context(self, method: str | None = None) -> Any:
        return self if method is None else self._real.get_context(method)

    def Process(self, *args: Any, **kwargs: Any) -> Any:
        process = self._real.Process(*args, **kwargs)
        cpython.set_process_key(process, authkey())
        # An instance attribute travels with the process object, so it must be importable.
        cpython.set_launcher(process, _POPENS[self._real.get_start_method()])
        return process


def _spawn(process: Any) -> Any:
    return launcher("spawn")(process)


def _forkserver(process: Any) -> Any:
    return launcher("forkserver")(process)


_POPENS = {"spawn": _spawn, "forkserver": _forkserver}
