"""Our own fork server: forks workers from a small clean process, in some 10 ms each.

It is a `multiprocessing.forkserver.ForkServer` that is started by us, for two reasons: newer
releases of Python preload the user's ``__main__`` in the global one, and a preloaded module that
raises kills it. Ours preloads what a worker needs, guarded and with our ``sys.path``
(`procession.process.serving`).

A server is used as long as the environment that is only read when an interpreter starts
(``LD_*``, ``PYTHON*``, …) stays the same. It ends with this process, as it waits on a pipe that
only we hold open; a forked child of this process starts its own.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import forkserver, process, spawn, util
from typing import Any
from weakref import WeakSet

from procession import forked
from procession.process import forks

__all__ = [
    "Server",
    "current",
    "in_use",
    "stop_all",
    "stop_unused",
]

_AT_START = ("PYTHON", "LD_", "DYLD_", "MALLOC_", "GLIBC_", "LC_", "LANG")
_MOST = 4
"""Servers kept for environments used before; each holds some 15 MB. A guess."""

_PATIENCE = 2.0
"""Seconds a server gets to end when asked, until it is killed. It needs a millisecond."""

_binding = forked.lock()
"""Held while there is a temporary folder."""

_ended = False

_lock = forked.lock()
_servers: OrderedDict[tuple[Any, ...], Server] = OrderedDict()
forked.renew_in_child(_servers.clear)


def current() -> Server:
    """The server for the environment as it is now, in this process."""
    variables = tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith(_AT_START)))
    key = (variables, spawn.get_executable())
    with _lock:
        server = _servers.get(key)
        if server is None:
            server = _servers[key] = Server()
        _servers.move_to_end(key)
        crowded = len(_servers) > _MOST
    if crowded:
        stop_unused(_MOST)
    return server


@contextmanager
def in_use() -> Generator[Server, None, None]:
    """The current server, which is not stopped while a process is being started through it."""
    while True:
        server = current()
        with server.using:
            if not server.stopped:
                yield server
                return


def end() -> None:
    """The program ends, and with it its helper threads, wherever they are: none of them is to set
    a server up any more, and one that does so now is to finish with its files."""
    global _ended
    _ended = True
    if _binding.acquire(timeout=_PATIENCE):
        _binding.release()


def stop_all() -> None:
    """End all servers. Workers that they forked are then taken for dead."""
    with _lock:
        servers = list(_servers.values())
        _servers.clear()
    for server in servers:
        server.stop()


def stop_unused(keep: int = 0) -> None:
    """End the servers, but for the latest `keep`, from which no process is left or being started.

    A server is who tells of its processes' ends, so without it they would count as dead.
    """
    with _lock:
        old = list(_servers.items())[: len(_servers) - keep]
    for key, server in old:
        if server.stop(unused=True):
            with _lock:
                if _servers.get(key) is server:
                    del _servers[key]


class Server(forkserver.ForkServer):
    """One fork server. Stands in for the module `multiprocessing.forkserver` in a launcher."""

    read_signed = staticmethod(forkserver.read_signed)

    _forkserver_pid: int | None
    _forkserver_alive_fd: int | None
    _forkserver_address: Any
    _lock: threading.Lock
    _address_fd: int | None = None
    _folder: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.using = threading.RLock()
        self.started: WeakSet[Any] = WeakSet()  # its processes, as they are known here
        self.popen: Any = None  # the launcher's class that starts processes through this server
        self.stopped = False

    def ensure_running(self) -> None:
        """Start the server, or start it again if it has died."""
        with self._lock:
            if self._forkserver_pid is not None:
                if _lives(self._forkserver_pid):
                    return
                self._forget()
            with socket.socket(socket.AF_UNIX) as listener:
                with _binding:
                    if _ended and threading.get_ident() != threading.main_thread().ident:
                        raise RuntimeError("no process can be started: the program ends")
                    address = self._bind(listener)
                with forks.forking:
                    alive_r, alive_w = os.pipe()
                    forks.own(alive_r, alive_w)
                try:
                    self._forkserver_pid = _execute(listener.fileno(), alive_r)
                except BaseException:
                    _close(alive_w)
                    self._unbind()
                    raise
                finally:
                    _close(alive_r)
            self._forkserver_address = address
            self._forkserver_alive_fd = alive_w

    def _bind(self, listener: socket.socket) -> str:
        """Give the listener an address that only this process can use.

        Who may connect can have programs run as this user, so it is no abstract name (those are
        open to everyone). On Linux the file is removed at once, so that it can never be left
        behind: we keep it open, and connect through our own entry in /proc.
        """
        import shutil
        import tempfile  # here: the server itself needs neither, and they cost it 8 ms

        folder = tempfile.mkdtemp(prefix="procession-")
        path = os.path.join(folder, "server")
        try:
            _bind_short(listener, folder, path)
            os.chmod(path, 0o600)
            listener.listen()
            if not sys.platform.startswith("linux"):
                self._folder = folder
                return path
            with forks.forking:
                self._address_fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
                forks.own(self._address_fd)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder)
        return f"/proc/self/fd/{self._address_fd}"

    def _unbind(self) -> None:
        if self._address_fd is not None:
            _close(self._address_fd)
            self._address_fd = None
        if self._folder is not None:
            import shutil

            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def stop(self, *, unused: bool = False) -> bool:
        """End the server and wait for it; it is not started again.

        Args:
            unused: Only if no process that it started is left.

        Returns:
            Whether it is to end.
        """
        with self.using, self._lock:
            if unused and any(popen.returncode is None for popen in list(self.started)):
                return False
            self.stopped = True
            pid = self._forkserver_pid
            if pid is None:
                return True
            self._forget()
            deadline = time.monotonic() + _PATIENCE
            pause = 0.0005
            while _lives(pid):
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(pause)
                pause = min(pause * 2, 0.02)
            return True

    def _forget(self) -> None:
        alive = self._forkserver_alive_fd
        self._forkserver_pid = self._forkserver_alive_fd = self._forkserver_address = None
        if alive is not None:
            _close(alive)
        self._unbind()


def _close(descriptor: int) -> None:
    forks.disown(descriptor)
    os.close(descriptor)


def _bind_short(listener: socket.socket, folder: str, path: str) -> None:
    """Bind to a path however long it is: a socket's address holds 107 bytes."""
    if not sys.platform.startswith("linux"):
        listener.bind(path)
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/{os.path.basename(path)}")
    finally:
        os.close(descriptor)


def _lives(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False  # the user's code has reaped it


def _execute(listener: int, alive: int) -> int:
    origin: str | None = getattr(process, "ORIGINAL_DIR", None)
    path = [origin if p == "" else p for p in sys.path]
    command = (
        f"import gc, sys; gc.disable(); sys.path[:] = {path!r}; "
        f"from procession.process.serving import serve; serve({listener!r}, {alive!r})"
    )
    executable: Any = spawn.get_executable()
    flags: list[str] = getattr(util, "_args_from_interpreter_flags")()  # noqa: B009 - not typed
    arguments: list[Any] = [executable, *flags, "-c", command]
    pid: int = util.spawnv_passfds(executable, arguments, [listener, alive])
    return pid
