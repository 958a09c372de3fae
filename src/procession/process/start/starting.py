"""Starting a process through any `multiprocessing` context, without the parent's ``__main__``.

A context's own ``Process.start()`` imports the main module again in a spawned child, so a script
needs a name guard, and a REPL or a program read from stdin cannot be spawned at all. Here the
context's launcher runs as it is, but reads its data about the parent from `_Data`, which leaves the
main module out. Nothing in the standard library is patched.

The child is a proper process of its context: `multiprocessing.get_start_method` and
`current_process` tell the truth in it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from procession.errors import OptionError
from procession.system import cpython, owned_descriptors
from procession.system.limits import is_python, must_execute
from procession.system.pristine import fork

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

__all__ = ["METHODS", "Descriptors", "default_method", "launch", "method_of", "prepare"]

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


def prepare(context: Any) -> None:
    """A process will soon be started: begin with the helper processes that this takes.

    The fork server, or else the resource tracker, boots while this process still loads and packs
    what the first call needs.

    Raises:
        OptionError: As in `method_of`.
    """
    method = method_of(context)
    try:
        if method == "forkserver":
            from procession.process.forkserver import client as server

            _quietly(server.current().ensure_running)
        elif method == "spawn":
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()
    except Exception:
        pass  # `launch` tries again, and says what is wrong


class Descriptors:
    """Descriptors that a child inherits, whatever its start method.

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

        popen = get_spawning_popen()
        if popen is None:
            raise TypeError("descriptors can only be handed to a process that is being started")
        return Descriptors, ([popen.DupFd(popen.duplicate_for_child(n)) for n in self._numbers],)


def launch(
    context: Any, target: Callable[..., None], args: tuple[Any, ...], name: str, keep: Sequence[int]
) -> Any:
    """Start a process that runs ``target(*args)``; both must be importable and picklable.

    Args:
        context: Start method or context object.
        target: What the process runs.
        args: Its arguments; descriptors inside `Descriptors`.
        name: The process's name.
        keep: Descriptors in `args`, which a forked child does not close.

    Returns:
        The context's ``Popen`` object: it has ``pid``, ``sentinel``, ``poll()`` and ``close()``.
    """
    method = method_of(context)
    process = _process_class(context, method)(target=target, args=args, name=name)
    # Not a daemon, as this process may be one: a worker may have children of its own.
    cpython.set_process_key(process, authkey(), daemon=False)
    if method == "fork":
        with owned_descriptors.keeping(keep):
            return _quietly(partial(launcher(method), process))
    if method != "loky":
        from multiprocessing import resource_tracker

        # Before signals are blocked: this unblocks them.
        resource_tracker.ensure_running()
    return _quietly(partial(launcher(method), process))


def authkey() -> bytes:
    """This process's key, of the class that can be given to a child; billiard has put its own."""
    from multiprocessing import process

    key = bytes(process.current_process().authkey)
    return process.AuthenticationString(key)  # type: ignore[attr-defined,no-any-return]


def _quietly(start: Callable[[], Any]) -> Any:
    """Start with SIGINT blocked, so that Ctrl-C cannot strike a child that is not set up yet.

    The child inherits the mask; it ignores SIGINT before it lifts it. And with SIGPIPE blocked, by
    which a fork server that dies amid a request would end a program that has given it back its
    meaning: the error is enough.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGPIPE})
    try:
        return start()
    finally:
        if signal.SIGPIPE not in before and signal.SIGPIPE in signal.sigpending():
            signal.sigwait({signal.SIGPIPE})
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _process_class(context: Any, method: str) -> Any:
    if method == "loky":
        return importlib.import_module("loky.backend.process").LokyProcess
    if context is None or isinstance(context, str):
        context = cpython.context_of(method)
    return context.get_context().Process


def launcher(method: str) -> Any:
    if method == "fork":
        return _fork_popen()
    if method == "loky":
        return importlib.import_module("loky.backend.popen_loky_posix").Popen
    return _spawn_popen() if method == "spawn" else _from_server


@cache
def _spawn_popen() -> Any:
    from multiprocessing import popen_spawn_posix

    from procession.process.start.hash_seed import Util

    return _with_globals(popen_spawn_posix.Popen, spawn=_Data("spawn"), util=Util())


def _from_server(process: BaseProcess) -> Any:
    from procession.process.forkserver import client as server

    with server.in_use() as current:
        if current.popen is None:
            from procession.process.forkserver.server_popen import ServerPopen

            current.popen = ServerPopen.of(current, _Data("forkserver"))
        popen = current.popen(process)
        current.started.add(popen)
        return popen


def _with_globals(popen: Any, **names: Any) -> Any:
    """The same ``Popen``, whose ``_launch`` sees these names instead of its module's own."""
    code = popen._launch
    launch = FunctionType(code.__code__, {**code.__globals__, **names}, "_launch")
    return type("Popen", (popen,), {"_launch": launch})


_STANDARD: Final = frozenset(
    {
        "authkey",
        "dir",
        "init_main_from_name",
        "init_main_from_path",
        "log_level",
        "log_to_stderr",
        "name",
        "orig_dir",
        "start_method",
        "sys_argv",
        "sys_path",
    }
)
"""What `multiprocessing.spawn.get_preparation_data` tells a child."""


def _added(name: str) -> dict[str, Any]:
    """What a child is told by who patched that: coverage measures it so."""
    from multiprocessing import spawn

    tell: Any = spawn.get_preparation_data
    if getattr(tell, "__globals__", None) is vars(spawn):
        return {}
    with cpython.default_context_kept():
        told: dict[str, Any] = tell(name)
    return {key: value for key, value in told.items() if key not in _STANDARD}


class _Data:
    """Stands in for `multiprocessing.spawn` in a launcher."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __getattr__(self, name: str) -> Any:
        from multiprocessing import spawn

        return getattr(spawn, name)

    def get_command_line(self, **given: Any) -> list[str]:
        """What is executed: with all options of this interpreter."""
        from multiprocessing import spawn

        from procession.process.start.hash_seed import more_flags

        command = spawn.get_command_line(**given)
        if not getattr(sys, "frozen", False):
            command[1:1] = more_flags()
        return command

    def get_preparation_data(self, name: str) -> dict[str, Any]:
        """What the child is told of this process: the standard library's, but for ``__main__``.

        (And but for its call of `multiprocessing.get_start_method`, which would fix the default
        start method of the user's program.)
        """
        from multiprocessing import process

        from procession.process.start.hash_seed import sent_path

        data: dict[str, Any] = {
            "name": name,
            "authkey": authkey(),
            "sys_path": sent_path(),
            "sys_argv": sys.argv,
            "orig_dir": process.ORIGINAL_DIR,  # type: ignore[attr-defined]
            "start_method": self._method,
            **cpython.log_settings(),
        }
        try:
            data["dir"] = os.getcwd()
        except FileNotFoundError:
            pass  # the working folder was removed: the child starts where it is
        return {**_added(name), **data}


_fork_class: Any = None


def _fork_popen() -> Any:
    global _fork_class
    if _fork_class is None:
        from multiprocessing import popen_fork, util

        class Popen(popen_fork.Popen):
            def _launch(self, process_obj: BaseProcess) -> None:
                with owned_descriptors.forking:
                    parent_r, child_w = os.pipe()
                    child_r, parent_w = os.pipe()
                    owned_descriptors.own(parent_r, parent_w)
                # We have a thread of our own, and the user asked for fork all the same.
                warnings.filterwarnings(
                    "ignore",
                    "This process .* is multi-threaded",
                    DeprecationWarning,
                    r"procession\.process\.starting",
                )
                pid = fork()
                if pid == 0:
                    _run_forked(process_obj, child_r)
                os.close(child_w)
                os.close(child_r)
                self.pid = pid
                self.sentinel = parent_r
                self.finalizer = util.Finalize(self, owned_descriptors.close, (parent_r, parent_w))

        _fork_class = Popen
    return _fork_class


def _run_forked(process: BaseProcess, parent_sentinel: int) -> None:
    code = 1
    try:
        cpython.clear_exit_handlers()
        code = cpython.bootstrap(process, parent_sentinel)
    finally:
        try:
            cpython.run_exit_handlers()
        finally:
            os._exit(code)
