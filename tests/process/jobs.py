"""What the workers of these tests run, and how a chunk is made of it without the engine."""

from __future__ import annotations

import ctypes
import importlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from procession.contract import Chunk, End, OneByOne
from procession.functions.packed_function import dump_function
from procession.items import Item, Job, Reply
from procession.pickling.exceptions import load_exception
from procession.pickling.pickler import dumps, loads
from procession.worker.job_header import Settings, pack_header

if TYPE_CHECKING:  # a worker needs none of a pool
    from procession.backends.process import ProcessBackend

DEADLINE = 30.0

_keys = itertools.count(1)


class Told(OneByOne):
    """A listener that remembers what it was told."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.end: End | None = None
        self.ends = 0
        self._over = threading.Event()

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """Keep the replies."""
        self.replies += replies

    def ended(self, chunk: Chunk, end: End) -> None:
        """Keep the end."""
        self.end = end
        self.ends += 1
        self._over.set()

    def wait(self) -> End:
        """The end, once it is there."""
        assert self._over.wait(DEADLINE), "the chunk never ended"
        assert self.end is not None
        return self.end

    @property
    def values(self) -> dict[int, Any]:
        """The results by index."""
        return {r.index: value(r) for r in self.replies if r.ok}

    @property
    def errors(self) -> dict[int, BaseException]:
        """The exceptions by index."""
        return {r.index: load_exception(r.payload) for r in self.replies if not r.ok}


def value(reply: Reply) -> Any:
    """The result that a reply brings."""
    return reply.payload if reply.raw else loads(reply.payload, reply.buffers)


def job_of(function: Callable[..., Any], **limits: Any) -> Job:
    """A job that calls `function` with each item."""
    name = getattr(function, "__name__", "function")
    header = pack_header(
        dump_function(function, None, "strict"),
        dumps(((), (), {})),
        Settings(name, "value", "strict"),
    )
    return Job(next(_keys), name, header, **limits)


def begin(
    backend: ProcessBackend, job: Job, values: Sequence[Any], first: int = 0
) -> tuple[Chunk, Told]:
    """Start one chunk."""
    told = Told()
    items = []
    for index, value in enumerate(values, first):
        buffers: list[Any] = []
        items.append(Item(index, value, dumps(value, "strict", buffers), buffers))
    chunk = Chunk(job, items, told)
    backend.start(chunk)
    return chunk, told


def run(backend: ProcessBackend, job: Job, values: Sequence[Any]) -> Told:
    """Run one chunk to its end."""
    _, told = begin(backend, job, values)
    told.wait()
    return told


def poll(condition: Callable[[], Any], what: str) -> Any:
    """Wait until `condition` holds and return its value."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return value


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# -- what workers run ------------------------------------------------------------------------


def double(x: Any) -> Any:
    """Twice the item."""
    return 2 * x


def pid(_: Any) -> int:
    """Whose worker ran it."""
    return os.getpid()


def alarm(_: Any) -> Any:
    """What SIGALRM means here."""
    return signal.getsignal(signal.SIGALRM)


def die(how: str) -> str:
    """End this process in the given way; an unknown way is no way."""
    if how == "exit":
        os._exit(7)
    elif how == "segfault":
        ctypes.string_at(1)
    elif how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "abort":
        os.abort()
    elif how == "close everything":
        os.closerange(3, 256)
    return how


def say_and_die(text: str) -> None:
    """Write to stderr and be killed at once."""
    print(text, file=sys.stderr)
    os.kill(os.getpid(), signal.SIGKILL)


def big(size: int) -> bytearray:
    """A large result."""
    return bytearray(size)


def length(data: Any) -> int:
    """How much has arrived."""
    return len(data)


def wait_for_file(path: str) -> str:
    """Say that we are here, and wait until the path's twin is there too."""
    open(path, "w").close()
    while not os.path.exists(path + ".go"):
        time.sleep(0.005)
    return path


def nap(seconds: float) -> float:
    """Sleep."""
    time.sleep(seconds)
    return seconds


def hold_the_gil(n: int) -> int:
    """Busy in C code that never gives the GIL back."""
    return sum(range(n)) if n else 0


def spin(_: Any) -> None:
    """Busy in Python code, for ever."""
    while True:
        pass


def start_child_and_nap(seconds: float) -> None:
    """Start a process, tell its pid by stderr, and sleep."""
    child = subprocess.Popen(["sleep", "600"])
    print(f"child={child.pid}", file=sys.stderr)
    time.sleep(seconds)


def take_memory(size: int) -> int:
    """Hold so much memory for a while."""
    block = bytearray(size)
    for at in range(0, size, 4096):
        block[at] = 1
    if size > 100_000_000:
        time.sleep(60)
    return len(block)


def late_codecs(_: object) -> list[str]:
    """Codecs that this worker has imported after all that its fork server has loaded for it."""
    names = list(sys.modules)
    late = names[names.index("procession.pickling.exceptions") :]
    return [name for name in late if name.startswith("encodings.")]


def had(names: str) -> list[str]:
    """Import these; gives those that were there before."""
    wanted = names.split()
    found = [name for name in wanted if name in sys.modules]
    for name in wanted:
        importlib.import_module(name)
    return found


class Odd(str):
    """A text that is not only one."""


def import_oddly(name: str) -> str:
    """Put a module there under a name of one's own kind."""
    sys.modules[Odd(name)] = sys
    return name


def surroundings(name: str) -> dict[str, Any]:
    """What this process has of its parent."""
    umask = os.umask(0)
    os.umask(umask)
    return {
        "method": multiprocessing.get_start_method(),
        "process": multiprocessing.current_process()._start_method,  # type: ignore[attr-defined]
        "daemon": multiprocessing.current_process().daemon,
        "parent": os.getppid(),
        "cwd": os.getcwd(),
        "umask": umask,
        "environment": os.environ.get(name),
        "path": list(sys.path),
        "group": os.getpgrp() == os.getpid(),
        "stdin": os.fstat(0).st_rdev == os.stat(os.devnull).st_rdev,
        "sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "main": "tests" in getattr(sys.modules["__main__"], "__file__", "") if name else False,
        "main_thread": threading.current_thread() is threading.main_thread(),
        "daemonic": threading.current_thread().daemon,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "preloaded": "colorsys" in sys.modules,
    }


_initialised: list[Any] = []


def initialise(*values: Any) -> None:
    """An initializer."""
    _initialised.extend(values)


def initialised(_: Any) -> list[Any]:
    """What the initializer was given in this worker."""
    return _initialised


def fail_to_initialise() -> None:
    """An initializer that raises."""
    raise LookupError("no such database")


def die_in_initialiser() -> None:
    """An initializer that ends its process."""
    os._exit(9)


def draw(_: Any) -> float:
    """A random number."""
    import random

    return random.random()


def leave_note_at_exit(path: str) -> int:
    """Have the worker's exit handlers write a file."""
    import atexit

    atexit.register(lambda: open(path, "w").close())
    return os.getpid()


def count_to(n: int) -> Iterator[int]:
    """A generator."""
    yield from range(n)


def count_and_note(path: str) -> Iterator[int]:
    """A generator that notes each value it was asked for."""
    for value in itertools.count():
        with open(path, "a") as file:
            file.write(".")
        yield value


def fail_after(n: int) -> Iterator[int]:
    """A generator that raises."""
    yield from range(n)
    raise ValueError(f"no more than {n}")


def die_after(n: int) -> Iterator[int]:
    """A generator that ends its process."""
    yield from range(n)
    time.sleep(0.05)
    os._exit(4)
