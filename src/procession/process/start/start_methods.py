"""Start methods, and how a new process gets descriptors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from procession.errors import OptionError
from procession.hints import Any
from procession.system import cpython_processes
from procession.system.limits import is_python, must_execute, must_fit
from procession.system.posix import signal

METHODS = ("fork", "spawn", "forkserver", "loky")


def default_method() -> str:
    """The platform's safest fast start method: never fork, as this process may have threads.

    But fork where no interpreter can be executed (see `procession.system.limits`).
    """
    if not is_python() and hasattr(os, "fork"):
        return "fork"
    return "forkserver" if sys.platform.startswith("linux") else "spawn"


def method_of(context: Any) -> str:
    """The start method that a context, or its name, stands for.

    Raises:
        OptionError: It is none of those that workers can be started with, or not here.
    """
    if context is None:
        return default_method()
    name = context if isinstance(context, str) else None
    if name is None:
        get = getattr(context, "get_start_method", None)
        name = get() if get is not None else None
    if name == "loky_init_main":
        name = "loky"
    if name not in METHODS:
        raise OptionError(
            f"context={context!r} is no way to start a worker. Write one of "
            f"{', '.join(map(repr, METHODS))}, or pass a multiprocessing context object."
        )
    if name != "fork":
        must_execute(name)
    return name


def ensure_tracker() -> None:
    """Have the standard library's resource tracker run. Not with signals blocked: it unblocks them.

    Raises:
        OSError: It cannot be executed, which it does not say itself.
    """
    from multiprocessing import resource_tracker

    if not cpython_processes.has_tracker():
        must_fit()
    with without_signals(signal.SIGPIPE):  # it may have died
        resource_tracker.ensure_running()


def prepare(context: Any, *, by_value: bool = True) -> None:
    """A process will soon be started: begin with the helper processes that this takes.

    The fork server, or else the resource tracker, boots while this process still loads and packs
    what the first call needs.

    Args:
        context: Start method or context object.
        by_value: Whether items will come by cloudpickle.

    Raises:
        OptionError: As in `method_of`.
    """
    method = method_of(context)
    try:
        if method == "forkserver":
            from procession.process.start import fork_server as server

            clean = context is not None
            quietly(server.current(clean=clean, by_value=by_value).ensure_running)
        elif method == "spawn":
            ensure_tracker()
    except Exception:
        pass  # `launch` tries again, and says what is wrong


inherited: list[int] = []
"""In a process that our fork server has forked: the descriptors that it was handed."""


inherits = False
"""Whether a server that is a copy of the program has forked this process: it has its settings."""


class Inherited:
    """Stands for a descriptor in what is sent to a process by our fork server.

    Args:
        place: Its place among those that are sent along.
    """

    def __init__(self, place: int) -> None:
        self._place = place

    def detach(self) -> int:
        """Its number in that process."""
        return inherited[self._place]


class Descriptors:
    """Descriptors that a child inherits, by any start method.

    In the child `take` gives them, under the numbers they have there.
    """

    def __init__(self, numbers: Sequence[Any]) -> None:
        self._numbers = numbers

    def take(self) -> list[int]:
        """Their numbers in this process. They are not inherited by what it executes."""
        taken = [n if isinstance(n, int) else n.detach() for n in self._numbers]
        for number in taken:
            os.set_inheritable(number, False)
        return taken

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.context import get_spawning_popen

        popen: Any = get_spawning_popen()
        if popen is None:
            raise TypeError("descriptors can only be handed to a process that is being started")
        return Descriptors, ([popen.DupFd(popen.duplicate_for_child(n)) for n in self._numbers],)


def quietly(start: Callable[[], Any]) -> Any:
    """Start with SIGINT blocked, so that Ctrl-C cannot strike a child that is not set up yet.

    The child inherits the mask; it ignores SIGINT before it lifts it. And with SIGPIPE blocked, by
    which a fork server that dies amid a request would end a program that has given it back its
    meaning: the error is enough.
    """
    with without_signals(signal.SIGINT, signal.SIGPIPE):
        return start()


@contextmanager
def without_signals(*numbers: int) -> Generator[None, None, None]:
    """Inside, these do not strike this thread, and SIGPIPE not afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        if signal.SIGPIPE not in before and signal.SIGPIPE in signal.sigpending():
            signal.sigwait({signal.SIGPIPE})
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
