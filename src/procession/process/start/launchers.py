"""What starts a process object, for each start method: its context's own ``Popen``, or ours.

A context's own ``Process.start()`` imports the main module again in a spawned child. So a script
needs a name guard, and a REPL or a program read from stdin cannot be spawned at all. Here the
context's launcher runs as it is, but reads its data about the parent from `_Data`, which leaves the
main module out. Nothing in the standard library is patched. The child is a proper process of its
context: `multiprocessing.get_start_method` and `current_process` tell the truth in it.
"""

from __future__ import annotations

import importlib
import io
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from multiprocessing import process, spawn, util
from multiprocessing.context import set_spawning_popen
from multiprocessing.reduction import dump
from types import SimpleNamespace

from procession.hints import TYPE_CHECKING, Any
from procession.process.start import fork_server
from procession.process.start.hash_seed import Util, more_flags, sent_path
from procession.process.start.start_methods import Inherited, ensure_tracker, method_of, quietly
from procession.process.start.start_pipes import Content, launching
from procession.system import cpython, cpython_processes, owned_descriptors
from procession.system.limits import must_fit
from procession.system.posix import FORKS, os
from procession.system.pristine import close_descriptor, fork, select

if TYPE_CHECKING:
    from posix_types import popen_fork
elif FORKS:
    from multiprocessing import popen_fork
else:  # it cannot be imported there, and no process is started by what is here
    popen_fork = SimpleNamespace(Popen=object)

_NOT_YET = os.WNOHANG if FORKS else 0
"""For `poll`: it may go on."""


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
    made = _process_class(context, method)(target=target, args=args, name=name)
    # Not a daemon, as this process may be one: a worker may have children of its own.
    cpython_processes.set_process_key(made, authkey(), daemon=False)
    if method == "fork":
        with owned_descriptors.keeping(keep):
            return quietly(partial(launcher(method), made))
    if method == "forkserver" and context is None:
        quietly(fork_server.current(clean=False).ensure_running)  # it may start the tracker, too
    if method != "loky":
        ensure_tracker()
    start = _from_any_server if context is None and method == "forkserver" else launcher(method)
    return quietly(partial(start, made))


def _process_class(context: Any, method: str) -> Any:
    if method == "loky":
        return importlib.import_module("loky.backend.process").LokyProcess
    if context is None or isinstance(context, str):
        context = cpython_processes.context_of(method)
    return context.get_context().Process


def authkey() -> bytes:
    """This process's key, of the class that can be given to a child; billiard has put its own."""
    key = bytes(process.current_process().authkey)
    return process.AuthenticationString(key)  # type: ignore[attr-defined,no-any-return]


def launcher(method: str) -> Any:
    """What starts a process object by this method, and gives its ``Popen``."""
    if method == "fork":
        return _ForkPopen
    if method == "loky":
        return _loky_popen()
    return _spawn_popen() if method == "spawn" else _from_server


@cache
def _spawn_popen() -> Any:
    popen: Any = importlib.import_module("multiprocessing.popen_spawn_posix")
    return launching(popen.Popen, spawn=_Data("spawn"), util=Util())


@cache
def _loky_popen() -> Any:
    popen: Any = importlib.import_module("loky.backend.popen_loky_posix")
    return launching(popen.Popen, begin=must_fit)


def _from_server(process_obj: process.BaseProcess) -> Any:
    return _started(process_obj, clean=True)


def _from_any_server(process_obj: process.BaseProcess) -> Any:
    return _started(process_obj, clean=False)


def _started(process_obj: process.BaseProcess, *, clean: bool) -> Any:
    with fork_server.in_use(clean=clean) as server:
        popen = _ServerPopen(server, process_obj)
        server.started.add(popen)
        return popen


_STANDARD = frozenset(
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
    tell: Any = spawn.get_preparation_data
    if getattr(tell, "__globals__", None) is vars(spawn):
        return {}
    with cpython_processes.default_context_kept():
        told: dict[str, Any] = tell(name)
    return {key: value for key, value in told.items() if key not in _STANDARD}


class _Data:
    """Stands in for `multiprocessing.spawn` in a launcher."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __getattr__(self, name: str) -> Any:
        return getattr(spawn, name)

    def get_command_line(self, **given: Any) -> list[str]:
        """What is executed: with all options of this interpreter."""
        command = spawn.get_command_line(**given)
        if not getattr(sys, "frozen", False):
            command[1:1] = more_flags()
        return command

    def get_preparation_data(self, name: str) -> dict[str, Any]:
        """What the child is told of this process: the standard library's, but for ``__main__``.

        (And but for its call of `multiprocessing.get_start_method`, which would fix the default
        start method of the user's program.)
        """
        data: dict[str, Any] = {
            "name": name,
            **cpython_processes.log_settings(),
            "authkey": authkey(),
            "sys_path": sent_path(),
            "sys_argv": sys.argv,
            "orig_dir": process.ORIGINAL_DIR,  # type: ignore[attr-defined]
            "start_method": self._method,
        }
        try:
            data["dir"] = os.getcwd()
        except FileNotFoundError:
            pass  # the working folder was removed: the child starts where it is
        return {**_added(name), **data}


class _ForkPopen(popen_fork.Popen):
    def _launch(self, process_obj: process.BaseProcess) -> None:
        with owned_descriptors.forking:
            parent_r, child_w = os.pipe()
            child_r, parent_w = os.pipe()
            owned_descriptors.own(parent_r, parent_w)
        # We have a thread of our own, and the user asked for fork all the same.
        warnings.filterwarnings(
            "ignore",
            "This process .* is multi-threaded",
            DeprecationWarning,
            re.escape(__name__),
        )
        pid = fork()
        if pid == 0:
            _run_forked(process_obj, child_r)
        close_descriptor(child_w)
        close_descriptor(child_r)
        self.pid = pid
        self.sentinel = parent_r
        self.finalizer = util.Finalize(self, owned_descriptors.close, (parent_r, parent_w))


def _run_forked(process_obj: process.BaseProcess, parent_sentinel: int) -> None:
    code = 1
    try:
        cpython.clear_exit_handlers()
        code = cpython_processes.bootstrap(process_obj, parent_sentinel)
    finally:
        try:
            cpython.run_exit_handlers()
        finally:
            os._exit(code)


class _ServerPopen(popen_fork.Popen):
    """A process started by a request to our fork server."""

    method = "forkserver"
    DupFd = Inherited

    def __init__(self, server: fork_server.Server, process_obj: process.BaseProcess) -> None:
        self._server = server
        self._fds: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Have a descriptor sent along; gives its place among those."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process_obj: process.BaseProcess) -> None:
        packed = io.BytesIO()
        spawning: Any = self
        set_spawning_popen(spawning)
        try:
            dump(_Data("forkserver").get_preparation_data(process_obj.name), packed)
            dump(process_obj, packed)
        finally:
            set_spawning_popen(None)
        self.sentinel, data = self._server.request(self._fds)
        with Content(data) as pipe:
            try:
                # It stays open on this side: by that the process knows that its parent lives.
                alive = os.dup(data)
            except BaseException:
                close_descriptor(self.sentinel)
                raise
            owned_descriptors.own(alive, self.sentinel)
            self.finalizer = util.Finalize(self, owned_descriptors.close, (alive, self.sentinel))
            pipe.write(packed.getbuffer())
        pid = fork_server.read_number(self.sentinel)
        if pid < 0:
            raise OSError(-pid, f"the fork server could start no process: {os.strerror(-pid)}")
        self.pid = pid

    def poll(self, flag: int = _NOT_YET) -> int | None:
        """The exit code, if it has ended, or (without WNOHANG) when it has."""
        if self.returncode is None:
            ready = select.poll()
            ready.register(self.sentinel, select.POLLIN)
            if not ready.poll(0 if flag == _NOT_YET else None):
                return None
            try:
                self.returncode = fork_server.read_number(self.sentinel)
            except (OSError, EOFError):
                self.returncode = 255  # the server was killed
        return self.returncode
