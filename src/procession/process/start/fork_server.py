"""Our own fork server: forks workers from a small clean process, in some 10 ms each.

It does what that of `multiprocessing` does, and is not that one for three reasons: newer releases
of Python preload the user's ``__main__`` there, and a preloaded module that raises kills it; its
socket has a name in the file system, which a killed program leaves behind; and to load its module
takes 10 ms here and again there, of the 70 until a program has its first result. Ours preloads what
a worker needs, guarded and with our ``sys.path`` (`procession.process.start.fork_server_loop`).

A server is used as long as this process's user, groups and root folder stay the same. So must the
environment that is only read when an interpreter starts (``LD_*``, ``PYTHON*``, …). It ends with
this process, as it waits on a socket whose other end only we hold. A forked child of this process
starts its own.
"""

from __future__ import annotations

import marshal
import sys
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker, spawn
from weakref import WeakSet

from procession.hints import Any
from procession.process.io.channel import MOST
from procession.process.start import zygote
from procession.process.start.hash_seed import execute, more_flags, sent_path
from procession.system import after_fork, cpython_processes, owned_descriptors
from procession.system.identity import credentials, variables
from procession.system.posix import os, signal
from procession.system.pristine import close_descriptor, socket, time

_AT_START = ("PYTHON", "LD_", "DYLD_", "MALLOC_", "GLIBC_", "LC_", "LANG")
_MOST = 4
"""Servers kept for environments used before; each holds some 15 MB. A guess."""

NUMBER_SIZE = 8
"""Bytes of a number that the server tells."""

_PATIENCE = 2.0
"""Seconds a server gets to end when asked, until it is killed. It needs a millisecond."""

_lock = after_fork.lock()
_servers: OrderedDict[tuple[Any, ...], Server] = OrderedDict()
after_fork.renew_in_child(_servers.clear)


def current(*, clean: bool = True, by_value: bool = True) -> Server:
    """The server for the environment as it is now, in this process.

    Args:
        clean: Only one that has nothing of this process. Else it may be a copy (`zygote`), if there
            is one or can be.
        by_value: As in `copy_server`.
    """
    if not clean:
        copy = copy_server(0, by_value=by_value)
        if copy is not None:
            return copy
    key = _key()
    with _lock:
        server = _servers.get(key)
        if server is None:
            server = _servers[key] = Server()
        _servers.move_to_end(key)
        crowded = len(_servers) > _MOST
    if crowded:
        stop_unused(_MOST)
    return server


def _key() -> tuple[Any, ...]:
    pairs = variables().items()
    read = tuple(sorted([pair for pair in pairs if pair[0].startswith(_AT_START)]))
    return read, spawn.get_executable(), credentials()


def copy_server(waiting: int, *, by_value: bool = True) -> Server | None:
    """The server that is a copy of this process, if there is one that lives, or can be.

    Args:
        waiting: How many other threads of Procession's may be there, too, which wait.
        by_value: As in `zygote.fork_server`.
    """
    key = ("copy", *_key())
    with _lock:
        server = _servers.get(key)
        if server is not None and server.lives:
            return server
        if not zygote.is_possible(waiting):
            return None
        server = _servers[key] = CopyServer(waiting, by_value)
        return server


@contextmanager
def in_use(*, clean: bool = True) -> Generator[Server, None, None]:
    """The current server, which is not stopped while a process is being started through it."""
    while True:
        server = current(clean=clean)
        with server.using:
            if not server.stopped:
                yield server
                return


def stop_all(*, wait: bool = True) -> None:
    """End all servers. Workers that they forked are then taken for dead.

    Args:
        wait: Whether to wait until they have ended, which takes milliseconds.
    """
    with _lock:
        servers = list(_servers.values())
        _servers.clear()
    for server in servers:
        server.stop(patience=_PATIENCE if wait else None)


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


class Server:
    """One fork server."""

    def __init__(self) -> None:
        self.using = after_fork.lock()
        self.started: WeakSet[Any] = WeakSet()  # its processes, as they are known here
        self.stopped = False
        self.pid: int | None = None
        self._requests: int | None = None
        self._lock = after_fork.lock()

    def ensure_running(self) -> None:
        """Start the server, or start it again if it has died."""
        with self._lock:
            self._ensure_running()

    def _ensure_running(self) -> int:
        if self._requests is not None:
            if self.pid is not None and _lives(self.pid):
                return self._requests
            self._forget()
        with owned_descriptors.forking:
            ours, theirs = socket.socketpair()
            requests = ours.detach()
            owned_descriptors.own(requests)
        try:
            self.pid = self._start(requests, theirs)
        except BaseException:
            owned_descriptors.close(requests)
            raise
        self._requests = requests
        return requests

    def _start(self, requests: int, theirs: socket.socket) -> int:
        with theirs:
            path = marshal.dumps(sent_path())
            pid = _execute(theirs.fileno(), len(path))
        try:
            _write(requests, path)  # after ours of its end is closed: it may have died
        except BaseException:
            _await_end(pid, patience=0.0)
            raise
        return pid

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        return self.pid is not None and _lives(self.pid)

    def request(self, descriptors: Sequence[int]) -> tuple[int, int]:
        """Have a process started.

        Args:
            descriptors: What it is handed.

        Returns:
            Where its numbers are read (`read_number`): its process id, or a negative errno, and in
            the end its exit code. And where is written what it is to run.

        Raises:
            OSError: The system refuses, or the server has just died.
        """
        opened: list[int] = []
        try:
            with owned_descriptors.forking:
                opened += os.pipe()
                opened += os.pipe()
            status_r, status_w, data_r, data_w = opened
            tracker: Any = resource_tracker.getfd()
            with self._lock:
                self._send([data_r, status_w, tracker, *descriptors])
        except BaseException:
            for each in opened:
                close_descriptor(each)
            raise
        close_descriptor(data_r)
        close_descriptor(status_w)
        return status_r, data_w

    def _send(self, descriptors: Sequence[int]) -> None:
        try:
            _send(self._ensure_running(), descriptors)
        except ConnectionError:
            # It is dying, and has closed its end before it can be seen to be dead.
            self._bury()
            _send(self._ensure_running(), descriptors)

    def _bury(self) -> None:
        pid = self.pid
        self._forget()
        if pid is not None:
            _await_end(pid, patience=0.0)

    def stop(self, *, unused: bool = False, patience: float | None = _PATIENCE) -> bool:
        """End the server and wait for it; it is not started again.

        Args:
            unused: Only if no process that it started is left.
            patience: Seconds until it is killed; `None` if its end is not waited for.

        Returns:
            Whether it is to end.
        """
        with self.using, self._lock:
            if unused and any(popen.returncode is None for popen in list(self.started)):
                return False
            self.stopped = True
            pid = self.pid
            if pid is None:
                return True
            self._forget()
            if patience is not None:
                _await_end(pid, patience)
            return True

    def _forget(self) -> None:
        requests, self._requests, self.pid = self._requests, None, None
        if requests is not None:
            owned_descriptors.close(requests)


class CopyServer(Server):
    """A fork server that is a copy of this process, as it was when it began; there is no second.

    Args:
        waiting: As in `copy_server`.
        by_value: As there.
    """

    def __init__(self, waiting: int, by_value: bool) -> None:
        super().__init__()
        self._waiting = waiting
        self._by_value = by_value

    def _start(self, requests: int, theirs: socket.socket) -> int:
        with theirs:
            if not zygote.is_possible(self._waiting):
                raise ConnectionError("the fork server has died")
            self._waiting = 0
            with cpython_processes.tracker_to_start() as tracker:
                requests, path = theirs.fileno(), sent_path()
                return zygote.fork_server(requests, tracker, path, by_value=self._by_value)


def _send(requests: int, descriptors: Sequence[int]) -> None:
    """Send a request: one byte with descriptors (SCM_RIGHTS)."""
    if len(descriptors) > MOST:
        raise ValueError(
            f"{len(descriptors)} descriptors cannot be passed to one process, at most {MOST}"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, requests)
    try:
        quietly = getattr(socket, "MSG_NOSIGNAL", 0)  # SIGPIPE may mean the caller's end
        socket.send_fds(sock, [b"\0"], list(descriptors), quietly)
    finally:
        sock.detach()


def read_number(descriptor: int) -> int:
    """Wait for the server's next number.

    Raises:
        EOFError: The server is gone, or cannot open what it was sent.
    """
    data = os.read(descriptor, NUMBER_SIZE)
    if len(data) < NUMBER_SIZE:
        raise EOFError("the fork server ended, or may open no more files (ulimit -n)")
    return int.from_bytes(data, sys.byteorder, signed=True)


def _await_end(pid: int, patience: float) -> None:
    """Wait for a server's end; kill it after so many seconds."""
    deadline = time.monotonic() + patience
    pause = 0.0005
    while _lives(pid):
        if time.monotonic() > deadline:
            try:
                os.kill(pid, signal.SIGKILL)
            except PermissionError:
                return  # this process was another user; it ends as no one can ask it for more
        time.sleep(pause)
        pause = min(pause * 2, 0.02)


def _lives(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False  # the user's code has reaped it


def _execute(requests: int, size: int) -> int:
    """Execute a server, which reads so many bytes from its socket first: the path to import from.

    That may be longer than an argument can be.
    """
    reads = (
        "import gc, marshal, os, sys\n"
        "gc.disable()\n"
        f"left, parts = {size}, []\n"
        "while left:\n"
        f"    parts.append(os.read({requests}, left) or sys.exit())\n"
        "    left -= len(parts[-1])\n"
        "sys.path[:] = marshal.loads(b''.join(parts))\n"
        "del left, parts\n"
    )
    serves = (
        "from procession.process.start.fork_server_loop import serve\n"
        f"serve({requests})\n"
        "os._exit(0)"  # it has nothing to tell: what ends an interpreter takes 10 ms
    )
    executable: Any = spawn.get_executable()
    flags = cpython_processes.interpreter_arguments()
    arguments: list[Any] = [executable, *flags, *more_flags(), "-c", reads + serves]
    return execute(executable, arguments, [requests])


def _write(requests: int, content: bytes) -> None:
    sock = socket.socket(fileno=requests)
    try:
        sock.sendall(content, getattr(socket, "MSG_NOSIGNAL", 0))
    finally:
        sock.detach()
