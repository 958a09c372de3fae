"""Setting a new process up as a worker: everything but its work.

A signal mask and an ignored signal pass from process to process, through ``exec`` as well. A
service blocks SIGCHLD, SIGTERM and others to take them by ``sigwait``, or ignores SIGCHLD so that
children need no reaping. Its workers, and the fork server, must hear of theirs all the same.
"""

from __future__ import annotations

import faulthandler
import io
import sys
import threading
import time
from collections.abc import Iterable

from procession.hints import TYPE_CHECKING, Any
from procession.process.io.black_box import BlackBox
from procession.system import NamedTuple, cpython
from procession.system.identity import Identity, adopt, identity, read_umask, variables
from procession.system.posix import os, signal, signals
from procession.system.pristine import close_descriptor

if TYPE_CHECKING:
    from procession.worker.preparing import Cap

DUMP_SIGNAL: int = int(getattr(signal, "SIGRTMAX", getattr(signal, "SIGUSR2", 0) + 3)) - 3
"""Makes a worker write the stacks of its threads, also while C code holds the GIL."""

ITEMS_NEED = ("logging", "cloudpickle")
"""What most workers import for their first item, if they have not before: as their caller logs, and
as functions of ``__main__`` go by value."""

_IGNORED_BY_PYTHON = signals("SIGPIPE", "SIGXFSZ")
_KEPT_SIGNALS = signals("SIGHUP", "SIGINT", "SIGTTOU", "SIGTTIN")
"""SIGHUP is ignored under ``nohup``, whose meaning is just that it passes on."""


class Surroundings(NamedTuple):
    """What a worker that was not forked from its caller may not have of it.

    A fork server keeps what it was started with, and an interpreter that is executed for us is told
    by its environment what is not the user's (`executing`).
    """

    umask: int
    environment: dict[str, str]
    identity: Identity


class Plan(NamedTuple):
    """What a worker is to be.

    Attributes:
        method: The start method it came by.
        around: The caller's surroundings, where they are not inherited.
        threads: Cap for OpenMP and BLAS pools, or `None`.
        preload: Modules to import before it is ready.
        initializer: The initializer and its arguments, packed; or empty.
        modules: Modules to import after that.
        rehearse: Whether to run an item of no meaning first, as the real one is in a hurry.
    """

    method: str
    around: Surroundings | None
    threads: Cap | None
    preload: tuple[str, ...]
    initializer: Any
    modules: tuple[str, ...]
    rehearse: bool


def surroundings() -> Surroundings:
    """The caller's."""
    umask = read_umask()
    if umask is None:
        # Not safe with threads that make files at this instant; there is no other way here.
        umask = os.umask(0o077)
        os.umask(umask)
    return Surroundings(umask, variables(), identity())


def set_up(method: str, around: Surroundings | None) -> None:
    """Signals, stdin, session, and what the client's process has that ours has not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if method == "fork":
        signal.set_wakeup_fd(-1)
        cpython.become_main_thread()
    if method != "forkserver":  # our server has done so before it has forked
        usual_signals()
    # A session of its own, not only a group. Without a terminal, what asks for a password there is
    # told so (ENXIO). In a background group it would be stopped for ever (SIGTTIN, SIGTTOU).
    os.setsid()
    unblock_signals()
    _close_stdin()
    if around is not None:
        take_over(around)
    if sys.platform.startswith("linux"):
        _prefer_to_kill()


def _prefer_to_kill() -> None:
    """Have the kernel choose this process first when memory runs out."""
    try:
        # Not by `open`: it imports a codec, which takes a tenth of a worker's start.
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(file, b"1000")
        finally:
            close_descriptor(file)
    except OSError:
        pass


def unblock_signals() -> None:
    """Block nothing in this thread."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def usual_signals() -> None:
    """Ignore what Python itself ignores, and nothing that only the caller did."""
    if threading.current_thread() is not threading.main_thread():
        return  # no other may, and an executor of threads has its caller's signals
    for number in signal.valid_signals():
        if number in _KEPT_SIGNALS:
            continue
        if number in _IGNORED_BY_PYTHON:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _close_stdin() -> None:
    try:
        null = os.open(os.devnull, os.O_RDONLY)
    except OSError:  # in a chroot without /dev; at an end as well
        null, end = os.pipe()
        close_descriptor(end)
    os.dup2(null, 0)
    close_descriptor(null)


def take_over(around: Surroundings) -> None:
    """Have the caller's surroundings in place of what this process was started with."""
    adopt(around.identity)
    os.umask(around.umask)
    present = variables()
    for name in present.keys() - around.environment.keys():
        del os.environ[name]
    for name, value in around.environment.items():
        if present.get(name) != value:
            os.environ[name] = value
            if name == "TZ" and hasattr(time, "tzset"):
                time.tzset()


def load(modules: Iterable[str]) -> None:
    """Import what will be needed, as far as it can be imported."""
    for module in modules:
        try:
            __import__(module)
        except Exception:
            continue  # the item that needs it raises it again, where it can be told


class _Stderr(io.TextIOWrapper):
    """`sys.stderr` that also keeps the last of it in the black box."""

    box: BlackBox

    def write(self, text: str, /) -> int:
        self.box.remember(text)
        return super().write(text)


def observe(descriptor: int) -> BlackBox:
    """Have this process's crashes, stacks and stderr recorded.

    Args:
        descriptor: The black box; stays open, as faulthandler writes through it.
    """
    box = BlackBox(descriptor)
    box.seek_stack(descriptor)
    faulthandler.enable(descriptor, all_threads=True)
    register: Any = getattr(faulthandler, "register")  # noqa: B009  # not on all platforms
    register(DUMP_SIGNAL, descriptor, all_threads=True, chain=False)
    stderr: Any = sys.stderr
    try:
        wrapped = _Stderr(
            stderr.buffer,
            encoding=stderr.encoding,
            errors=stderr.errors,
            line_buffering=True,
            write_through=True,
        )
        # The old wrapper would close the buffer when it goes; it must stay as sys.__stderr__.
        wrapped.box = box
        _keep.append(stderr)
        sys.stderr = wrapped
    except Exception:
        pass  # no stderr, or one of the user's own: it works as it did, only unrecorded
    return box


_keep: list[Any] = []
