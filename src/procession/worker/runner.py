"""Running items in a worker: the same code on every backend whose workers share no memory.

A worker is told of a job once (`Runner.learn`) and then runs that job's items. Each item is
unpickled, run and answered alone, so that what fails fails alone.
"""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from procession.buffers.buffer_segment import Gone
from procession.buffers.housekeeping import housekeeper
from procession.contract import Reply
from procession.errors import TaskExited
from procession.forwarding.caller_side import Outgoing
from procession.pickling.objects import SCALARS
from procession.pickling.out_of_band import dumps_out_of_band, fits_message
from procession.pickling.pickler import Pickling, dumps, loads
from procession.system import after_fork
from procession.system.named_tuple import NamedTuple
from procession.system.pristine import perf_counter
from procession.worker import current as state
from procession.worker.forked_copies import leave
from procession.worker.fresh_arguments import Common, Way
from procession.worker.loading import watching

if TYPE_CHECKING:
    from procession.forwarding.adopt_settings import Adopted
    from procession.forwarding.worker_side import Recorder

__all__ = [
    "Header",
    "Runner",
    "Settings",
    "Style",
    "call_with",
    "open_header",
    "pack_header",
]

Style = Literal["value", "star", "call"]
"""How an item is handed to the function: ``f(item, …)``, ``f(*item, …)``, or ``f(*args, **kw)``."""

_EXITS = (SystemExit, KeyboardInterrupt)

_COROUTINE = 0x80  # inspect.CO_COROUTINE: inspect is slow to import

_JOBS_KEPT = 64
"""Jobs a worker remembers; the least recently used is forgotten. A guess, not measured."""


class Settings(NamedTuple):
    """How a job's items are run."""

    name: str
    style: Style
    pickling: Pickling
    seed: int | None = None
    nested: str = "serial"
    out: Outgoing | None = None
    exits: bool = False
    """Whether SystemExit and KeyboardInterrupt go home as themselves (`Pool`'s futures)."""
    timed: bool = False
    """Whether a profile is open, so that each reply is to tell its `Reply.timing`."""
    interpreter: bytes = b""
    """What differs from Python's defaults in the caller's thread
    (`forwarding.interpreter_settings`)."""
    common: Way = "once"
    """How the arguments that go to every item are loaded."""


class Header(NamedTuple):
    """A job as the worker sees it once the header is open."""

    function: Callable[..., Any]
    prefix: tuple[Any, ...]
    """The instance or class of a method; comes before the item."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    settings: Settings
    awaits: bool = False
    """Whether the function is ``async def``: what its coroutine comes to is the result."""
    common: Common | None = None
    """Gives each item those arguments as they were sent, if an item could change them."""


def pack_header(function: bytes, shared: bytes, settings: Settings) -> bytes:
    """Put a job together; `shared` is the pickled ``(prefix, args, kwargs)``."""
    return pickle.dumps((function, shared, settings), 5)


def open_header(header: bytes, buffers: Sequence[Any] = ()) -> Header:
    """Load the function and the shared arguments of a job.

    Raises:
        Exception: Whatever the import of the function's module, or unpickling, raises.
    """
    from procession.functions.packed_function import load_function

    packed, shared, settings = pickle.loads(header)
    function = load_function(packed)
    common = Common(shared, buffers, settings, function) if settings.common != "once" else None
    try:
        prefix, args, kwargs = loads(shared, buffers) if common is None else common.first
    except (Gone, MemoryError, *_EXITS):
        raise
    except BaseException as error:
        from procession.worker.refusing import unloadable_shared

        raise unloadable_shared(error, function, shared, settings) from None
    code = getattr(function, "__code__", None)
    awaits = code is not None and bool(code.co_flags & _COROUTINE)
    return Header(function, prefix, args, kwargs, settings, awaits, common)


def call_with(header: Header, value: Any) -> Any:
    """Call the function for one item."""
    function, prefix, args, kwargs, settings, _, common = header
    if common is not None:
        prefix, args, kwargs = common.take()
    if settings.style == "value":
        return function(*prefix, value, *args, **kwargs)
    if settings.style == "star":
        return function(*prefix, *value, *args, **kwargs)
    args, kwargs = value
    return function(*prefix, *args, **kwargs)


class _Opened(NamedTuple):
    """A job that a worker has learnt: what an item needs of it, looked up once.

    Attributes:
        settings: How its items are run.
        header: All of it.
        call: Gives the result for an item's value.
    """

    settings: Settings
    header: Header
    call: Callable[[Any], Any]


def _opened(header: Header) -> _Opened:
    call: Callable[[Any], Any] = partial(call_with, header)
    if header.awaits:
        call = partial(_awaited, header)
    elif header.common is not None:
        call = header.common.calling(header.function)
    elif header.settings.style == "value" and not (header.prefix or header.args or header.kwargs):
        call = header.function
    return _Opened(header.settings, header, call)


def _awaited(header: Header, value: Any) -> Any:
    import asyncio

    return asyncio.run(call_with(header, value))


class Runner:
    """Runs items in a worker process; one per process.

    Args:
        out_of_band: Whether large buffers of results travel beside the pickle, in shared memory.
        adopts: Whether this process takes over the caller's logging, warnings and variables.
        inherits: Whether it was forked from the caller, with the settings of that moment.
    """

    def __init__(
        self, *, out_of_band: bool = True, adopts: bool = True, inherits: bool = False
    ) -> None:
        self._adopts = adopts
        self._out_of_band = out_of_band
        self._jobs: OrderedDict[Any, _Opened | BaseException] = OrderedDict()
        self._recorder: Recorder | None = None
        self._adopted: Adopted | None = None
        if inherits:
            self._adopted = _adopted(inherits=True)
        self._name = ""
        self._copied = False
        after_fork.register(self)

    def renew(self) -> None:
        """In a process that an item has forked: it is no worker, and never answers."""
        self._copied = True

    def knows(self, key: Any) -> bool:
        """Whether the job was learnt and is still remembered."""
        return key in self._jobs

    def learn(self, key: Any, header: bytes, buffers: Sequence[Any] = ()) -> None:
        """Open a job's header. What goes wrong becomes the answer to each of its items."""
        opened: _Opened | BaseException
        try:
            with watching():
                opened = _opened(open_header(header, buffers))
        except BaseException as error:
            opened = error
        self._keep(key, opened)

    def refuse(self, key: Any, error: BaseException) -> None:
        """Answer each item of a job with this error."""
        self._keep(key, error)

    def _keep(self, key: Any, opened: _Opened | BaseException) -> None:
        self._jobs[key] = opened
        while len(self._jobs) > _JOBS_KEPT:
            self._jobs.popitem(last=False)

    def forget(self, key: Any) -> None:
        """Drop a job and what it holds."""
        self._jobs.pop(key, None)

    def run(
        self,
        key: Any,
        items: Iterable[tuple[int, int, Any, Sequence[Any]]],
        emit: Callable[[Reply], None],
        started: Callable[[int], None],
    ) -> None:
        """Run items in order; `started` is told before, and `emit` is given the reply after, each.

        Args:
            key: A job that was learnt.
            items: ``(index, attempt, blob, buffers)`` each; the blob as in `contract.Item`.
            emit: Takes each reply.
            started: Takes the index of the item that is about to run.
        """
        housekeeper.look()
        self._jobs.move_to_end(key)
        job = self._jobs[key]
        self._name = str(os.getpid())
        if isinstance(job, BaseException):
            for index, *_ in items:
                started(index)
                emit(_job_failed(index, job))
            return
        if self._copied:
            leave(f"the import for {job.settings.name}()")
        run = self._timed if job.settings.timed else self._run
        for index, attempt, blob, buffers in items:
            started(index)
            reply = run(job, index, attempt, blob, buffers)
            if self._copied:  # by what pickles its result
                leave(f"{job.settings.name}(), item {index},")
            emit(reply)

    def _timed(
        self, job: _Opened, index: int, attempt: int, blob: Any, buffers: Sequence[Any]
    ) -> Reply:
        begin = perf_counter()
        reply = self._run(job, index, attempt, blob, buffers)
        return reply._replace(timing=(begin, perf_counter() - begin, os.getpid(), ""))

    def _run(
        self, job: _Opened, index: int, attempt: int, blob: Any, buffers: Sequence[Any]
    ) -> Reply:
        settings = job.settings
        try:
            value = blob if type(blob) in SCALARS else loads(blob, buffers)
        except Gone as error:
            return _failed(index, error, settings)
        except _EXITS as error:
            return _failed(index, _exit(error, settings), settings)
        except MemoryError as error:
            return _failed(index, error, settings)
        except BaseException as error:
            from procession.worker.refusing import unloadable

            return _failed(index, unloadable(error, job.header, blob), settings)
        if self._copied:
            leave(f"an argument of {settings.name}(), item {index},")
        task = state.CurrentTask(index, attempt, self._name, settings.name, settings.nested)
        begin = perf_counter()
        ok, outcome = state.base_context.copy().run(self._call, job, task, value)
        seconds = perf_counter() - begin
        if self._copied:
            leave(f"{settings.name}(), item {index},", None if ok else outcome)
        extras = self._recorder.take() if self._recorder is not None else None
        del value
        if not ok:
            failed = _failed(index, outcome, settings, seconds, extras)
            if type(outcome) is TaskExited:
                return failed
            from procession.worker.named_globals import append_globals

            payload = append_globals(failed.payload, job.header.function, outcome)
            return failed._replace(payload=payload)
        if fits_message(outcome):
            return Reply(index, True, outcome, (), seconds, True, extras)
        found: Sequence[Any] = ()
        try:
            if self._out_of_band:
                payload, found = dumps_out_of_band(outcome, settings.pickling, transit=True)
            else:
                payload = dumps(outcome, settings.pickling)
        except _EXITS as error:
            return _failed(index, _exit(error, settings), settings, seconds, extras)
        except MemoryError as error:
            return _failed(index, error, settings, seconds, extras)
        except BaseException as error:
            from procession.worker.refusing import refused_result

            refused = refused_result(error, outcome, settings.name, settings.pickling)
            return _failed(index, refused, settings, seconds, extras)
        return Reply(index, True, payload, found, seconds, False, extras)

    def _call(self, job: _Opened, task: state.CurrentTask, value: Any) -> tuple[bool, Any]:
        """Call the function in a context of its own; what it raises is an answer too."""
        settings = job.settings
        state.begin(task)
        if settings.interpreter or self._adopted is not None:
            self.adopt(settings)
        if settings.out is not None and self._adopts:
            self._adopt(settings.out)
        elif self._recorder is not None:
            self._recorder.step_aside()
        try:
            if settings.seed is None:
                return True, job.call(value)
            from procession.worker.seeding import seeded

            with seeded(settings.seed, task.index):
                return True, job.call(value)
        except _EXITS as error:
            return False, error if self._copied else _exit(error, settings)
        except BaseException as error:
            return False, error
        finally:
            state.end()

    def adopt(self, settings: Settings) -> None:
        """In an item's context: take over the caller's settings of the interpreter."""
        if self._adopted is None:
            self._adopted = _adopted(apart=self._adopts)
        self._adopted.adopt(settings.interpreter)

    def _adopt(self, out: Outgoing) -> None:
        if self._recorder is None:
            from procession.forwarding.worker_side import Recorder  # the caller needs none

            self._recorder = Recorder()
        self._recorder.adopt(out)


def _adopted(**how: bool) -> Adopted:
    from procession.forwarding.adopt_settings import Adopted  # most programs need none

    return Adopted(**how)


def _exit(error: BaseException, settings: Settings) -> BaseException:
    return error if settings.exits else exited(error, settings.name)


def exited(error: BaseException, function: str, where: str = "in a worker") -> TaskExited:
    """What becomes of SystemExit and KeyboardInterrupt that an item raised."""
    what = f"SystemExit({error.code!r})" if isinstance(error, SystemExit) else "KeyboardInterrupt"
    who = function if " " in function else f"{function}()"
    wrapped = TaskExited(
        f"{who} raised {what} {where}. An item cannot end the caller's program: return "
        "a value that says so, or raise an exception of your own.",
        code=error.code if isinstance(error, SystemExit) else None,
    )
    wrapped.__cause__ = error
    return wrapped


def _job_failed(index: int, error: BaseException) -> Reply:
    from procession.exceptions.transport import dump_exception

    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        error = exited(error, "the import of the function's module")
    error.add_note(
        "This happened in a worker, while it loaded the function or the arguments that go to "
        "every item."
    )
    return Reply(index, False, dump_exception(error, "by-value"))


def _failed(
    index: int,
    error: BaseException,
    settings: Settings,
    seconds: float = 0.0,
    extras: bytes | None = None,
) -> Reply:
    from procession.exceptions.transport import dump_exception

    payload = dump_exception(error, settings.pickling)
    return Reply(index, False, payload, (), seconds, False, extras)
