"""Sub-interpreters, which may not fork, nor start a thread that outlives them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from procession.errors import BackendUnavailable

__all__ = ["must_be_main_interpreter"]


def must_be_main_interpreter() -> None:
    """See to it that processes can be started from here.

    Raises:
        BackendUnavailable: This is a sub-interpreter.
    """
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            module: Any = import_module(name)
        except ImportError:
            continue
        if module.get_current() != module.get_main():
            raise BackendUnavailable(
                "A sub-interpreter cannot start processes. Make the call in the main interpreter, "
                "or write backend='thread' or backend='serial'."
            )
        return
