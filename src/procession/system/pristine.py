"""Clocks, locks, threads, sockets and polling that patches of the standard library do not reach.

gevent and eventlet put greenlets in the place of threads, and sockets that do not block in the
place of sockets. They do so in modules that all code shares. freezegun and time-machine stop the
clocks; a test patches ``time.monotonic``. What talks to workers and keeps time limits must go on
all the same, whether the patch came before Procession was imported or after. So all of Procession
takes these four from here, and none from the standard library's modules. `os.close`, which gevent
puts off, is ``close_descriptor`` here:

    from procession.system.pristine import select, socket, threading, time

Each is a copy of the C module, made anew from where the interpreter has it. Where more is needed,
it is the little of the Python module that Procession uses. ``time.monotonic`` is the kernel's
clock, asked for by number: no library patches that, not even in C.
"""

from __future__ import annotations

import sys
import threading as _shared
from functools import partial
from types import BuiltinFunctionType, SimpleNamespace

from procession.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    import threading as threading
    import time as time
    from _thread import start_new_thread as start_new_thread
    from time import monotonic as monotonic
    from time import perf_counter as perf_counter
    from time import thread_time as thread_time

    from posix_types import select as select
    from posix_types import socket as socket
    from posix_types.os import fork as fork

    close_descriptor = os.close


def _anew(name: str) -> Any:
    """A C module once more: its own functions, as no one has patched them."""
    importing: Any = sys.modules["_frozen_importlib"]
    # The finders one by one, as a program may have put its own in front.
    for finder in (importing.BuiltinImporter, sys.modules["_frozen_importlib_external"].PathFinder):
        spec = finder.find_spec(name)
        if spec is not None:
            made = importing.module_from_spec(spec)
            spec.loader.exec_module(made)
            return made
    return __import__(name)


def _clocks() -> Any:
    clocks = _anew("time")
    number = getattr(clocks, "CLOCK_MONOTONIC", None)
    if number is not None:
        clocks.monotonic = partial(clocks.clock_gettime, number)
        clocks.monotonic_ns = partial(clocks.clock_gettime_ns, number)
    return clocks


def natural() -> bool:
    """Whether threads are the system's own here, and not greenlets in their place."""
    begin = getattr(_shared, "_start_joinable_thread", None) or getattr(
        _shared, "_start_new_thread", None
    )
    lock = getattr(_shared, "_allocate_lock", None)
    return type(begin) is type(lock) is BuiltinFunctionType


def queues_are_natural() -> bool:
    """Whether what executors hand their work over by makes threads wait, not greenlets."""
    import queue

    return queue.SimpleQueue.__module__ == "_queue"


_threads = _anew("_thread")


class _Bare:
    """A thread of the system, where `threading` has none to give; Python does not wait for it."""

    def __init__(self, *, target: Any, name: str, args: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.daemon = True
        self.ident: int | None = None
        self._target = target
        self._args = args
        self._runs = _threads.allocate_lock()

    def start(self) -> None:
        self._runs.acquire()
        try:
            _threads.start_new_thread(self._run, ())
        except BaseException:
            self._runs.release()
            raise

    def _run(self) -> None:
        self.ident = _threads.get_ident()
        try:
            self._target(*self._args)
        finally:
            self._runs.release()

    def is_alive(self) -> bool:
        return bool(self._runs.locked())

    def join(self, timeout: float | None = None) -> None:
        if self._runs.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            self._runs.release()


def _report_as_ever(thread: Any) -> None:
    """Say what went wrong in a thread, as `threading` would.

    Each `threading.Thread` keeps `sys.excepthook`. If that is a function of a script, the script's
    globals live as long as the thread. A file that it left open may never be written then.
    """
    _shared.excepthook(_shared.ExceptHookArgs((*sys.exc_info(), thread)))


def _thread(
    *, target: Any, name: str, args: tuple[Any, ...] = (), daemon: bool | None = None
) -> Any:
    if natural():
        thread: Any = _shared.Thread(target=target, name=name, args=args, daemon=daemon)
        thread._invoke_excepthook = _report_as_ever
        return thread
    return _Bare(target=target, name=name, args=args)


class _Event:
    """`threading.Event`, for one who waits at a time."""

    def __init__(self) -> None:
        self._closed = _threads.allocate_lock()
        self._closed.acquire()

    def is_set(self) -> bool:
        return not self._closed.locked()

    def set(self) -> None:
        try:
            self._closed.release()
        except RuntimeError:
            pass  # it is set

    def clear(self) -> None:
        self._closed.acquire(blocking=False)

    def wait(self, timeout: float | None = None) -> bool:
        if not self._closed.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            return False
        self.set()
        return True


def _sockets() -> Any:
    import _socket

    native: Any = _socket  # which on Windows lacks what is only used where it is there

    class Socket(_socket.socket):
        """A socket that blocks, without a look at `socket.setdefaulttimeout`."""

        __slots__ = ()

        def __init__(
            self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
        ) -> None:
            super().__init__(family, type, proto, fileno)
            self.setblocking(True)

        def __enter__(self) -> Socket:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

    def socketpair() -> tuple[Socket, Socket]:
        one, other = native.socketpair()
        return Socket(fileno=one.detach()), Socket(fileno=other.detach())

    def send_fds(sock: Any, buffers: Any, descriptors: Any, flags: int = 0) -> int:
        import array

        rights = (native.SOL_SOCKET, native.SCM_RIGHTS, array.array("i", descriptors))
        sent: int = sock.sendmsg(buffers, [rights], flags)
        return sent

    made = SimpleNamespace(**vars(_socket))
    made.socket, made.socketpair, made.send_fds = Socket, socketpair, send_fds
    return made


if not TYPE_CHECKING:
    time = _clocks()
    monotonic, perf_counter = time.monotonic, time.perf_counter
    thread_time = getattr(time, "thread_time", perf_counter)
    select = _anew("select")
    socket = _sockets()
    threading = SimpleNamespace(
        Event=_Event,
        Lock=_threads.allocate_lock,
        RLock=_threads.RLock,
        Thread=_thread,
        get_ident=_threads.get_ident,
        local=_threads._local,
    )
    start_new_thread = _threads.start_new_thread
    system = sys.modules.get("posix") or sys.modules["nt"]
    fork = getattr(system, "fork", None)
    # gevent closes a descriptor only when its loop comes to it. A call that waits for the other end
    # to see that would wait for ever.
    close_descriptor = system.close
