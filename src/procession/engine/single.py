"""One call that runs in a worker, and the future that stands for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from procession.backends.base import Backend, Chunk, End, Item, Job, Reply
from procession.engine.blame import Rules, judge, may_retry, unable
from procession.engine.decoding import error_of, value_of
from procession.engine.plan import Settled
from procession.futures import Future
from procession.profiling.switch import begin, switch
from procession.system.pristine import perf_counter

__all__ = ["SingleCall"]


class SingleCall:
    """Runs one item on a backend until it has a result or an error; settles a future with it."""

    def __init__(self, backend: Backend, rules: Rules) -> None:
        self.future: Future[Any] = Future()
        self._backend = backend
        self._apart: Backend | None = None
        self._rules = rules
        self._lock = threading.Lock()
        self._chunk: Chunk | None = None
        self._reply: Reply | None = None
        self._cancelled = False
        self._watched = False
        self._record = begin(rules.name) if switch.open else None
        if self._record is not None:
            self._record.single = True

    def start(self, job: Job, item: Item) -> None:
        """Send the call to a worker.

        Raises:
            PoolClosed: The pool was shut down.
        """
        self.future.stand_for(self)
        if self._record is not None:
            self._record.packed(perf_counter() - self._record.began)
        self._start(self._backend, job, item)

    def refuse(self, error: Exception) -> None:
        """The call could not be sent."""
        if self._record is not None:
            self._record.packed(perf_counter() - self._record.began, refused=1)
        self._over(None, error)

    def _start(self, backend: Backend, job: Job, item: Item) -> None:
        chunk = Chunk(job, [item], self, not self._watched)
        chunk.home = backend
        self._chunk = chunk
        if self._record is not None:
            self._record.sent(chunk)
        backend.start(chunk)

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """The call is done."""
        item, reply = chunk.items[0], replies[0]
        if reply.extras is not None:
            from procession.worker.relay import replay

            replay(reply.extras)
        again = not reply.ok and bool(self._rules.retry_on) and self._retried(item, reply)
        decode: Callable[..., Any] = value_of
        if self._record is not None:
            decode = self._record.returned(chunk, item, reply, again)
        if again:
            return  # `ended` follows, and runs it again
        self._reply = reply
        try:
            value, error = decode(Settled(item, reply), self._rules), None
        except BaseException as raised:
            if reply.ok and _is_ctrl_c(raised):
                self._reply = None  # it is no answer: that comes again
                raise
            value, error = None, raised
        self._over(value, error)

    def _retried(self, item: Item, reply: Reply) -> bool:
        if not may_retry(item, error_of(item, reply, self._rules), self._rules):
            return False
        item.seconds += reply.seconds
        return True

    def ended(self, chunk: Chunk, end: End) -> None:
        """The worker is done with it, one way or another."""
        if self._reply is not None:
            return
        if self._cancelled:
            # Who cancelled may have been interrupted (Ctrl-C) before it could say so.
            self.future.settle_cancelled()
            if self._record is not None:
                self._record.finish()
            self._close_apart()
            return
        item = chunk.items[0]
        if end.kind == "done":
            error, apart = None, False  # it replied with an error that asks for another attempt
        else:
            (_, error, apart), *_ = judge(chunk, [item], end, self._rules)
            if self._record is not None:
                self._record.settled(int(error is not None), int(error is None), end)
        if error is not None:
            self._over(None, error)
            return
        try:
            self._start(self._alone() if apart else self._backend, chunk.job, item)
        except Exception as refused:
            self._over(None, unable(item, refused))

    def _alone(self) -> Backend:
        if self._apart is None:
            self._apart = self._backend.apart()
        return self._apart

    def _over(self, value: Any, error: BaseException | None) -> None:
        if self._record is not None:
            self._record.finish()
        if self._apart is not None:
            self._close_apart()
        self._chunk = None
        self.future.settle(value, error)

    def _close_apart(self) -> None:
        if self._apart is not None:
            self._apart.close(wait=False)

    # -- Work --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The function's name."""
        return self._rules.name

    def cancel(self) -> bool:
        """End the call. True if it will not deliver."""
        with self._lock:
            chunk = self._chunk
            if chunk is None or self._reply is not None:
                return False
            self._cancelled = True
            if chunk.home.cancel(chunk):
                return True
            self._cancelled = False
            return False

    def cancel_queued(self) -> bool:
        """Take the call back if no worker has begun with it (`Pool.shutdown`)."""
        chunk = self._chunk
        return chunk is not None and not chunk.home.running(chunk) and self.future.cancel()

    def running(self) -> bool:
        """Whether a worker has begun with it."""
        chunk = self._chunk
        return chunk is not None and chunk.home.running(chunk)

    def attend(self, timeout: float | None) -> None:
        """Wait in the calling thread, reading the worker's pipe where the backend can."""
        chunk = self._chunk
        if chunk is None:
            return
        attend: Callable[[Chunk, float | None], None] | None
        attend = getattr(chunk.home, "attend", None)
        if attend is not None:
            attend(chunk, timeout)

    def watched(self) -> None:
        """Do not rely on `attend`: whoever looks at the future may never call it."""
        self._watched = True
        chunk = self._chunk
        if chunk is not None and chunk.attended:
            chunk.attended = False
            notice: Callable[[Chunk], None] | None = getattr(chunk.home, "notice", None)
            if notice is not None:
                notice(chunk)


def _is_ctrl_c(error: BaseException) -> bool:
    main = threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is main
