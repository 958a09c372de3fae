"""The pool of worker processes: what callers ask of it, chunk by chunk.

How far a chunk came, and with which worker, is its `Assignment`: the chunk's handle.

Nothing is shared between the processes but each worker's own channel, so a worker that dies at any
instant harms no other. Who runs what is decided in `procession.process.pool.pool_state`.
"""

from __future__ import annotations

from collections.abc import Sequence

from procession.contract import Chunk, End, Load
from procession.errors import PoolClosed
from procession.hints import Any
from procession.process.io.reactor import reactor
from procession.process.pool import at_exit
from procession.process.pool.assignment import Assignment
from procession.process.pool.dispatch import Dispatch
from procession.process.pool.pool_state import PoolState
from procession.process.pool.worker import Worker
from procession.process.pool.worker_events import abandoned, welcome
from procession.process.pool.worker_starts import WorkerSpec
from procession.system import lifeline
from procession.system.pristine import time

IDLE = 30.0
"""Seconds after which a worker without work is let go. A guess: longer than most pauses between
two calls of one program, short against the life of a server."""


_CANCELLED = End("cancelled")


class WorkerPool:
    """A pool of worker processes.

    Args:
        spec: What the workers are.
        workers: How many may run chunks at once.
        idle: Seconds after which a worker without work ends.
        single_use: Use each worker for one chunk only, and keep one more warm after the first.
    """

    is_pool = True

    def __init__(
        self, spec: WorkerSpec, workers: int, *, idle: float = IDLE, single_use: bool = False
    ) -> None:
        self.spec = spec
        self.workers = workers
        self._dispatch = Dispatch(spec, workers, idle=idle, single_use=single_use, welcome=welcome)
        reactor.serve(self)
        at_exit.register(self)

    def renew(self) -> None:
        """In a forked child, whose workers these are not: start with nothing."""
        self._dispatch.renew()
        reactor.serve(self)

    @property
    def state(self) -> PoolState[Worker]:
        """Who runs what, for those who look."""
        return self._dispatch.state

    @property
    def load(self) -> Load:
        """What the workers do now."""
        return self._dispatch.state.load

    @property
    def warm(self) -> bool:
        """Whether a worker is up."""
        return self._dispatch.state.warm

    @property
    def at_work(self) -> bool:
        """Whether a chunk runs or waits, or may still be told how its worker died."""
        return self._dispatch.state.at_work

    # -- chunks --------------------------------------------------------------------------------

    def start(self, chunk: Chunk, ahead: int = 0) -> None:
        """Run a chunk as soon as a worker is free.

        Args:
            chunk: The chunk.
            ahead: How many values its generator may be ahead; 0 if it is an ordinary chunk.

        Raises:
            PoolClosed: The pool was closed.
        """
        if lifeline.broken():
            reactor.lose()
        since = 0.0 if chunk.job.timeout is None else time.monotonic()
        assignment = chunk.handle = Assignment(chunk, ahead, since)
        dispatch, worker = self._dispatch, None
        state = dispatch.state
        try:
            with dispatch.lock:
                if state.closed:
                    raise PoolClosed(
                        f"{chunk.job.name}() cannot start: its pool was shut down. Make a new one, "
                        "or shut it down after the last call."
                    )
                worker = state.take(assignment)
                if worker is None and not chunk.job.limited and state.wait_on(assignment):
                    return
                given = [] if worker is not None else state.match(assignment)
            if worker is not None:
                dispatch.send(worker, assignment)
                return
            if given or state.orders:
                dispatch.hand_out(given)
            if state.queue:
                dispatch.read_on()
            if assignment.worker is None:
                dispatch.hurry()
                job = chunk.job
                if job.timeout is not None or job.memory_limit is not None:
                    dispatch.look_at_starts()
        except PoolClosed:
            raise
        except BaseException:
            self._cancel(assignment)  # interrupted half-way: who started it never learns of it
            raise

    def cancel(self, chunk: Chunk) -> bool:
        """End a chunk: take it back, or kill its worker.

        True if nothing more comes from it but ``End("cancelled")``.
        """
        assignment = chunk.handle
        return assignment is not None and self._cancel(assignment)

    def _cancel(self, assignment: Assignment) -> bool:
        dispatch = self._dispatch
        try:
            with dispatch.lock:
                waited = dispatch.state.withdraw(assignment)
            if waited:
                self._take_back(assignment)
                return True
        except Exception:
            raise
        except BaseException:  # Ctrl-C
            if assignment.over and assignment.worker is None:
                reactor.call_soon(lambda: self._take_back(assignment))
            raise
        return dispatch.behind.cancel(assignment) or dispatch.condemn(assignment, "cancelled")

    def stop(self, chunk: Chunk, *, wanted: bool) -> None:
        """Run nothing more of a chunk after the item that runs.

        If that is not `wanted`, it is killed when it goes on.
        """
        self._stop((chunk,), wanted=wanted)

    def abandon(self, chunks: Sequence[Chunk]) -> None:
        """Stop chunks that are no longer wanted: their workers live on."""
        self._stop(chunks, wanted=False)

    def _stop(self, chunks: Sequence[Chunk], *, wanted: bool) -> None:
        assignments = [each for chunk in chunks if (each := chunk.handle) is not None]
        dispatch, state = self._dispatch, self._dispatch.state
        with dispatch.lock:  # first those that wait: workers are not in a hurry for them
            waited = [each for each in assignments if state.withdraw(each)]
        for assignment in waited:
            self._take_back(assignment, End("stopped"))
        for assignment in assignments:
            dispatch.stop(assignment, wanted=wanted)

    def reached(self, chunk: Chunk) -> int:
        """How many of its items were begun before the last one that was; 0 if it is not known."""
        assignment, worker = _worker_of(chunk)
        return 0 if worker is None else worker.reached(assignment)

    def divide(self, chunk: Chunk, position: int) -> bool:
        """Have a chunk end before this position. Whether it is certain that it does."""
        assignment, worker = _worker_of(chunk)
        if worker is None or assignment.unwanted or chunk.job.limited:
            return False
        with self._dispatch.lock:
            present = assignment.verdict is None and worker.assignment is assignment
            return present and worker.divide(assignment, position)

    def _take_back(self, assignment: Assignment, end: End = _CANCELLED) -> None:
        dispatch = self._dispatch
        with dispatch.lock:
            dispatch.state.drop(assignment)
            dispatch.gone.wake()
        assignment.chunk.listener.ended(assignment.chunk, end)

    def running(self, chunk: Chunk) -> bool:
        """Whether a worker has begun with the chunk, or is about to."""
        assignment, worker = _worker_of(chunk)
        return worker is not None and not assignment.over and worker.assignment is assignment

    def attend(self, chunk: Chunk, timeout: float | None = None) -> None:
        """Wait for a chunk by reading its worker's channel in this thread.

        Returns when the chunk is over, when `timeout` seconds have passed, or at once if it waits
        for a worker or another thread reads already. Its listener is told by the thread that reads.
        """
        assignment, worker = _worker_of(chunk)
        if worker is not None:
            worker.channel.attend(assignment, timeout)

    def notice(self, chunk: Chunk) -> None:
        """Read what comes for a chunk to which no thread is known to `attend` any more."""
        assignment, worker = _worker_of(chunk)
        if worker is not None and assignment.sent and not assignment.over and worker.channel.left:
            worker.channel.arm()

    def say(self, chunk: Chunk, *message: object) -> None:
        """Send the chunk's worker a small message, as long as it runs it."""
        _, worker = _worker_of(chunk)
        if worker is not None and not worker.channel.ended:
            worker.channel.say(*message)

    def hand_over(self, thread: int) -> None:
        """Have the reactor read what this thread was reading: a signal handler keeps it."""
        for worker in tuple(self._dispatch.state.workers):
            worker.channel.hand_over(thread)

    def drop_abandoned(self) -> None:
        """End the chunks whose listener has an attribute ``abandoned`` that is true."""
        state = self._dispatch.state
        with self._dispatch.lock:
            running = [worker.assignment for worker in state.workers]
            assignments = [*state.queue, *(each for each in running if each is not None)]
        for assignment in assignments:
            if getattr(assignment.chunk.listener, "abandoned", False):
                self._cancel(assignment)

    # -- workers -------------------------------------------------------------------------------

    def retire(self) -> None:
        """Let workers go as soon as they are idle."""
        self._dispatch.retire()

    def fail(self, error: BaseException) -> None:
        """The reactor's thread has died."""
        abandoned(self._dispatch, error)

    def close(self, *, wait: bool = True, kill: bool = False) -> None:
        """Take no more chunks. ``kill`` ends those in flight; ``wait`` returns when all is gone.

        Idle workers end in order in any case: their exit handlers run.
        """
        dispatch = self._dispatch
        with dispatch.lock:
            killed, dropped = dispatch.state.close(kill=kill)
            given = dispatch.state.match()
        for worker in killed:
            worker.kill()
        dispatch.hand_out(given)
        for assignment in dropped:
            assignment.chunk.listener.ended(assignment.chunk, End("cancelled"))
        if wait and not reactor.here:
            self._wait_for_end()

    def _wait_for_end(self) -> None:
        dispatch = self._dispatch
        while True:
            with dispatch.lock:
                if dispatch.state.empty:
                    return
                wakeup = dispatch.gone.add()
            wakeup.wait()


def _worker_of(chunk: Chunk) -> tuple[Any, Worker | None]:
    """How far a chunk came, and the worker that it was given to, if there is one."""
    assignment: Assignment | None = chunk.handle
    return assignment, None if assignment is None else assignment.worker
