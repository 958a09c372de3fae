"""A process of its own for each call: the same workers as the pool's, each used once.

After the first call one worker is kept warm, so that the next call does not wait for a start. It
has imported the function's module already. There is at most one for each `WorkerSpec` (so for each
module, as `isolated_spec` puts the module into it), and it goes after ten idle seconds.

`IsolatedStream` is for generator functions: the process sends values as they are produced, at most
`AHEAD` ahead of who takes them, and is killed when its consumer is closed or forgotten.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence

from procession.backends.process import ProcessBackend
from procession.contract import Chunk, End, Item, Job, Reply
from procession.process.io import messages
from procession.process.io.reactor import reactor
from procession.process.pool.assignment import Ticket
from procession.process.start.worker_spec import WorkerSpec
from procession.system import after_fork
from procession.system.pristine import time
from procession.system.wakeup import Wakeups
from procession.user_threads import teller

__all__ = ["AHEAD", "SPARE", "IsolatedBackend", "IsolatedStream", "isolated_spec"]

SPARE = 10.0
"""Seconds that a spare worker waits for a call. A guess."""

AHEAD = 16
"""Values that a generator may be ahead of its consumer. A guess: enough to hide a message's way."""


def isolated_spec(spec: WorkerSpec, module: str | None) -> WorkerSpec:
    """The spec whose spare has imported the function's module (``__main__`` goes by value)."""
    if module is None or module == "__main__":
        return spec
    return spec._replace(preload=(*spec.preload, module))


class IsolatedBackend(ProcessBackend):
    """Runs every chunk, which must have one item, in a process of its own.

    Args:
        spec: What shapes the processes; see `isolated_spec`.
        workers: How many may run at once.
        idle: Seconds that a spare one is kept.
    """

    def __init__(self, spec: WorkerSpec, workers: int, *, idle: float = SPARE) -> None:
        super().__init__(spec, workers, idle=idle, single_use=True)

    def stream(self, job: Job, item: Item, ahead: int = AHEAD) -> IsolatedStream:
        """Run a call of a generator function; its values come one by one.

        Args:
            job: The job; its function returns an iterator.
            item: The call.
            ahead: Values that it may produce before one is taken.

        Raises:
            PoolClosed: The backend was closed.
        """
        return IsolatedStream(self, job, item, ahead)


class IsolatedStream:
    """What a generator in another process yields, as `Reply` objects; then its `End`.

    A reply with ``ok`` false is the exception that the generator raised; its end follows. The job's
    timeout is for the whole call, from its start to the last value.

    Args:
        backend: Where it runs.
        job: The job.
        item: The call.
        ahead: Values that it may produce before one is taken.
    """

    def __init__(self, backend: IsolatedBackend, job: Job, item: Item, ahead: int) -> None:
        self._flow = _Flow(max(1, ahead))
        chunk = Chunk(job, [item], self._flow)
        pool = backend._pool
        backend.pack(job)
        self._ticket = pool.start(chunk, ahead=max(1, ahead))
        self._finalizer = weakref.finalize(self, _forget, self._ticket)
        self._finalizer.atexit = False
        after_fork.register(self)

    def take(self, timeout: float | None = None) -> Reply | End:
        """The next value, waiting for it; the `End` once there are no more, again and again.

        Raises:
            TimeoutError: Nothing came in `timeout` seconds.
        """
        flow = self._flow
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with flow.changed:
                found = self._next()
                if found is not None:
                    break
                wakeup = flow.wakeups.add()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("no value came in time")
            wakeup.wait(left)
        self._credit()
        return found

    def take_nowait(self) -> Reply | End | None:
        """Like `take`; `None` if nothing is there yet."""
        with self._flow.changed:
            found = self._next()
        self._credit()
        return found

    def subscribe(self, call: Callable[[], None] | None) -> None:
        """Have `call` called, in a teller's thread, when something has come.

        It is called at once if something is there. For event loops:
        ``stream.subscribe(lambda: loop.call_soon_threadsafe(event.set))``.
        """
        flow = self._flow
        with flow.changed:
            flow.subscriber = call
            there = bool(flow.replies) or flow.end is not None
        if there and call is not None:
            teller.tell(call)

    def close(self) -> None:
        """End the process if it still runs; what was not taken is dropped."""
        self._finalizer.detach()
        self._ticket.pool.cancel(self._ticket)
        with self._flow.changed:
            self._flow.replies.clear()

    def renew(self) -> None:
        """In a forked child: the values go to the parent."""
        flow = self._flow
        if flow.end is None:
            flow.end = End("refused", error=after_fork.call_of_parent(self._ticket.chunk.job.name))

    def _next(self) -> Reply | End | None:
        flow = self._flow
        if flow.replies:
            flow.taken += 1
            return flow.replies.popleft()
        return flow.end

    def _credit(self) -> None:
        """Let the generator go on, in steps of half of what it may be ahead."""
        flow, worker = self._flow, self._ticket.worker
        if worker is None or flow.taken * 2 < flow.ahead or flow.end is not None:
            return
        with flow.changed:
            taken, flow.taken = flow.taken, 0
        if taken and not worker.dead and not worker.send(messages.CREDIT, taken):
            worker.unsent = True
            worker.arm()


class _Flow:
    """The listener; does not refer to the stream, so that a forgotten stream can be collected."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.changed = after_fork.lock()
        self.wakeups = Wakeups()
        self.replies: deque[Reply] = deque()
        self.end: End | None = None
        self.taken = 0
        self.subscriber: Callable[[], None] | None = None

    abandoned = True
    """At exit nobody waits for the rest of a stream."""

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        with self.changed:
            self.replies.extend(replies)
            self.wakeups.wake()
            call = self.subscriber
        if call is not None:
            teller.tell(call)

    def ended(self, chunk: Chunk, end: End) -> None:
        with self.changed:
            self.end = end
            self.wakeups.wake()
            call = self.subscriber
        if call is not None:
            teller.tell(call)


def _forget(ticket: Ticket) -> None:
    """The stream was collected. In a finalizer: take no lock here."""
    reactor.defer(lambda: ticket.pool.cancel(ticket))
