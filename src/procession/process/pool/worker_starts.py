"""Starting workers for a pool: as many as chunks wait, in a helper thread, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from procession.pickling.packed_initializer import Packed, pack_initializer
from procession.process.io.reactor import reactor
from procession.process.pool.launching import launch_worker
from procession.process.pool.replies import welcome
from procession.process.pool.worker import Worker
from procession.process.start.worker_spec import WorkerSpec
from procession.system.alarm import short_turns
from procession.system.limits import explain
from procession.system.pristine import perf_counter, start_new_thread

if TYPE_CHECKING:
    from procession.process.pool.worker_pool import WorkerPool

__all__ = ["Hiring"]

_TRIES = 3
"""Workers that may die before they are ready, or cannot be started, one after the other, until
waiting work is refused. A guess: once may be the kernel, twice bad luck."""


class Hiring:
    """Decides how many workers to start, and starts them. Its state is guarded by the pool's lock.

    Args:
        pool: For whom.
        spec: What they are.
    """

    def __init__(self, pool: WorkerPool, spec: WorkerSpec) -> None:
        self._pool = pool
        self._spec = spec
        self._initializer: Packed | None = None
        self.renew()

    def renew(self) -> None:
        """Forget what was begun, in a forked child."""
        self._orders = 0
        self._begun = 0
        self._failures = 0
        self._held: _Hold | None = None

    @property
    def count(self) -> int:
        """How many workers are about to come."""
        return self._orders + self._begun

    # -- under the pool's lock -----------------------------------------------------------------

    def look(self) -> None:
        """Order workers for the chunks that wait; `act` starts them."""
        pool = self._pool
        living = ready = 0
        for worker in pool.workers:
            if not worker.stopping:
                living += 1
                ready += worker.ready
        if self._failures >= _TRIES and ready:
            return  # those that are up do the work
        starting = living - ready + self.count
        wanted = min(len(pool.queue) - starting, pool.size - living - self.count)
        if wanted > 0:
            self._orders += wanted

    def spare(self) -> None:
        """Order the worker that waits for the next call, after a first one."""
        pool = self._pool
        if not pool.single_use or pool.queue or self.count or pool.closed:
            return
        if not any(worker.ticket is None and not worker.stopping for worker in pool.workers):
            self._orders += 1

    def succeeded(self) -> None:
        """A worker is ready."""
        self._failures = 0

    def failed(self, worker: Worker, code: int | None) -> Callable[[], BaseException] | None:
        """A worker has ended before it was ready. Why waiting chunks are to be refused, if so.

        It is told by a function, as to rebuild what an initializer raised runs code of the user's.
        """
        if worker.stopping:
            return None
        self._failures += 1
        if any(each.ready and not each.stopping for each in self._pool.workers):
            return None
        if worker.failure is not None:
            from procession.exceptions.transport import load_exception

            return partial(load_exception, worker.failure)
        if self._failures < _TRIES:
            return None
        error = _never_ready(worker, code)
        return lambda: error

    # -- without it ------------------------------------------------------------------------------

    def hire(self, workers: int) -> None:
        """Order so many workers, and start them."""
        if workers > 0:
            with self._pool.lock:
                self._orders += workers
            self.act()

    def act(self) -> None:
        """Start what was ordered."""
        if not self._orders:
            return
        held = _Hold()
        try:
            with self._pool.lock:
                if not self._orders or self._held is not None:
                    return
                self._held = held
            reactor.hold()
            try:
                # No `threading.Thread`: Ctrl-C in its `start` can leave the new thread waiting for
                # a lock of the one that starts it, or known to Python without ever running.
                start_new_thread(self._work, (held,))
            except RuntimeError:  # the interpreter is ending, or the system has no thread left
                self._work(held)
        except BaseException as error:
            if held.take():  # it does not run, and will not
                if self._held is held:
                    self._held = None
                    held.release()
                if not isinstance(error, Exception):  # Ctrl-C, but others may wait for a worker
                    reactor.call_soon(self.act)
            raise

    def _work(self, held: _Hold) -> None:
        if not held.take():
            return
        pool = self._pool
        while True:
            with pool.lock:
                if not self._orders or (pool.closed and not pool.queue):
                    self._orders = 0
                    self._held = None
                    pool.gone.wake()
                    break
                self._orders -= 1
                self._begun += 1
            worker: Worker | None = None
            error: BaseException | None = None
            since = perf_counter()
            try:
                spare = pool.single_use and not pool.queue  # nobody waits: there is time
                with short_turns:
                    worker = launch_worker(self._spec, self._packed(), rehearse=spare)
                worker.since = since
                welcome(pool, worker)
            except BaseException as raised:
                error = raised
                if worker is not None:
                    worker.kill()
            with pool.lock:
                self._begun -= 1
                if error is not None:
                    self._failures += 1
                    if isinstance(error, (OSError, EOFError)) and self._failures < _TRIES:
                        self._orders += 1  # the fork server may have died amid the request
                        error = None
                pool.gone.wake()
            if error is not None:
                explain(error, starting=True)
                pool.refuse(error)
        held.release()

    def _packed(self) -> Packed:
        if self._initializer is None:
            self._initializer = pack_initializer(self._spec.initializer, self._spec.initargs)
        return self._initializer


class _Hold:
    """Is taken once, by the thread that is to work or by who could not start it; that one lets the
    reactor go when it is done."""

    def __init__(self) -> None:
        self._free = [True]
        self._left = [reactor.release]

    def take(self) -> bool:
        """Whether nobody has taken it before."""
        try:
            return self._free.pop()
        except IndexError:
            return False

    def release(self) -> None:
        """The thread has done its work, or never began."""
        try:
            release = self._left.pop()
        except IndexError:
            return
        release()


def _never_ready(worker: Worker, code: int | None) -> BaseException:
    import signal

    try:
        from procession.errors import WorkerDied
    except ImportError as error:  # after a chroot, or as a user who may not read our modules
        explain(error, starting=True)
        return error
    name = None
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
    how = f"killed by {name}" if name else f"exit code {code}"
    report = worker.box.report()
    return WorkerDied(
        f"{_TRIES} workers in a row ended before they were ready ({how}), so no work was started. "
        f"Look at what runs when a worker starts: the initializer, sitecustomize, .pth files; and "
        "at what was printed to stderr." + (f"\n{report}" if report else ""),
        exitcode=code,
        signal=name,
        stack=report,
    )
