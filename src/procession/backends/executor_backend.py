"""Any `concurrent.futures.Executor` as a backend: loky's, the standard library's, the user's own.

An executor tells nothing of what its workers do, and a death takes the whole executor down. So a
death is answered with a new executor and ``End("broken")``: the engine then runs the suspects apart
(`apart`), where a death has only one possible cause.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
)
from functools import cache, partial
from typing import Any
from weakref import WeakKeyDictionary

from procession.backends.executor_far_side import Shipment, run_chunk
from procession.backends.executor_health import refuse_inherited
from procession.backends.executor_lifecycle import ExecutorLife
from procession.backends.executor_makers import make_executor
from procession.backends.pool_choice import packed_initializer, thread_cap
from procession.buffers.housekeeping import housekeeper
from procession.buffers.nameless_memory import BroadcastBytes, Ticket
from procession.configuration import Options
from procession.contract import Chunk, End, Load, PlainBackend, Tally
from procession.errors import PoolClosed
from procession.items import Column, Job, Reply, Results
from procession.pickling.objects import is_a
from procession.pickling.out_of_band import BroadcastBuffers
from procession.process.io.messages import arrived
from procession.process.io.reactor import reactor
from procession.process.pool import at_exit
from procession.system import cpython_processes
from procession.system.cpython import pickle
from procession.system.identity import process_token
from procession.system.limits import explain


@cache
def _lenient(kind: Any) -> Any:
    """A kind of future to which an executor can give an error though it has ended already.

    When `ProcessPoolExecutor` breaks, or loky's is killed, it gives all its calls an error. It
    would die of one that was cancelled (InvalidStateError). The calls behind that one would wait
    for ever.
    """

    def set_exception(self: Future[Any], exception: BaseException | None) -> None:
        with contextlib.suppress(InvalidStateError):
            kind.set_exception(self, exception)

    return type("Future", (kind,), {"set_exception": set_exception})


class ExecutorBackend(PlainBackend):
    """Runs chunks on an executor.

    Args:
        make: Makes the executor, given the number of its workers.
        workers: How many workers it has.
        name: For messages, such as ``"loky"``.
        owned: Whether Procession has made it: then it is made anew when it breaks, and shut down.
        local: Whether its workers are on this machine (large headers then go by shared memory).
    """

    def __init__(
        self,
        make: Callable[[int], Executor],
        workers: int,
        name: str,
        *,
        owned: bool = True,
        local: bool = True,
    ) -> None:
        self._make = make
        self._owned = self.kills = owned  # an executor that is the user's own ends nothing
        self._local = local
        self._life = ExecutorLife(make, workers, name, owned=owned)
        housekeeper.use_clock(reactor.call_later)
        self.workers = workers
        self.kind = name
        self.tally = Tally()
        self._aparts: list[ExecutorBackend] = []
        self._headers: WeakKeyDictionary[Job, Any] = WeakKeyDictionary()
        if owned:
            at_exit.register(self)

    def renew(self) -> None:
        """Start with nothing, in a forked child: the executor is the parent's."""
        self._life.renew()
        self._aparts = []

    @property
    def load(self) -> Load:
        """What its workers do now, as far as what was given to the executor tells."""
        return self._life.load

    @property
    def warm(self) -> bool:
        """Whether a chunk has come back from this executor already."""
        return self._life.warm

    @property
    def at_work(self) -> bool:
        """Whether a chunk is in flight, or its end is being told, or an executor ends."""
        return self._life.at_work

    def start(self, chunk: Chunk) -> None:
        """Submit a chunk.

        Raises:
            PoolClosed: The backend, or the user's executor, was shut down.
        """
        job = chunk.job
        items, column = [], None
        if isinstance(chunk.content, Column):
            column = chunk.content.indexes, chunk.content.body
        else:
            items = [
                (item.index, item.attempt, item.blob, _to_share(item.buffers))
                for item in chunk.content
            ]
        shipment = Shipment(
            (process_token(), job.key),
            self._header(job),
            _to_all(job.buffers),
            items,
            column,
            job.timeout,
            job.memory_limit,
            self._owned and self._local,
            os.getpid(),
        )
        future, executor = self._submit(chunk, shipment)
        if type(future).__module__.startswith(("concurrent.", "loky.")):
            kind: Any = type(future)
            future.__class__ = _lenient(kind)
        chunk.handle = future
        future.add_done_callback(lambda done: self._done(chunk, executor, done))

    def _submit(self, chunk: Chunk, shipment: Shipment) -> tuple[Future[Any], Executor]:
        try:
            return self._try_to_submit(chunk, shipment)
        except BaseException:
            self._life.forget(chunk)
            raise

    def _try_to_submit(self, chunk: Chunk, shipment: Shipment) -> tuple[Future[Any], Executor]:
        closed: BaseException | None = None
        for _ in range(3):
            executor = self._life.take(chunk)
            if not self._owned:
                refuse_inherited(executor)
            try:
                future = executor.submit(run_chunk, shipment)
            except Exception as error:
                self._life.drop(executor)
                # As it breaks, CPython's may fail to start a worker, with any error.
                if isinstance(error, BrokenExecutor) or cpython_processes.is_broken(executor):
                    if not self._owned:
                        raise
                    continue
                if not isinstance(error, RuntimeError):
                    if self._owned:
                        explain(error, starting=True)
                    raise
                if not self._owned:
                    raise PoolClosed(
                        f"the executor given as backend= ({type(executor).__name__}) takes no "
                        f"more work: {error}. Give one that is open, or backend='process'."
                    ) from error
                closed = error
            else:
                if self._owned:
                    at_exit.before_executors(self, self.kind)
                return future, executor
        raise PoolClosed(f"the {self.kind} pool takes no more work: {closed}") from closed

    def _header(self, job: Job) -> Any:
        if not self._local:
            return job.header
        header = self._headers.get(job)
        if header is None:
            header = self._headers[job] = BroadcastBytes(job.header)
        return header.ticket

    def retire(self) -> None:
        """Have the workers end as soon as they are idle; a map that goes on is given new ones."""
        self._life.retire()

    # -- what comes back ---------------------------------------------------------------------

    def _done(self, chunk: Chunk, executor: Executor, future: Future[Any]) -> None:
        """In the executor's own thread, perhaps under its lock: touch that executor no more."""
        # Not raised here: a traceback through the executor's thread would keep its semaphores.
        error = CancelledError() if future.cancelled() else future.exception()
        alone = self._life.came_back(chunk, executor, error)
        chunk.handle = None  # it and its callback hold each other, and the executor
        try:
            if error is None:
                self._answered(chunk, *future.result())
            else:
                if isinstance(error, BrokenExecutor):
                    self._life.drop(executor)
                chunk.listener.ended(chunk, self._failed(chunk, alone, error))
        finally:
            self._life.told()

    def _answered(self, chunk: Chunk, replied: Any, packed: Any, ended: Any) -> None:
        replies = [arrived(Reply(*fields)) for fields in replied]
        if packed is not None:
            body, seconds, places, *rest = packed
            odd = list(zip(places, replies, strict=True))
            results = Results(pickle.loads(body), seconds, len(body), odd, *rest)
            chunk.listener.returned(chunk, 0, results)
        elif replies:
            _let_go(chunk, replies)
            chunk.listener.replied(chunk, replies)
        chunk.listener.ended(chunk, End(*ended))

    def _failed(self, chunk: Chunk, alone: bool, error: BaseException) -> End:
        # If it was killed here, no item is to blame, and nothing to be run again.
        if self._life.killed or isinstance(error, CancelledError):
            return End("cancelled")
        if isinstance(error, BrokenExecutor):
            return self._broken(chunk, alone, error)
        return End("refused", error=error)

    def _broken(self, chunk: Chunk, alone: bool, error: BaseException) -> End:
        if not self._owned:
            error.add_note(
                f"Procession cannot make a new {self.kind} for you: write backend='process' for "
                "a pool in which a death costs only the item that caused it."
            )
            return End("refused", error=error)
        exitcode = self._life.exit_code()
        if alone and len(chunk) == 1 and self.workers == 1:
            return End("died", chunk.index(0), exitcode)
        return End("broken", exitcode=exitcode, error=error)

    def cancel(self, chunk: Chunk) -> bool:
        """Take the chunk back if it has not started; an executor cannot end what runs."""
        future = chunk.handle
        return future is not None and future.cancel()

    def abandon(self, chunks: Sequence[Chunk]) -> None:
        """Take back what has not started; end what runs if the executor runs nothing else.

        Its workers are killed then, and the next chunk starts new ones.
        """
        if any(self.running(chunk) for chunk in chunks) and self._life.end_for(set(chunks)):
            return
        unwanted = {chunk for chunk in chunks if not self.cancel(chunk)}
        if unwanted:
            self._life.end_for(unwanted)

    def drop_abandoned(self) -> None:
        """End the maps that will not be read: their listener is ``abandoned``.

        The maps, not their chunks: a map that goes on would send the next chunk to a new executor.
        """
        in_flight = list(self._life.in_flight)
        listeners: dict[int, Any] = {id(c.listener): c.listener for c in in_flight}
        for listener in listeners.values():
            if getattr(listener, "abandoned", False):
                listener.cancel()

    def running(self, chunk: Chunk) -> bool:
        """Whether the executor says that the chunk has started."""
        future = chunk.handle
        return future is not None and not future.done() and future.running()

    def apart(self) -> ExecutorBackend:
        """A new executor of the same kind with one worker."""
        apart = ExecutorBackend(self._make, 1, self.kind, local=self._local)
        apart.tally = self.tally  # what runs there is this pool's work
        aparts = [each for each in self._aparts if not each._life.closed or each.at_work]
        self._aparts = [*aparts, apart]
        return apart

    def close(self, *, wait: bool = True, kill: bool = False) -> None:
        """Shut the executor down, unless it is the user's own."""
        self._life.close(wait=wait, kill=kill)
        for apart in list(self._aparts) if kill else ():
            apart.close(wait=wait, kill=True)
        if wait:
            for each in (self, *self._aparts):
                each._life.join()


def _to_all(buffers: Any) -> Any:
    """What is sent of a job's large buffers: their ticket, or the bytes themselves."""
    if not isinstance(buffers, BroadcastBuffers):
        return ()
    sent = buffers.sendable()
    return tuple(sent) if is_a(sent, tuple) else sent


def _to_share(buffers: Sequence[Any]) -> tuple[Any, ...]:
    """An item's ticket, such that its memory stays as it is: a broken executor runs it again."""
    return tuple(Ticket(*buffers)._replace(private=True)) if buffers else ()


def _let_go(chunk: Chunk, replies: Sequence[Reply]) -> None:
    """Items that have results are not sent again: their shared memory is free for others."""
    done = {reply.index for reply in replies if reply.ok}
    for item in chunk.items:
        if item.buffers and item.index in done:
            item.buffers = ()


def executor_backend(options: Options) -> ExecutorBackend:
    """The backend for ``backend="loky"``, ``"stdlib"`` or an executor instance."""
    backend = options.backend
    if isinstance(backend, str):
        make = partial(make_executor, options, packed_initializer(options), thread_cap(options))
        return ExecutorBackend(make, options.workers, backend)
    assert isinstance(backend, Executor)
    workers = getattr(backend, "_max_workers", None) or options.workers
    local = type(backend).__module__.startswith(("concurrent.", "loky.", "procession."))
    name = type(backend).__name__
    return ExecutorBackend(lambda _: backend, workers, name, owned=False, local=local)
