"""Short calls that wait together go to a worker in one message, each still a call of its own.

The first one is the worker's chunk; the others stand behind it. If the worker does not get to them
soon, they are taken back, and wait again for any worker: none is kept by a neighbour that takes
long, or that waits for it.

The worker is not asked. It writes down the number of each call before it runs it, and looks then
whether that was taken back. The pool writes down what it takes back, and looks some milliseconds
later which number the worker has reached. By then each of both has seen what the other had written
before. So a call has begun and is seen here, or will not begin, however busy the worker is. One
that it finds taken back just as it begins it, it gives back by a message (`UNRUN`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from procession.hints import Any
from procession.process.io.reactor import reactor
from procession.process.pool.assignment import Assignment
from procession.process.pool.pool_state import PoolState
from procession.process.pool.worker import Worker
from procession.system.pristine import time

_EVERY = 0.002
"""Seconds between two looks at calls behind others. A guess; memory that two processes share tells
both the same within microseconds."""

_PATIENCE = 2
"""Looks after which those that are left are taken back, and after which it is known which."""


class CallsBehind:
    """Looks after the calls of one pool that stand behind others.

    Args:
        lock: The pool's.
        state: Its state.
        act: Does what the state asks for.
        end: Kills the worker of a call that was cancelled.
    """

    def __init__(
        self,
        lock: Any,
        state: PoolState[Worker],
        act: Callable[[Sequence[tuple[Worker, Assignment | None]]], None],
        end: Callable[[Assignment], object],
    ) -> None:
        self._lock = lock
        self._state = state
        self._act = act
        self._end = end
        self._timer: Any = None

    def watch(self) -> None:
        """Calls stand behind others: look after them."""
        if self._timer is None:
            with self._lock:
                if self._timer is None:
                    self._timer = reactor.call_later(_EVERY, self._look)

    def cancel(self, assignment: Assignment) -> bool:
        """Take back a call that stands behind another one. Whether it does."""
        with self._lock:
            found = self._state.cancel_behind(assignment)
            if found:
                self._take_back(assignment.worker, assignment.number - 1)
        if found:
            self.watch()
        return found

    def defer_kill(self, assignment: Assignment) -> bool:
        """A call is to be ended by its worker's death: not before those behind it are taken back.

        Whether there are such.
        """
        with self._lock:
            worker = assignment.worker
            if worker is None or worker.assignment is not assignment or not worker.behind:
                return False
            if self._state.defer_kill(assignment):
                self._take_back(worker, assignment.number)
        self.watch()
        return True

    def _take_back(self, worker: Worker, after: int) -> None:
        worker.take_back(worker.box.take_back(after, worker.chunks))

    def _look(self) -> None:
        kept: list[Worker] = []
        doomed: list[Assignment] = []
        with self._lock:
            more = False
            for worker in tuple(self._state.workers):
                present = worker.assignment
                if present is None or not worker.up:
                    continue
                if worker.behind or worker.back is not None:
                    more = True
                    if present.sent and worker.look() >= _PATIENCE:
                        kept.append(worker)
                        self._settle(worker, present)
                if present.verdict is not None and not worker.behind:
                    doomed.append(present)
            given = self._state.match()
            self._timer = reactor.call_later(_EVERY, self._look) if more else None
        for worker in kept:
            worker.channel.read_kept()
        for assignment in doomed:
            self._end(assignment)
        self._act(given)

    def _settle(self, worker: Worker, present: Assignment) -> None:
        begun = worker.box.begun()
        if worker.back is None:
            self._take_back(worker, max(begun, present.number))
            return
        last = max(begun, worker.back)
        if present.number > last:  # the one before it has ended meanwhile
            self._state.unbegun(worker, time.monotonic())
        else:
            self._state.return_calls(worker.give_back(last))
