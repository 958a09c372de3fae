"""What a new process reads at its start, written so that one which has died holds no one up.

The standard library's and loky's launchers write it to a pipe while they still hold the end that
the child reads. A pipe takes 64 KiB. If the child died before it had read the rest, the write would
wait for ever. Here that end is given up first, and the write ends with the child. The child's
sentinel then tells how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

from procession.hints import Any, Self
from procession.process.start.start_methods import without_signals
from procession.system.posix import os, signal
from procession.system.pristine import close_descriptor


class Content:
    """Writes to a pipe, as far as there is someone who reads.

    Args:
        number: The pipe's descriptor.
        closes: Whether to close it at the end.
    """

    def __init__(self, number: int, *, closes: bool = True) -> None:
        self._number = number
        self._closes = closes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._closes:
            close_descriptor(self._number)

    def write(self, data: Any) -> None:
        """Write all, or what is read."""
        left = memoryview(data)
        with without_signals(signal.SIGPIPE):
            try:
                while left:
                    left = left[os.write(self._number, left) :]
            except BrokenPipeError:
                pass  # it has ended


class _Pipes:
    """Stands in for `os` in one run of a launcher, which makes the child's pipes by it."""

    def __init__(self) -> None:
        self._reading_end: dict[int, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pipe(self) -> tuple[int, int]:
        """Make a pipe."""
        reads, writes = os.pipe()
        self._reading_end[writes] = reads
        return reads, writes

    def fdopen(self, number: int, mode: str) -> Content:
        """As `open`."""
        return self.open(number, mode)

    def open(self, number: int, mode: str, closefd: bool = True) -> Content:
        """Open what the child reads from; it has the other end by now."""
        # Ours of that is not closed: its launcher does it later, and the number is not to be
        # another's then. From here on it stands for the other end. (There may be no /dev/null.)
        os.dup2(number, self._reading_end[number], inheritable=False)
        return Content(number, closes=closefd)


def launching(popen: Any, begin: Callable[[], None] | None = None, **names: Any) -> Any:
    """The same ``Popen``, which writes to the child by what is here.

    Args:
        popen: The class. Its ``_launch`` is run as it is, but sees other things by some names.
        begin: Called before each launch; may refuse it.
        names: What else it is to see instead of its module's own.
    """
    theirs = popen._launch

    def _launch(self: Any, process_obj: Any) -> None:
        if begin is not None:
            begin()
        pipes = _Pipes()
        seen = {**theirs.__globals__, "os": pipes, "open": pipes.open, **names}
        FunctionType(theirs.__code__, seen, "_launch")(self, process_obj)

    # loky's executes the module that the class is of.
    return type("Popen", (popen,), {"_launch": _launch, "__module__": popen.__module__})
