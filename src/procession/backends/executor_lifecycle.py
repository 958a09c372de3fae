"""The life of an executor: made when it is needed, anew when it broke, watched, and ended.

When a worker dies, the whole executor breaks. It is let go then, and the next chunk has a new one
made. The same is done with one that waits for ever for a dead worker. It is done if nothing that it
runs is wanted, and if it is idle while its workers are to be replaced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, InvalidStateError
from functools import partial
from weakref import WeakKeyDictionary

from procession.backends.executor_health import Ending, Watch, exit_code, listed
from procession.contract import Chunk, Load
from procession.errors import PoolClosed
from procession.hints import Any
from procession.process.pool import at_exit
from procession.system import after_fork, cpython_processes, lifeline

_inherited: list[Any] = []
"""Executors of a forked child's parent. Letting them go would wake the parent's threads."""


class ExecutorLife:
    """One executor after another, and what they have in flight.

    Args:
        make: Makes the executor, given the number of its workers.
        workers: How many workers it has.
        name: For messages, such as ``"loky"``.
        owned: Whether Procession has made it: then it is made anew when it breaks, and shut down.

    Attributes:
        in_flight: Chunks that are not over, each with the executor that it was given to.
        closed: Whether no more chunks are taken.
        killed: Whether those in flight were ended for that.
        warm: Whether a chunk has come back from this executor already.
    """

    def __init__(
        self, make: Callable[[int], Executor], workers: int, name: str, *, owned: bool
    ) -> None:
        self._make = make
        self._workers = workers
        self._name = name
        self._owned = owned
        self._lock = after_fork.lock()
        self._executor: Executor | None = None
        self._processes: Any = None
        self._holds = False  # the lifeline
        self._started = 0
        self._telling = 0
        self._retiring = False
        self._watched = False
        self._endings: list[Ending] = []
        self._lost: WeakKeyDictionary[Executor, int] = WeakKeyDictionary()
        self.in_flight: dict[Chunk, Executor] = {}
        self.closed = self.killed = self.warm = False

    def renew(self) -> None:
        """Start with nothing, in a forked child: the executor is the parent's."""
        _inherited.append(self._executor)
        self._executor = self._processes = None
        self.warm = self._holds = self._watched = False
        self.in_flight, self._endings, self._telling = {}, [], 0

    @property
    def load(self) -> Load:
        """What its workers do now, as far as what was given to the executor tells."""
        given, processes = len(self.in_flight), len(listed(self._processes))
        there = processes or (self._workers if self._executor is not None else 0)
        busy = min(given, there)
        return Load(there, busy, given - busy, self._started)

    @property
    def at_work(self) -> bool:
        """Whether a chunk is in flight, or its end is being told, or an executor ends."""
        if self.in_flight or self._telling:
            return True
        return any(ending.running for ending in list(self._endings))

    # -- chunks --------------------------------------------------------------------------------

    def take(self, chunk: Chunk) -> Executor:
        """The executor for a chunk, which from here on is not to be ended as idle.

        Raises:
            PoolClosed: It was shut down.
        """
        with self._lock:
            if self.closed:
                raise PoolClosed(f"the {self._name} pool was shut down")
            if self._executor is None:
                if self._owned and not self._holds:
                    lifeline.acquire()
                    self._holds = True
                self._executor = self._make(self._workers)
                self._started += self._workers
                self._processes = cpython_processes.executor_processes(self._executor)
                self.warm = False
            self.in_flight[chunk] = self._executor
            if not self._watched and self._processes is not None:
                self._watched = True
                Watch(self._at_risk, self._rescue).go_on()
            return self._executor

    def forget(self, chunk: Chunk) -> None:
        """The chunk could not be submitted."""
        with self._lock:
            self.in_flight.pop(chunk, None)

    def came_back(self, chunk: Chunk, executor: Executor, error: BaseException | None) -> bool:
        """The chunk is over, and its end is to be told. Whether it alone was in what broke."""
        with self._lock:
            alone = isinstance(error, BrokenExecutor) and self._chunks_at_break(executor) == 1
            self.in_flight.pop(chunk, None)
            self._telling += 1
            self.warm = self.warm or error is None
        return alone

    def _chunks_at_break(self, executor: Executor) -> int:
        """How many a broken executor had: all of them fail, one after the other. Under the lock."""
        left = sum(1 for each in self.in_flight.values() if each is executor)
        return self._lost.setdefault(executor, left)

    def told(self) -> None:
        """The end of a chunk was told."""
        with self._lock:
            self._telling -= 1
        if self._retiring:
            self._end_if_idle()

    def exit_code(self) -> int | None:
        """The exit code of the worker that broke the executor."""
        return exit_code(self._processes)

    # -- its end -------------------------------------------------------------------------------

    def drop(self, executor: Executor, *, kill: bool = False) -> None:
        """Make a new executor next time; let this one go in a thread that holds no lock."""
        with self._lock:
            if self._executor is not executor:
                return
            self._executor = None
            processes = self._processes
        if self._owned:
            lost = partial(self._fail_what_is_left, executor)
            self._end_aside(Ending(executor, processes, False, self._name, kill=kill, lost=lost))

    def _fail_what_is_left(self, executor: Executor) -> None:
        """End the calls that an executor will not: it took them as it broke, or waits for ever."""
        with self._lock:
            left = [chunk.handle for chunk, where in self.in_flight.items() if where is executor]
        error = BrokenExecutor(f"a worker of {type(executor).__name__} died")
        for future in left:
            if future is not None:
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(error)

    def _at_risk(self) -> tuple[Executor, Any] | None:
        """The executor that has something to do, and its workers; with `None` the watch ends."""
        with self._lock:
            if self._executor is not None and self.in_flight:
                return self._executor, self._processes
            self._watched = False
            return None

    def _rescue(self, executor: Executor) -> None:
        """End an executor that waits for ever, or fail the calls that the user's own will not."""
        if self._owned:
            self.drop(executor, kill=True)
        else:
            self._fail_what_is_left(executor)

    def retire(self) -> None:
        """Have the workers end as soon as they are idle; a map that goes on is given new ones."""
        self._retiring = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        with self._lock:
            executor = self._executor
            if executor is None or self.in_flight or not self._owned:
                return
            self._executor = None
            held, self._holds = self._holds, False
            processes, self._processes = self._processes, None
        self._end_aside(Ending(executor, processes, held, self._name, kill=False))

    def end_for(self, unwanted: set[Chunk]) -> bool:
        """Kill the executor if it runs nothing but unwanted chunks. Whether it was."""
        with self._lock:
            executor = self._executor
            here = {chunk for chunk, where in self.in_flight.items() if where is executor}
            if not self._owned or executor is None or not here or here - unwanted:
                return False
            self.drop(executor, kill=True)
        return True

    def close(self, *, wait: bool, kill: bool) -> None:
        """Shut the executor down, unless it is the user's own; `join` waits for what was begun."""
        with self._lock:
            self.closed = True
            self.killed = self.killed or kill
            busy = bool(self.in_flight)  # idle ones end in order
            executor, self._executor = self._executor, None
            held, self._holds = self._holds, False
            processes, self._processes = self._processes, None
            end = None
            if executor is not None and self._owned:
                end = Ending(executor, processes, held, self._name, kill=kill and busy)
                if not (wait or at_exit.has_ended()):
                    self._end_aside(end)  # under the lock, so that another `close` waits for it
                    end = None
            elif held:
                lifeline.release()
        if end is not None:
            end()

    def join(self) -> None:
        """Wait for the executors that end in threads."""
        for ending in list(self._endings):
            ending.join()

    def _end_aside(self, end: Ending) -> None:
        """End an executor in a thread of its own: the caller may be the executor's, or hold a lock.

        `join` waits for it, and so does the program's end.
        """
        with self._lock:
            self._endings = [each for each in self._endings if each.running]
            self._endings.append(end)
        end.start()
