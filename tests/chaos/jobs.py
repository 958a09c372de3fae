"""The decorated functions that the chaos suite runs: importable, so they go by reference."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator

from procession import current_task, isolated, parallel
from procession.hints import TYPE_CHECKING, Any, NoReturn
from tests.support.waiting import wait_for_file, wait_until

if TYPE_CHECKING:
    from pathlib import Path


@parallel
def square(x: int) -> int:
    """The plainest function."""
    return x * x


@parallel
def large(x: int) -> bytearray:
    """A result too large for the pipe."""
    return bytearray([x]) * (1 << 20)


@parallel
def nap(x: int, seconds: float) -> int:
    """Take long, as most calls that someone interrupts."""
    time.sleep(seconds)
    return x


@parallel
def start_and_nap(x: int, folder: Path, seconds: float = 600.0) -> int:
    """Say who runs it, then take far too long."""
    (folder / f"{x}.new").write_text(str(os.getpid()))
    (folder / f"{x}.new").rename(folder / str(x))
    time.sleep(seconds)
    return x


@parallel
def nothing_until(x: int, path: Path) -> int:
    """Come back only when there is such a file; at once for 1."""
    if x != 1:
        wait_for_file(path)
    return x


@parallel
def die_unless_told(folder: Path, first: int) -> None:
    """Be killed when there is a file named die; attempts after the first so many wait for ever."""
    task = current_task()
    assert task is not None
    (folder / f"begun {task.attempt}").touch()
    wait_for_file(folder / ("die" if task.attempt <= first else "never"))
    os.kill(os.getpid(), signal.SIGKILL)


@isolated
def one_and_more(folder: Path) -> Iterator[int]:
    """Give 1, and when there is a file named over, 2."""
    yield 1
    wait_for_file(folder / "over")
    yield 2


@parallel
def meet(x: int, folder: Path, count: int) -> int:
    """Come back only when so many items run at the same time; tell the process."""
    (folder / str(x)).touch()
    wait_until(lambda: len(os.listdir(folder)) >= count)
    return os.getpid()


@parallel
def spin(kind: str, folder: Path) -> None:
    """Never end: in Python, or in C code that holds the GIL."""
    (folder / f"{os.getpid()}").touch()
    if kind == "C":
        sum(range(10**11))
    while True:
        pass


def die(how: str) -> None:
    """End this process, or raise, in the given way."""
    if how == "exception":
        raise ZeroDivisionError("as asked")
    if how == "sys.exit":
        sys.exit(3)
    if how == "os._exit":
        os._exit(7)
    if how == "segfault":
        import ctypes

        ctypes.string_at(0)
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)


def _rebuild(how: str) -> str:
    die(how)
    return "rebuilt"


class Trap:
    """Misbehaves where it is pickled, or where it is rebuilt."""

    def __init__(self, where: str, how: str) -> None:
        self.where = where
        self.how = how

    def __reduce__(self) -> Any:
        if self.where == "pickle":
            die(self.how)
        return _rebuild, (self.how,)


@parallel
def pass_through(item: Any) -> Any:
    """Give back what came; a pair of strings asks for a result that misbehaves, or for a death."""
    if isinstance(item, tuple):
        where, how = item
        if where == "run":
            die(how)
        return Trap(where, how)
    return item


@parallel
def call_square(x: int) -> int:
    """A decorated call inside an item."""
    return sum(square.map(range(x)))


@parallel
def fork_and_map(x: int) -> tuple[int, int]:
    """User code that forks inside an item; the child goes on using decorated functions."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(sum(square.map(range(x)))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        told = file.read()
    os.waitpid(child, 0)
    return int(told), sum(square.map(range(x)))


@parallel
def ignore_sigterm(folder: Path) -> None:
    """A task that will not end when it is asked to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "started").write_text(str(os.getpid()))
    while True:
        time.sleep(60)


@parallel
def stop_itself(folder: Path) -> None:
    """A task that stops its own process."""
    (folder / "started").write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)


@parallel
def close_descriptors(_: object) -> str:
    """A task that closes what is not its own."""
    os.closerange(0, 256)
    return "closed"


@parallel
def with_grandchildren(folder: Path, megabytes: int = 0) -> None:
    """Start processes of one's own, one by each way, and never end; take memory if asked to."""
    import subprocess

    first = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    second = os.fork()
    if second == 0:
        time.sleep(600)
        os._exit(0)
    (folder / "new").write_text(f"{first.pid} {second}")
    (folder / "new").rename(folder / "grandchildren")
    held = []
    while True:
        if megabytes:
            held.append(bytearray(b"x") * (megabytes << 20))
        time.sleep(0.05)


@parallel
def leave_daemon(x: int, folder: Path) -> int:
    """Fork a daemon in a session of its own, which holds every descriptor of the worker."""
    if x == 0:
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                (folder / "new").write_text(str(os.getpid()))
                (folder / "new").rename(folder / "daemon")
                wait_for_file(folder / "go")
            os._exit(0)
        os.waitpid(child, 0)
        wait_for_file(folder / "daemon")
    return x


@parallel
def shout(x: int, megabytes: int) -> int:
    """Print very much, to both streams and below Python too."""
    for _ in range(megabytes):
        print("o" * (1 << 20))
        print("e" * (1 << 20), file=sys.stderr)
        os.write(1, b"r" * (1 << 16))
        os.write(2, b"R" * (1 << 16))
    return x


@parallel
def leave_mark_late(folder: Path, mark: str, go: str) -> str:
    """Wait for leave, then show that it ran on to its end."""
    (folder / f"{mark}-started").touch()
    wait_for_file(folder / go)
    (folder / mark).touch()
    return mark


@isolated
def alone(x: int) -> int:
    """A process of its own for each call."""
    return x * x


@isolated
def alone_for_long(folder: Path) -> None:
    """A process of its own that never ends."""
    (folder / "new").write_text(str(os.getpid()))
    (folder / "new").rename(folder / "alone")
    time.sleep(600)


def map_in_child(count: int, results: Any) -> None:
    """What a `multiprocessing` child of the parent does with a decorated function."""
    results.send(sum(square.with_options(inline=False).map(range(count))))


def fail(_: object) -> NoReturn:
    """Raise."""
    raise ValueError("as asked")
