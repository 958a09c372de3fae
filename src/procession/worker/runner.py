"""The loop over items in a worker: the same on every backend whose workers share no memory.

A worker is told of a job once (`Runner.learn`) and then runs that job's items. Each item is
unpickled, run and answered alone, so that what fails fails alone.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from functools import partial

from procession.buffers.housekeeping import housekeeper
from procession.hints import TYPE_CHECKING, Any
from procession.items import RUNNING, Reply
from procession.pickling.columns import open_value
from procession.pickling.out_of_band import dumps_out_of_band, fits_message
from procession.pickling.pickler import dumps
from procession.system import NamedTuple, after_fork
from procession.system.pristine import perf_counter
from procession.worker import current, failures
from procession.worker.column_loop import ColumnLoop
from procession.worker.column_sink import ColumnSink
from procession.worker.job_header import Header, Settings, item_function, open_header
from procession.worker.seeding import seeded

if TYPE_CHECKING:
    from procession.forwarding.interpreter_settings import AdoptedSettings
    from procession.forwarding.outgoing import Outgoing
    from procession.forwarding.records import Recorder

_JOBS_KEPT = 64
"""Jobs a worker remembers; the least recently used is forgotten. A guess, not measured."""


class _OpenJob(NamedTuple):
    """A job that a worker has learnt, with what its items need of it."""

    settings: Settings
    header: Header
    call: Callable[[Any], Any]
    """Gives the result for an item's value."""


class Prepared(NamedTuple):
    """What single calls of one job need, as long as no other job runs in between.

    Attributes:
        call: Gives the result for a call's arguments.
        base: A call runs in a copy of this context.
        task: Gives the call that runs, for `current_task`.
        copied: Not empty in a process that a call has forked, which is no worker.
        noted: What calls have logged and warned is noted here, …
        take: … and packed by this.
        header: The job.
        name: The function's.
        pickling: How its results cross.
    """

    call: Callable[[Any], Any]
    base: Context
    task: Callable[[], current.CurrentTask]
    copied: Sequence[object]
    noted: Sequence[object]
    take: Callable[[], bytes | None]
    header: Header
    name: str
    pickling: Any


class Runner:
    """Runs items in a worker process; one per process.

    Args:
        out_of_band: Whether large buffers of results travel in shared memory.
        adopts: Whether this process takes over the caller's logging, warnings and variables.
        inherits: Whether it was forked from the caller, with the settings of that moment.
    """

    def __init__(
        self, *, out_of_band: bool = True, adopts: bool = True, inherits: bool = False
    ) -> None:
        self._adopts = adopts
        self._out_of_band = out_of_band
        self._jobs: OrderedDict[Any, _OpenJob | BaseException] = OrderedDict()
        self._recorder: Recorder | None = None
        self._adopted: AdoptedSettings | None = None
        if inherits:
            self._adopted = _adopted(inherits=True)
        self._name = ""
        self._copied: list[bool] = []  # not empty in a copy of this process
        self._prepared: Prepared | None = None
        self._prepared_for: tuple[Any, int] = (None, 0)  # its job, and how many modules there were
        after_fork.register(self)

    def renew(self) -> None:
        """In a process that an item has forked, which is no worker and never answers."""
        self._copied.append(True)

    def knows(self, key: Any) -> bool:
        """Whether the job was learnt and is still remembered."""
        return key in self._jobs

    def learn(self, key: Any, header: bytes, buffers: Sequence[Any] = ()) -> None:
        """Open a job's header. What goes wrong becomes the answer to each of its items."""
        opened: _OpenJob | BaseException
        try:
            with current.while_loading():
                found = open_header(header, buffers)
                opened = _OpenJob(found.settings, found, item_function(found))
        except BaseException as error:
            opened = error
        self._keep(key, opened)

    def refuse(self, key: Any, error: BaseException) -> None:
        """Answer each item of a job with this error."""
        self._keep(key, error)

    def _keep(self, key: Any, opened: _OpenJob | BaseException) -> None:
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
        started: Callable[[int], bool],
    ) -> None:
        """Run items in order; `started` is told before, and `emit` is given the reply after, each.

        Args:
            key: A job that was learnt.
            items: ``(index, attempt, blob, buffers)`` each; the blob as in `items.Item`.
            emit: Takes each reply.
            started: Takes the index of the item that is about to run; false: none is to run.
        """
        job = self._begin(key)
        if isinstance(job, BaseException):
            for index, *_ in items:
                started(index)
                emit(failures.job_failed(index, job))
            return
        run = self._timed if job.settings.timed else self._run
        for index, attempt, blob, buffers in items:
            if not started(index):
                break
            reply = run(job, index, attempt, blob, buffers)
            if self._copied:  # by what pickles its result
                current.end_copy(f"{job.settings.name}(), item {index},")
            emit(reply)

    def _begin(self, key: Any) -> _OpenJob | BaseException:
        housekeeper.look()
        self._prepared = None
        self._jobs.move_to_end(key)
        job = self._jobs[key]
        self._name = current.worker_name()
        if self._copied and not isinstance(job, BaseException):
            current.end_copy(f"the import for {job.settings.name}()")
        return job

    def prepared(self, key: Any, words: Any) -> Prepared | None:
        """What runs a single call, if its job needs no more than that; else `run` does.

        Args:
            key: A job that was learnt.
            words: As `ColumnSink.words`.
        """
        found = self._prepared
        if found is not None and self._prepared_for == (key, len(sys.modules)):
            return found
        job = self._begin(key)
        if isinstance(job, BaseException) or job.settings.timed:
            return None
        if not self._lean(job.settings):
            return None
        noted, take = self._notes()
        running = _Running(self._name, job.settings, words)
        base = current.begin_column(running.task)
        current.end()
        self._prepared_for = key, len(sys.modules)
        settings = job.settings
        found = self._prepared = Prepared(
            *(job.call, base, running.task, self._copied, noted, take),
            *(job.header, settings.name, settings.pickling),
        )
        return found

    def _lean(self, settings: Settings) -> bool:
        """Take over what the caller has. Whether nothing more is to be done for each item."""
        if settings.out is not None and self._adopts:
            self._adopt(settings.out)
        lean = self._is_lean(settings)
        if lean and self._adopted is not None:  # what another job has brought is put back, once
            current.base_context.copy().run(self.adopt, settings)
        return lean

    def _notes(self) -> tuple[Sequence[object], Callable[[], bytes | None]]:
        """Where items note what they log and warn, and what packs that."""
        recorder = self._recorder
        return ((), _nothing) if recorder is None else (recorder.noted, recorder.take)

    def run_column(self, key: Any, indexes: Sequence[int], body: Any, sink: ColumnSink) -> None:
        """Run the items of a column in order.

        Args:
            key: A job that was learnt.
            indexes: The items' indexes.
            body: As in `items.Column`.
            sink: Takes what comes of each.
        """
        job = self._begin(key)
        if isinstance(job, BaseException):
            for index in indexes:
                sink.begin(index)
                sink.odd(failures.job_failed(index, job))
            return
        settings = job.settings
        lean = self._lean(settings)
        running = _Running(self._name, settings, sink.words)
        loop = ColumnLoop(
            job.header,
            sink,
            self._copied,
            *self._notes(),
            out_of_band=self._out_of_band,
        )
        base = current.begin_column(running.task)
        try:
            call = job.call if lean else partial(self._call_one, job, running)
            loop.run(indexes, body, base, call)
        finally:
            current.end()

    def wants_each(self, key: Any) -> bool:
        """Whether the seconds of each item of this job's columns are wanted."""
        job = self._jobs[key]
        return not isinstance(job, BaseException) and job.settings.each

    def _is_lean(self, settings: Settings) -> bool:
        """Whether nothing must be done for an item but to run it."""
        if settings.interpreter or settings.seed is not None:
            return False
        if settings.out is not None and self._adopts:
            return not settings.out.variables
        return self._recorder is None

    def _call_one(self, job: _OpenJob, running: _Running, value: Any) -> Any:
        """Call the function in the context of an item of a column."""
        self._enter(job.settings)
        return _seeded_call(job, running.index, value)

    def _enter(self, settings: Settings) -> None:
        """In an item's context: behave as the caller does."""
        if settings.interpreter or self._adopted is not None:
            self.adopt(settings)
        if settings.out is not None and self._adopts:
            self._adopt(settings.out)
        elif self._recorder is not None:
            self._recorder.step_aside()

    def _timed(
        self, job: _OpenJob, index: int, attempt: int, blob: Any, buffers: Sequence[Any]
    ) -> Reply:
        begin = perf_counter()
        reply = self._run(job, index, attempt, blob, buffers)
        return reply._replace(timing=(begin, perf_counter() - begin, os.getpid(), ""))

    def _run(
        self, job: _OpenJob, index: int, attempt: int, blob: Any, buffers: Sequence[Any]
    ) -> Reply:
        settings = job.settings
        try:
            value = open_value(blob, buffers)
        except BaseException as error:
            refusal = failures.argument_error(error, job.header, blob)
            return failures.failed(index, refusal, settings)
        if self._copied:
            current.end_copy(f"an argument of {settings.name}(), item {index},")
        task = current.CurrentTask(index, attempt, self._name, settings.name, settings.nested)
        begin = perf_counter()
        ok, outcome = current.base_context.copy().run(self._call, job, task, value)
        seconds = perf_counter() - begin
        if self._copied:
            current.end_copy(f"{settings.name}(), item {index},", None if ok else outcome)
        extras = self._recorder.take() if self._recorder is not None else None
        del value
        if not ok:
            return failures.raised(index, outcome, job.header, seconds, extras)
        if fits_message(outcome):
            return Reply(index, True, outcome, (), seconds, True, extras)
        found: Sequence[Any] = ()
        try:
            if self._out_of_band:
                payload, found = dumps_out_of_band(outcome, settings.pickling, transit=True)
            else:
                payload = dumps(outcome, settings.pickling)
        except BaseException as error:
            refusal = failures.result_error(error, outcome, settings)
            return failures.failed(index, refusal, settings, seconds, extras)
        return Reply(index, True, payload, found, seconds, False, extras)

    def _call(self, job: _OpenJob, task: current.CurrentTask, value: Any) -> tuple[bool, Any]:
        """Call the function in a context of its own; what it raises is an answer too."""
        settings = job.settings
        current.begin(task)
        self._enter(settings)
        try:
            return True, _seeded_call(job, task.index, value)
        except BaseException as error:
            return False, error if self._copied else failures.item_error(error, settings)
        finally:
            current.end()

    def adopt(self, settings: Settings) -> None:
        """In an item's context: take over the caller's settings of the interpreter."""
        if self._adopted is None:
            self._adopted = _adopted(apart=self._adopts)
        self._adopted.adopt(settings.interpreter)

    def _adopt(self, out: Outgoing) -> None:
        if self._recorder is None:
            from procession.forwarding.records import Recorder  # the caller needs none

            self._recorder = Recorder()
        self._recorder.adopt(out)


def _seeded_call(job: _OpenJob, index: int, value: Any) -> Any:
    """The function's result, with the generators seeded for this item if they are to be."""
    if job.settings.seed is None:
        return job.call(value)
    with seeded(job.settings.seed, index):
        return job.call(value)


class _Running:
    """The item of a column that runs now, by what the loop tells."""

    def __init__(self, worker: str, settings: Settings, words: Any) -> None:
        self._worker = worker
        self._settings = settings
        self._words = words
        self._made: current.CurrentTask | None = None

    @property
    def index(self) -> int:
        index: int = self._words[RUNNING]
        return index

    def task(self) -> current.CurrentTask:
        """Made for who asks: most items never do."""
        made, index = self._made, self.index
        if made is None or made.index != index:
            settings = self._settings
            made = current.CurrentTask(index, 1, self._worker, settings.name, settings.nested)
            self._made = made
        return made


def _nothing() -> None:
    pass


def _adopted(**how: bool) -> AdoptedSettings:
    from procession.forwarding.interpreter_settings import AdoptedSettings  # most need none

    return AdoptedSettings(**how)


def flush_output() -> None:
    """Write out what `print` has buffered: the worker may be killed once its reply is sent.

    A full or closed stdout is no failure of an item's. With nothing to write it takes less than a
    microsecond.
    """
    try:
        sys.stdout.flush()
    except Exception:
        pass
    stderr = sys.stderr
    if not getattr(stderr, "write_through", False):
        try:
            stderr.flush()
        except Exception:
            pass
