"""What a worker says of its items: sent together where that saves messages, but never late."""

from __future__ import annotations

from collections.abc import Sequence

from procession.hints import Any
from procession.items import COMPANY, RUNNING, STOP, Reply, Results
from procession.pickling.objects import THEMSELVES
from procession.process.io import messages
from procession.process.io.black_box import BlackBox
from procession.process.io.channel import send_all
from procession.system.pristine import perf_counter, socket, threading, time
from procession.worker.column_sink import ColumnSink
from procession.worker.runner import flush_output

SILENCE = 0.2
"""Seconds for which results of a column are kept, and not sent, where all are wanted at once. A
guess: a message costs half a millisecond or more, while all processors are busy."""


class _Silence:
    """How long a column has said nothing, and may say nothing.

    Args:
        seconds: For which its results are kept, and not sent; 0 if they are sent as they come.

    Attributes:
        seconds: As given.
        kept: How many results are kept, of those that are not sent.
    """

    __slots__ = ("_looked", "_until", "kept", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.kept = 0
        self.broken()

    def broken(self) -> None:
        """A message is sent."""
        self._looked = now = perf_counter()
        self._until = now + self.seconds

    def looked(self) -> None:
        """Who runs the items has seen to what there is."""
        self._looked = perf_counter()

    @property
    def over(self) -> bool:
        """Whether it has lasted as long as it may."""
        return perf_counter() >= self._until

    def left(self) -> float:
        """Seconds until another thread sends what there is, though an item still runs."""
        due = self._looked + COMPANY
        if self.seconds:  # who runs the items is the first to send
            due = max(due, self._until + 2 * COMPANY)
        return due - perf_counter()


class Outbox(ColumnSink):
    """Replies and results on their way home. Its thread sends what waits while an item runs long.

    Args:
        sock: The channel.
        box: Says which item runs.
    """

    def __init__(self, sock: socket.socket, box: BlackBox) -> None:
        super().__init__(box.words)
        self.chunk = 0
        self._sock = sock
        self._box = box
        self._lock = threading.Lock()
        self._column = False
        self._left = 0
        self._prompt = False
        self._since = 0.0
        self._silence = _Silence(0.0)
        self._flusher: threading.Thread | None = None
        self._armed = threading.Event()

    # -- items one by one ----------------------------------------------------------------------

    def begin_items(self, chunk: int, items: int, prompt: bool = False) -> None:
        """A chunk of so many items begins; `prompt` says that no reply may wait for company."""
        self.chunk = chunk
        self._column = False
        self._left = items
        self._prompt = prompt

    def start(self, index: int) -> bool:
        """An item is about to run. Not if the chunk is to end before it."""
        if abs(self.words[STOP]) == self.chunk:
            return False
        self._box.begin(index)
        return True

    def emit(self, reply: Reply) -> None:
        """Take a reply; the last one of a chunk waits for `end`."""
        self._box.end()
        self.replies.append(reply)
        self._left -= 1
        if not self._left:
            return
        now = time.monotonic()
        if len(self.replies) == 1:
            self._since = now
        large = self._prompt or reply.buffers  # a message costs little against it
        if large or now - self._since + reply.seconds >= COMPANY:  # the next one would end too late
            self._flush()
        elif not self._armed.is_set():
            self._arm()

    # -- a column ------------------------------------------------------------------------------

    def begin_column(
        self, chunk: int, indexes: Sequence[int], *, wants_each: bool, limited: bool, at_once: bool
    ) -> None:
        """A column begins, whose items have these indexes; `at_once` as in `messages.Task`."""
        self.chunk = chunk
        self._left = len(indexes)
        self._column = True
        self._collected = 0
        self.wants_each = wants_each
        self.limited = limited
        self._began = perf_counter()
        self._silence = _Silence(SILENCE if at_once else 0.0)
        self._box.begin(indexes[0])

    def begin(self, index: int) -> None:
        """An item begins, whose time is limited."""
        self._box.begin(index)

    def end(self) -> None:
        """It has ended."""
        self._box.end()

    def odd(self, reply: Reply) -> None:
        """Take the reply of the next item, which has no plain result."""
        with self._lock:  # else its place could be counted from what is just being sent
            super().odd(reply)
        if reply.buffers and self._left > len(self.payloads):
            self._flush()

    def flush(self) -> float:
        """Send what there is, unless all is there. When to send the next ones."""
        if self._left > max(1, len(self.payloads)):
            self._box.begin(self.words[RUNNING])
            if self._silence.over or not self._keep():
                self._flush()
            self._silence.looked()
            if not self._armed.is_set():
                self._arm()
        return perf_counter() + COMPANY

    # -- sending -------------------------------------------------------------------------------

    def finish(self) -> None:
        """The chunk is over: send what is left, in one message that says so."""
        if self._column:
            self._box.end()
        with self._lock:
            self._send(messages.DONE)
            self._left = 0  # it may have been stopped

    def _keep(self) -> bool:
        """Keep results where the caller finds them if this process dies.

        Not what is odd, nor what the caller has to rebuild: it does that while others run.
        """
        with self._lock:
            flush_output()
            count, kept, spent = len(self.payloads), self._silence.kept, self.spent
            if self.replies or self._extras:
                return False
            if count == kept:
                return True
            payloads = self.payloads[kept:count]
            if not THEMSELVES.issuperset(map(type, payloads)):
                return False
            new = Results(payloads, spent * (1 - kept / count))
            at = self._collected + kept
            parts = messages.pack_results(messages.REPLIES, at, new, self.chunk)
            if len(parts) > 1 or not self._box.keep(parts[0]):
                return False
            self._silence.kept = count
            return True

    def _flush(self) -> None:
        with self._lock:
            if self.replies or self.payloads:
                self._send(messages.REPLIES)
                self._silence.broken()

    def _send(self, kind: int) -> None:
        """Send what there is by now. Under the lock; the worker may add to it meanwhile."""
        flush_output()
        frame = self._pack_column(kind) if self._column else self._pack_replies(kind)
        send_all(self._sock, frame)
        if self._silence.kept:
            self._silence.kept = 0
            self._box.drop_kept()

    def _pack_replies(self, kind: int) -> Any:
        replies, self.replies = self.replies, []
        return messages.pack_replies(kind, replies, self.chunk)

    def _pack_column(self, kind: int) -> Any:
        position, results = self.collect()
        self._left -= len(results.payloads)
        return messages.pack_results(kind, position, results, self.chunk)

    def _arm(self) -> None:
        if self._flusher is None or not self._flusher.is_alive():
            self._flusher = threading.Thread(
                target=self._keep_flushing, name="procession-flusher", daemon=True
            )
            self._flusher.start()
        self._armed.set()

    def _keep_flushing(self) -> None:
        while True:
            self._armed.wait()
            wait = COMPANY
            while wait > 0:
                time.sleep(wait)
                wait = self._silence.left() if self._column else 0.0
            self._armed.clear()
            try:
                self._flush()
            except OSError:
                return  # the main thread notices the same
            if self._column and self._left:  # its items arm nothing, each by itself
                self._armed.set()
