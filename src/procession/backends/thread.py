"""Threads of this process as workers: no pickling, no isolation, one GIL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

from procession.contract import Chunk, End, Load, PlainBackend, Tally
from procession.errors import PoolClosed
from procession.items import COMPANY, Reply
from procession.pickling.exceptions import own_copy
from procession.system import after_fork
from procession.system.alarm import Timer, after
from procession.system.pristine import threading

_WORTH = 0.001
"""After an item of so many seconds, its result is told at once, which costs little against it."""


class _Outbox:
    """Replies of one chunk's items, which are told together, but never late.

    Args:
        chunk: The chunk, whose listener is told.
    """

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._lock = threading.Lock()
        self._replies: list[Reply] = []
        self._alarm: Timer | None = None

    def take(self, reply: Reply) -> None:
        """An item is done."""
        with self._lock:
            self._replies.append(reply)
            if self._alarm is None and reply.seconds < _WORTH:
                self._alarm = after(COMPANY, self._ring)
        if reply.seconds >= _WORTH:
            self.flush()

    def flush(self) -> None:
        """Tell what there is."""
        with self._lock:  # also meanwhile, or the chunk's end could be told before
            if self._replies:
                self._chunk.listener.replied(self._chunk, self._replies)
                self._replies = []

    def close(self) -> None:
        """The chunk is over."""
        self.flush()
        alarm = self._alarm
        if alarm is not None:
            alarm.cancel()

    def _ring(self) -> None:
        """In the helper thread: an item takes long, and the replies before it wait."""
        self._alarm = None
        try:
            self.flush()
        except Exception:
            pass  # its own thread tells again, and of the error


class ThreadBackend(PlainBackend):
    """Runs chunks in a pool of threads; items are the caller's own objects.

    Args:
        workers: How many threads.
        initializer: Called once in each thread before its first item.
        initargs: What it is given.
    """

    def __init__(
        self,
        workers: int,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self.workers = workers
        self._initializer = initializer
        self._initargs = initargs
        self._mine = threading.local()
        self._closed = False
        self._flight: set[Chunk] = set()
        self.tally = Tally()
        self.renew()
        after_fork.register(self)

    def renew(self) -> None:
        """Start with no threads: at first, and in a forked child, where the parent's are not."""
        self._executor = ThreadPoolExecutor(
            self.workers, thread_name_prefix="procession", initializer=self._initialize
        )
        self._flight.clear()
        if self._closed:
            self._executor.shutdown()

    def _initialize(self) -> None:
        # Raised here, an error would break the executor; kept, it is the answer to each item.
        self._mine.error = None
        if self._initializer is not None:
            from procession.worker.preparing import initialize

            self._mine.error = initialize(self._initializer, self._initargs)

    @property
    def load(self) -> Load:
        """What its threads do now."""
        busy = min(len(self._flight), self.workers)
        return Load(self.workers, busy, len(self._flight) - busy, self.workers)

    kind = "thread"
    warm = True  # a thread starts in microseconds

    @property
    def at_work(self) -> bool:
        """Whether a chunk runs or waits."""
        return bool(self._flight)

    def start(self, chunk: Chunk) -> None:
        """Queue a chunk for the next free thread.

        Raises:
            PoolClosed: The backend was closed.
        """
        self._flight.add(chunk)
        try:
            future = self._executor.submit(self._run, chunk)
        except RuntimeError as error:
            self._flight.discard(chunk)
            raise PoolClosed(f"the thread pool takes no more work: {error}") from error
        chunk.handle = future
        future.add_done_callback(lambda done: self._done(chunk, done))

    def _run(self, chunk: Chunk) -> None:
        box = _Outbox(chunk)
        try:
            for item in chunk.items:
                error = self._mine.error
                box.take(
                    chunk.job.call(item)
                    if error is None
                    else Reply(item.index, False, own_copy(error), (), 0.0, True)
                )
        finally:
            box.close()

    def _done(self, chunk: Chunk, future: Future[None]) -> None:
        try:
            future.result()
        except CancelledError:
            end = End("cancelled")
        except BaseException as error:
            end = End("refused", error=error)
        else:
            end = End("done")
        chunk.listener.ended(chunk, end)
        self._flight.discard(chunk)

    def cancel(self, chunk: Chunk) -> bool:
        """Take the chunk back if it has not started: a thread cannot be ended."""
        return chunk.handle is not None and chunk.handle.cancel()

    def running(self, chunk: Chunk) -> bool:
        """Whether a thread has begun with the chunk."""
        return chunk.handle is not None and chunk.handle.running()

    def close(self, *, wait: bool = True, kill: bool = False) -> None:
        """Take no more chunks; with `kill`, give up those that have not started."""
        self._closed = True
        self._executor.shutdown(wait=wait, cancel_futures=kill)
