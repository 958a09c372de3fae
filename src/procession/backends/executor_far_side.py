"""What runs in the workers of an executor: loky's, the standard library's, or any.

Such a worker cannot be ended for one item. So items with a ``timeout`` or a
``memory_limit`` run in one more process, which is ended when one passes it (`_Guard`).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

from procession.buffers.sender import segments
from procession.contract import Chunk, End, OneByOne
from procession.items import Item, Job, Reply
from procession.pickling.objects import is_a
from procession.pickling.pickler import PackedInitializer
from procession.system import NamedTuple, after_fork
from procession.system.cpython import pickle
from procession.system.wakeup import Wakeup
from procession.worker.column_sink import ColumnSink
from procession.worker.current import end_copy, mark_worker_process
from procession.worker.preparing import Cap, prepare, run_initializer, run_unpacked
from procession.worker.runner import Runner, flush_output


class Setup(NamedTuple):
    """What a worker does before its first item.

    Attributes:
        parent: The caller's process id.
        threads: Cap for OpenMP and BLAS pools, or `None`.
        initializer: The initializer and its arguments, packed; or empty.
        forked: Whether the worker shares the parent's random state until it is reseeded.
        lifeline: Where the parent's lifeline can be opened, or empty.
        around: The caller's surroundings, for a worker that was not forked from it.
    """

    parent: int
    threads: Cap | None = None
    initializer: Any = b""
    forked: bool = False
    lifeline: Any = None
    around: Any = None


class Shipment(NamedTuple):
    """One chunk on its way to an executor's worker.

    Attributes:
        key: The job, unique over all processes that may send to the same worker.
        header: The job's header, or where to read it if it is large (see `read_broadcast`).
        buffers: The header's large buffers: a ticket, or the bytes themselves.
        items: ``(index, attempt, blob, ticket)`` each; a single one if the job has limits.
        column: Instead of items: indexes and body, as in `items.Column`.
        timeout: The job's limit for one item, in seconds.
        memory_limit: The job's limit for one item, in bytes.
        out_of_band: Whether large results may come home in shared memory.
        sender: The caller's process id.
    """

    key: tuple[str, int]
    header: Any
    buffers: Any
    items: Sequence[tuple[int, int, Any, tuple[Any, ...]]]
    column: tuple[Sequence[int], bytes] | None
    timeout: float | None = None
    memory_limit: int | None = None
    out_of_band: bool = False
    sender: int = 0


_runner: Runner | None = None
_runner_of = 0
_setup_error: BaseException | None = None
_guard: _Guard | None = None
_guarding = after_fork.lock()
_packed: PackedInitializer = b""
"""The user's initializer and its arguments."""
_initializer: PackedInitializer = b""
"""The same, until it has run here."""
_threads: Cap | None = None
_forked = False
_heavy: Any = None
"""The last job that came with large buffers."""

_IDLE_BYTES = 64 * 1024 * 1024
"""Most memory a worker keeps for its next results: no clock gives it back here. A guess."""


def set_up(setup: Setup) -> None:
    """Prepare this process as a worker; an executor's initializer.

    The user's own runs later, where its items do: before the first of them here, or in the process
    that runs those with limits, as theirs hold for it too.
    """
    global _forked, _initializer, _packed, _threads
    if os.getpid() == setup.parent:
        return
    mark_worker_process()
    if threading.current_thread() is threading.main_thread():
        from procession.process.far_side.worker_setup import unblock_signals, usual_signals

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller's Ctrl-C, which ends this
        usual_signals()
        unblock_signals()
    if setup.lifeline is not None:
        from procession.system import lifeline

        lifeline.arm(lifeline.Ticket(*setup.lifeline))
    if setup.around is not None:
        from procession.process.far_side.worker_setup import take_over

        take_over(setup.around)
    _threads = setup.threads
    _forked = setup.forked
    prepare(setup.threads, forked=setup.forked)
    _packed = _initializer = setup.initializer


def _initialize() -> None:
    """Run the user's initializer, once.

    What it raises is kept and becomes the answer to each item: raised here it would break the whole
    executor and say nothing.
    """
    global _initializer, _setup_error
    packed, _initializer = _initializer, b""
    if packed:
        me = os.getpid()
        try:
            run_initializer(packed)
        except BaseException as error:
            if os.getpid() != me:
                end_copy("the initializer", error)
            from procession.pickling.notes import IN_INITIALIZER, add_note

            add_note(error, IN_INITIALIZER)
            _setup_error = error
        if os.getpid() != me:
            end_copy("the initializer")


def run_chunk(shipment: Shipment) -> tuple[list[tuple[Any, ...]], Any, tuple[Any, ...]]:
    """Run one chunk.

    Returns:
        Its replies and its end, as plain tuples; between them a column's results: body, seconds,
        places of the replies, and the rest as in `items.Results`.
    """
    results: Any = None
    if shipment.timeout is not None or shipment.memory_limit is not None:
        replies, end = _run_guarded(shipment)
    else:
        (replies, results), end = _run(shipment), End("done")
        flush_output()
    plain = [tuple(reply._replace(buffers=_plain(reply.buffers))) for reply in replies]
    return plain, results, tuple(end)


def _plain(buffers: Any) -> Sequence[Any]:
    """The ticket of a reply, or what is to be sent instead."""
    if not buffers:
        return ()
    if is_a(buffers, tuple):
        return tuple(buffers)
    from pickle import PickleBuffer

    # From the process that ends with its item's limit: memory of this one, for the way on.
    placed = segments.place([PickleBuffer(buffer) for buffer in buffers], transit=True)
    return [bytearray(buffer) for buffer in buffers] if placed is None else tuple(placed)


def _run_guarded(shipment: Shipment) -> tuple[list[Reply], End]:
    """Run a chunk of one item in a process that can be ended."""
    global _guard
    from procession.buffers.nameless_memory import read_broadcast

    with _guarding:
        if _guard is None:
            _guard = _Guard(_packed, _threads)
        process, number = shipment.key
        job = Job(
            hash((process, number)),
            "",
            lambda: read_broadcast(shipment.header),
            shipment.buffers,
            timeout=shipment.timeout,
            memory_limit=shipment.memory_limit,
        )
        replies, end = _guard.run(job, shipment.items[0])
        return replies, end


def _run(shipment: Shipment) -> tuple[list[Reply], Any]:
    global _heavy, _runner, _runner_of
    if _runner is None or _runner_of != os.getpid():  # a forked worker's is its own
        # An executor of threads runs this in the caller's own process, whose logging is its own.
        apart = os.getpid() != shipment.sender
        if apart:
            mark_worker_process()
        _runner = Runner(out_of_band=shipment.out_of_band, adopts=apart, inherits=_forked)
        _runner_of = os.getpid()  # after it: another thread would take the parent's for its own
        segments.keep_at_most(_IDLE_BYTES)
    _initialize()
    key, header, buffers, items, column = shipment[:5]
    if not _runner.knows(key):
        if _setup_error is not None:
            _runner.refuse(key, _setup_error)
        else:
            from procession.buffers.nameless_memory import read_broadcast

            if buffers and _heavy is not None:
                _runner.forget(_heavy)  # it comes again with its next chunk, if there is one
            _heavy = key if buffers else _heavy
            _runner.learn(key, read_broadcast(header), buffers)
    if column is not None:
        sink = ColumnSink(wants_each=_runner.wants_each(key))
        _runner.run_column(key, *column, sink)
        _, results = sink.collect()
        places = [place for place, _ in results.odd]
        body, rest = pickle.dumps(results.payloads, 5), results[4:]
        return [reply for _, reply in results.odd], (body, results.seconds, places, *rest)
    replies: list[Reply] = []
    _runner.run(key, items, replies.append, _unwatched)
    return replies, None


def _unwatched(index: int) -> bool:
    return True


class _Guard:
    """Runs items, one at a time, in a process that is ended when one passes its limit."""

    def __init__(self, packed: PackedInitializer, threads: Cap | None) -> None:
        from procession.backends.process import ProcessBackend
        from procession.process.pool.worker_starts import WorkerSpec

        # Opened there, as what it takes to unpickle its arguments is limited too.
        initializer, initargs = (run_unpacked, (packed,)) if packed else (None, ())
        spec = WorkerSpec(None, initializer, initargs, threads_per_worker=threads)
        self._backend = ProcessBackend(spec, 1)

    def run(
        self, job: Job, item: tuple[int, int, bytes, tuple[Any, ...]]
    ) -> tuple[list[Reply], End]:
        """Run one item and say how it ended."""
        index, attempt, blob, buffers = item
        heard = _Heard()
        chunk = Chunk(job, [Item(index, None, blob, buffers, attempt)], heard)
        self._backend.start(chunk)
        heard.over.wait()
        return heard.replies, heard.end


class _Heard(OneByOne):
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.end = End("cancelled")
        self.over = Wakeup()

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """Keep the replies, with their buffers in one piece: they travel on."""
        self.replies.extend(replies)

    def ended(self, chunk: Chunk, end: End) -> None:
        """Wake the thread that waits."""
        self.end = end
        self.over.wake()
