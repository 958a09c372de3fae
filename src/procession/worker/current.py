"""Where this code runs: in a worker or not, for which item, or before the first one.

A module that makes a call in its own body makes it again in each worker that imports it. If that
call started a process, that process would import the module too, and so on without end. So a worker
that loads modules and arguments for an item, and has not begun to run it, starts no process:
decorated calls run in the worker itself, and a `Pool` refuses. The same holds for good for threads
that were started meanwhile.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from types import FrameType
from weakref import WeakSet

from procession.errors import NestedParallelism, TaskExited
from procession.hints import Any, NoReturn


class CurrentTask:
    """The item that a worker is running now.

    Attributes:
        index: The item's place in the input, from 0; for a single call its place among the single
            calls of its function, in the order in which they were made.
        attempt: 1 for the first run, 2 for the first retry, and so on.
        worker: Which worker this is: its process id, as text (with the thread's name on
            the thread backend; after the machine's name and a colon on a cluster).
        function: The decorated function's name.
    """

    # Not a dataclass: the import of dataclasses costs a worker 30 ms.
    __slots__ = ("_nested", "attempt", "function", "index", "worker")

    index: int
    attempt: int
    worker: str
    function: str

    def __init__(
        self, index: int, attempt: int, worker: str, function: str, nested: str = "serial"
    ) -> None:
        self.index = index
        self.attempt = attempt
        self.worker = worker
        self.function = function
        self._nested = nested  # what it wants decorated calls made by it to do

    def __repr__(self) -> str:
        return (
            f"CurrentTask(index={self.index}, attempt={self.attempt}, worker={self.worker!r}, "
            f"function={self.function!r})"
        )


base_context = Context()
"""What every item of this worker starts from: what its initializer has set, and nothing that a
forked worker has inherited from its parent."""

_current: ContextVar[CurrentTask | Callable[[], CurrentTask] | None] = ContextVar(
    "procession_current_task", default=None
)
_worker_pid: int | None = None
_latest: CurrentTask | Callable[[], CurrentTask] | None = None
_host = ""
"""The machine, where the caller is on another one."""
_at_work = False
"""Whether this worker runs an item that it was sent."""

_early: WeakSet[threading.Thread] = WeakSet()
"""Threads that were started by what was loaded."""

_before: list[set[threading.Thread]] = []
"""While something is being loaded: the threads that were there before."""

_initializers = 0
"""How many initializers run."""


def mark_worker_process() -> None:
    """Say that this whole process is a worker, whichever thread asks, and runs no item yet."""
    global _at_work, _worker_pid, _latest
    from procession.pickling.file_maps import ends_before_arrival

    _worker_pid, _latest, _at_work = os.getpid(), None, False
    ends_before_arrival()


def name_host(host: str) -> None:
    """Say that this worker's caller is on another machine, and what this one is called."""
    global _host
    _host = host


def host() -> str:
    """The machine, where the caller is on another one; else empty."""
    return _host


def worker_name() -> str:
    """What this worker process is called."""
    return f"{_host}:{os.getpid()}" if _host else str(os.getpid())


def in_worker_process() -> bool:
    """Whether this process is a worker, and no copy of one that an item has forked."""
    return _worker_pid is not None and _worker_pid == os.getpid()


def in_worker() -> bool:
    """Whether this code runs for an item, in a worker or in the caller's own thread."""
    return _current.get() is not None or (_worker_pid is not None and _worker_pid == os.getpid())


def current_task() -> CurrentTask | None:
    """The item that is being run; `None` outside a decorated function's calls.

        rng = np.random.default_rng([SEED, current_task().index])

    An item that runs in the caller's own process (``inline="auto"``, ``backend="serial"``) has a
    task too, whose worker is this process: what a function sees does not depend on where it runs.
    Threads that the function itself starts in a worker process see the item as well.
    """
    task = _current.get()
    if task is None and _worker_pid == os.getpid() and _at_work:
        task = _latest
    return task() if callable(task) else task


def refuse_nested(function: str, own: str) -> None:
    """Refuse a decorated call made by an item if its job, or the inner function, asks for that.

    Args:
        function: The inner function's name.
        own: Its ``nested`` option.

    Raises:
        NestedParallelism: Under ``nested="error"``.
    """
    task = current_task()
    outer = "serial" if task is None else task._nested
    if "error" in (outer, own):
        whose = "it" if own == "error" else "the running function"
        raise NestedParallelism(
            f"{function}() was called in parallel inside a worker, and {whose} was decorated "
            f"with nested='error'. Call {function}.local(...) here, or write "
            "nested='serial' to let inner calls run serially in this worker."
        )


def enter(task: CurrentTask | Callable[[], CurrentTask] | None) -> None:
    """Make `task` the item that runs in this context; a function is asked when someone looks."""
    global _latest
    if _worker_pid is not None and not callable(task):
        _latest = task
    _current.set(task)


def begin(task: CurrentTask) -> None:
    """In a worker process, in a context of its own: `task` is the item that runs now."""
    global _at_work, _latest
    _latest = task
    _at_work = True
    _current.set(task)


def begin_call(task: Callable[[], CurrentTask]) -> None:
    """In a worker process: a single call runs, in a copy of a context of `begin_column`."""
    global _at_work, _latest
    _latest = task
    _at_work = True


def end() -> None:
    """In a worker process: no item runs."""
    global _at_work, _latest
    _latest = None
    _at_work = False


def begin_column(task: Callable[[], CurrentTask]) -> Context:
    """In a worker process: items run from now on, of which `task` gives the present one.

    Returns:
        What the context of each of them is a copy of.
    """
    global _at_work, _latest
    _latest = task
    _at_work = True
    context = base_context.copy()
    context.run(_current.set, task)
    return context


def pause() -> None:
    """In a worker process, amid a column: its next item is loaded, or its last result packed."""
    global _at_work
    _at_work = False


def resume() -> None:
    """In a worker process: the next item of a column runs."""
    global _at_work
    _at_work = True


# To undo `enter`, also if Ctrl-C strikes anywhere: take what was entered before, enter inside of
# ``try``, and leave in ``finally``. These two are C code, which no signal handler divides.
entered = _current.get
leave = _current.set


# -- before the first item -------------------------------------------------------------------


def is_loading() -> bool:
    """Whether the calling thread runs in a worker for no item."""
    if not in_worker_process():
        return False
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return not (_at_work or _initializers)
    return thread in _early or (bool(_before) and thread not in _before[-1])


@contextmanager
def while_loading() -> Generator[None, None, None]:
    """Something is being loaded: notice the threads that it starts."""
    _before.append(set(threading.enumerate()))
    try:
        yield
    finally:
        before = _before.pop()
        if threading.active_count() != len(before):
            _early.update(set(threading.enumerate()) - before)


class while_initializing:
    """The user's initializer runs, which may do what an item may do.

    `contextlib.contextmanager` would set the traceback of what it raises, which may be frozen.
    """

    def __enter__(self) -> None:
        global _initializers
        _initializers += 1

    def __exit__(self, *_: object) -> None:
        global _initializers
        _initializers -= 1


def refuse_while_loading(what: str) -> NestedParallelism:
    """The error for what cannot be done while a worker loads."""
    module = _module_being_imported()
    where = f"while a worker imports module {module!r}" if module else "while a worker loads"
    return NestedParallelism(
        f"{what} {where}: each worker would start more of them, without end. Move the call into a "
        "function, so that the import does not make it."
    )


def _module_being_imported() -> str | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            name: Any = frame.f_globals.get("__name__")
            return str(name)
        frame = frame.f_back
    return None


# -- copies of a worker ----------------------------------------------------------------------


def end_copy(name: str, error: BaseException | None = None) -> NoReturn:
    """End this process, which the user's code has forked from a worker, and returned in.

    Were it to go on, it would answer for the worker, and run its next items a second time. So it
    ends as a program of its own would: with the code of its SystemExit, or with a traceback.

    Args:
        name: What has forked it.
        error: What it has raised, if it has.
    """
    code = 0 if error is None else 1
    try:
        code = _exit_code(name, error)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        pass  # it ends all the same
    finally:
        os._exit(code)


def _exit_code(name: str, error: BaseException | None) -> int:
    """The exit code of a copy, after its last words were written."""
    if isinstance(error, TaskExited):
        error = error.__cause__
    if error is None:
        sys.stderr.write(
            f"procession: process {os.getpid()}, which {name} forked in a worker, came back from "
            "it and was ended: only the worker itself answers. End such a process with "
            "os._exit(), or use multiprocessing.Process.\n"
        )
        return 0
    if not isinstance(error, SystemExit):
        import traceback

        traceback.print_exception(error)
        return 1
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1
