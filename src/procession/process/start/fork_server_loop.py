"""What our fork server runs in its own process; `fork_server` is the other side.

A request is one byte with descriptors (SCM_RIGHTS), over a pair of connected sockets that no one
else holds. The first ones are where the new process reads what it is to run, and where the server
writes two numbers: its process id, or a negative errno, and in the end its exit code.
"""

from __future__ import annotations

import gc
import sys
import threading
import warnings
from collections.abc import Iterable
from multiprocessing import (  # loaded before it forks
    resource_tracker,
    spawn,  # noqa: F401  # pyright: ignore[reportUnusedImport]
    util,
)

from procession.hints import NoReturn
from procession.process.far_side import worker_setup
from procession.process.io.channel import ROOM, numbers_in
from procession.process.start import start_methods
from procession.system import cpython, cpython_processes
from procession.system.identity import identity
from procession.system.posix import CLOSE_ON_EXEC, os, signal
from procession.system.pristine import close_descriptor, fork, select, socket

_PRELOAD = (
    "procession.process.far_side.worker_main",
    "procession.worker.runner",
    "procession.forwarding.records",
    "procession.worker.preparing",
    "procession.pickling.file_maps",
    "procession.pickling.pickler",
    "procession.functions.loading",
    "procession.functions.needs",
    "procession.pickling.exceptions",
)
_IDLE = 0.3
"""Seconds without a request after which the server imports what most items need: some 20 ms, for
which the first ones of a program had better not wait. A guess: the first workers are up."""

_FEW = 3
"""Processes after which it does so at once: else each of many would, as each isolated call has its
own."""


def serve(requests: int) -> None:
    """What the server process runs, until no one holds the other end of `requests`."""
    _begin()
    with socket.socket(fileno=requests) as sock:
        _Serving(sock).run(_IDLE)


def serve_as_copy(requests: int, tracker: int, by_value: bool) -> None:
    """The same in a copy of the program; see `procession.process.start.zygote`.

    It serves in a thread of its own, which has nothing of what hangs on the program's threads.

    Args:
        requests: As there.
        tracker: As there.
        by_value: As there.
    """
    start_methods.inherits = True
    _begin()
    if tracker >= 0:
        _fork_tracker(tracker, requests)
    if by_value:
        _load(worker_setup.ITEMS_NEED)
    with socket.socket(fileno=requests) as sock:
        serving = _Serving(sock)
        from procession.system.posix import resource

        before = threading.stack_size(resource.getrlimit(resource.RLIMIT_STACK)[0])
        # The program has told what its items need: without many processes it loads no more.
        thread = threading.Thread(target=serving.run, daemon=True)
        thread.start()
        threading.stack_size(before)
        thread.join()


def _fork_tracker(descriptor: int, requests: int) -> None:
    """Have a copy of this process be the program's resource tracker: to execute one takes 60 ms."""
    if fork() == 0:
        try:
            close_descriptor(requests)
            resource_tracker.main(descriptor)
        finally:
            os._exit(0)
    close_descriptor(descriptor)


def _begin() -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker_setup.usual_signals()
    worker_setup.unblock_signals()
    identity()  # what it looks up but once is not looked up by each worker
    _load(_PRELOAD)
    gc.enable()  # it takes 3 ms of loading, and finds nothing
    util._close_stdin()  # type: ignore[attr-defined]


def _load(modules: Iterable[str]) -> None:
    worker_setup.load(modules)
    gc.freeze()  # what the collector does not visit is not copied in each forked worker


def _nothing(*_: object) -> None:
    pass


class _Serving:
    """Forks a process for each request, and tells the client when it has ended."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._ended, self._wakeup = os.pipe()
        os.set_blocking(self._ended, False)
        os.set_blocking(self._wakeup, False)
        self._child_handler = signal.signal(signal.SIGCHLD, _nothing)  # so that it wakes us
        signal.set_wakeup_fd(self._wakeup)
        self._running: dict[int, int] = {}  # where to tell the end of a process
        self._forked = 0

    def run(self, patience: float | None = None) -> None:
        """Serve until the client is gone.

        Args:
            patience: Seconds without a request after which it imports what most items need.
        """
        poll = select.poll()
        poll.register(self._requests.fileno(), select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        while True:
            most = None if patience is None else patience * 1000
            ready = [descriptor for descriptor, _ in poll.poll(most)]
            if not ready:
                patience = None
                _load(worker_setup.ITEMS_NEED)
            if self._ended in ready:
                os.read(self._ended, 65536)
                self._reap()
            if self._requests.fileno() in ready:
                try:
                    handed = _receive(self._requests)
                except (EOFError, ConnectionError):
                    return
                if handed:
                    self._fork(*handed)
                    patience = 0.0 if self._forked == _FEW else patience

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            told = self._running.pop(pid, None)
            if told is not None:
                _write_number(told, os.waitstatus_to_exitcode(status))
                close_descriptor(told)

    def _fork(self, data: int, status: int, *handed: int) -> None:
        try:
            pid = _fork_quietly() if start_methods.inherits else fork()
        except OSError as error:
            _write_number(status, -(error.errno or 1))
            close_descriptor(status)
        else:
            if pid == 0:
                self._become(data, status, handed)
            _write_number(status, pid)
            self._running[pid] = status
            self._forked += 1
        for descriptor in (data, *handed):
            close_descriptor(descriptor)

    def _become(self, data: int, status: int, handed: tuple[int, ...]) -> NoReturn:
        """In the new process: run what it reads from `data`, as `multiprocessing` has it."""
        code = 1
        try:
            cpython.clear_exit_handlers()
            if start_methods.inherits:
                cpython.become_main_thread()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, self._child_handler)
            self._requests.close()
            for descriptor in (status, self._ended, self._wakeup, *self._running.values()):
                close_descriptor(descriptor)
            tracker, *start_methods.inherited[:] = handed
            cpython_processes.adopt_tracker(tracker)
            code = cpython_processes.run_spawned(data, os.dup(data))
        except (EOFError, ConnectionError):
            pass  # the client went amid the request: there is no one to run for
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            sys.stderr.flush()
        finally:
            try:
                cpython.run_exit_handlers()
            finally:
                os._exit(code)


def _fork_quietly() -> int:
    """Fork in the thread that serves: the other one only waits for its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return fork()


def _receive(sock: socket.socket) -> list[int]:
    """Wait for a request. Its descriptors; none if this process may not open so many.

    Raises:
        EOFError: The client is gone.
    """
    data, rights, flags, _ = sock.recvmsg(1, ROOM, CLOSE_ON_EXEC)
    if not data:
        raise EOFError
    numbers = [number for _, _, descriptors in rights for number in numbers_in(descriptors)]
    if not flags & socket.MSG_CTRUNC:
        return numbers
    for number in numbers:
        close_descriptor(number)
    return []


def _write_number(descriptor: int, number: int) -> None:
    """Tell the client; if it is gone, no one wants to know."""
    try:
        # At once: a pipe takes so little whole.
        os.write(descriptor, number.to_bytes(8, sys.byteorder, signed=True))
    except BrokenPipeError:
        pass
