"""The loop over a column: what a worker does for each of many short items, and nothing more.

An item has its own context, its own unpickled value, and its own pickled result. All else is for
many of them: results are kept in one list, and sent together. What is odd (an error, a large
result) becomes a `Reply`, as for an item that goes alone.
"""

from __future__ import annotations

import marshal
import math
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context

from procession.hints import Any
from procession.items import RUNNING, STOP, Reply, Results
from procession.pickling.columns import MOST_BYTES, THEMSELVES, open_value, value_packer
from procession.pickling.out_of_band import dumps_out_of_band
from procession.pickling.pickler import dumps
from procession.system.cpython import pickle
from procession.system.pristine import perf_counter
from procession.worker import current, failures
from procession.worker.job_header import Header

__all__ = ["WORTH", "ColumnLoop", "ColumnSink"]

WORTH = 0.001
"""After an item of this many seconds, its result is sent at once: the next item may hold the GIL
for long, and a message costs some 20 µs, which is then little."""

_LARGE = 64 * 1024
"""A pickled result of so many bytes goes alone: from where it lies. As `channel.SEGMENT`."""


_LOOK = 20e-6
"""Seconds after which the loop looks up: whether it is to stop, or to send something. So a short
item pays for one reading of the clock, and for two comparisons."""

_ODD: Any = object()
"""In place of a result that was answered for otherwise."""


class ColumnSink:
    """Is told which item runs, and takes what comes of each, until it is collected.

    This one tells no one before all is done. A worker's own overrides what it is told by.

    Args:
        words: As below; its own, if none are shared with a caller.
        wants_each: As below.

    Attributes:
        words: Told which item runs (`RUNNING`), and may hold `chunk` (`STOP`): then the items
            after that one are not to be run.
        chunk: What the column is called there.
        payloads: Takes the results, as in `items.Results`.
        spent: Holds how many seconds the function has run; to be added to.
        each: Takes the seconds of each item, before its result, if `wants_each`.
        limited: Whether each item's begin and end must be told.
        replies: Of those items that have no plain result.
    """

    def __init__(self, words: Any = None, *, wants_each: bool = False) -> None:
        self.words = [0] * (STOP + 1) if words is None else words
        self.chunk = 1
        self.payloads: list[Any] = []
        self.spent = [0.0]
        self.each: list[float] = []
        self.wants_each = wants_each
        self.limited = False
        self.replies: list[Reply] = []
        self._places: list[int] = []
        self._extras: list[bytes] = []
        self._collected = 0
        self._began = perf_counter()

    def begin(self, index: int) -> None:
        """An item begins, whose time is limited."""

    def end(self) -> None:
        """It has ended."""

    def odd(self, reply: Reply) -> None:
        """Take the reply of the next item, which has no plain result."""
        self._places.append(self._collected + len(self.payloads))
        self.replies.append(reply)
        if self.wants_each:
            self.each.append(reply.seconds)
        self.payloads.append(None)

    def extras(self, extras: bytes | None) -> None:
        """Take what an item has logged and warned."""
        if extras is not None:
            self._extras.append(extras)

    def flush(self) -> float:
        """Send what there is. When to send the next ones, by `perf_counter`."""
        return math.inf

    def collect(self) -> tuple[int, Results]:
        """What there is by now, and the position in the column where it begins.

        Another thread may add results meanwhile: the lists stay, and only their beginning is taken.
        """
        position, count = self._collected, len(self.payloads)
        payloads, each, extras = self.payloads[:count], self.each[:count], self._extras[:]
        del self.payloads[:count], self.each[:count], self._extras[: len(extras)]
        odd = [(at - position, reply) for at, reply in zip(self._places, self.replies, strict=True)]
        self._places, self.replies = [], []
        spent, self.spent[0] = self.spent[0], 0.0
        self._collected += count
        now = perf_counter()
        span, self._began = now - self._began, now
        return position, Results(payloads, spent, 0, odd, each, extras, span)


class ColumnLoop:
    """Runs one column.

    Args:
        header: The job.
        sink: Takes what comes of the items.
        copied: Not empty in a process that an item has forked, which is no worker.
        noted: What items have logged and warned is noted here, …
        take: … and packed by this.
        out_of_band: Whether large buffers of results travel in shared memory.
    """

    def __init__(
        self,
        header: Header,
        sink: ColumnSink,
        copied: Sequence[object],
        noted: Sequence[object],
        take: Callable[[], bytes | None],
        *,
        out_of_band: bool,
    ) -> None:
        self._header = header
        self._settings = header.settings
        self._sink = sink
        self._copied = copied
        self._noted = noted
        self._take = take
        self._out_of_band = out_of_band
        self._packed = value_packer(header.settings.pickling)

    def run(
        self, indexes: Iterable[int], body: Any, base: Context, call: Callable[[Any], Any]
    ) -> None:
        """Run the items in order.

        Args:
            indexes: Their indexes.
            body: As in `items.Column`.
            base: Each runs in a copy of this context.
            call: Gives the result for an item's value.
        """
        sink, copied, noted = self._sink, self._copied, self._noted
        words, chunk, limited, wants_each = sink.words, sink.chunk, sink.limited, sink.wants_each
        copy, clock, add, spent = base.copy, perf_counter, sink.payloads.append, sink.spent
        pause, resume, loads, pack = current.pause, current.resume, pickle.loads, self._packed
        due, held, ran = sink.flush(), 0, 0.0
        begin = now = clock()
        look = now  # at once: it may have been stopped before it began
        for index, blob in zip(indexes, marshal.loads(body), strict=True):
            if now >= look:
                if words[STOP] == chunk:
                    break
                spent[0] += ran
                look, ran = min(now + _LOOK, due), 0.0
            words[RUNNING] = index
            if limited:
                sink.begin(index)
            value = blob
            if type(blob) not in THEMSELVES:
                pause()
                try:
                    value = loads(blob) if type(blob) is bytes else open_value(blob)
                except BaseException as error:
                    self._refuse(index, blob, error)
                    begin = now = clock()
                    if now >= due:
                        due = sink.flush()
                    continue
                if copied:
                    current.end_copy(f"an argument of {self._settings.name}()")
                resume()
                begin = clock()
            try:
                result = copy().run(call, value)
            except BaseException as error:
                now = clock()
                self._fail(index, error, now - begin)
                if now >= due or now - begin >= WORTH:
                    due = sink.flush()
                begin = now = clock()
                continue
            now = clock()
            seconds = now - begin
            begin = now  # of the next item, unless something lies between
            if copied:
                current.end_copy(f"{self._settings.name}(), item {index},")
            if noted:
                sink.extras(self._take())
            payload = result
            if type(result) not in THEMSELVES:
                pause()
                try:
                    payload = pack(result)
                except BaseException as error:
                    self._refuse_result(index, result, error, seconds)
                    payload = _ODD
                else:
                    size = -1 if payload is None else len(payload)
                    if copied or not 0 <= size < _LARGE:
                        self._send_large(index, result, payload, seconds)
                        payload = _ODD
                    held += size
                    if held > MOST_BYTES:
                        look = due = now
                resume()
                begin = clock()
            if payload is not _ODD:
                ran += seconds
                if wants_each:
                    sink.each.append(seconds)
                add(payload)
            value = result = payload = None  # or it would live as long as the next item runs
            if limited:
                sink.end()
            if now >= look and (now >= due or seconds >= WORTH):
                spent[0] += ran
                due, held, ran = sink.flush(), 0, 0.0
                begin = clock()
        spent[0] += ran

    def _refuse(self, index: int, blob: Any, error: BaseException) -> None:
        """Answer for an item whose value cannot be rebuilt here."""
        refusal = failures.argument_error(error, self._header, blob)
        self._answer(failures.failed(index, refusal, self._settings))

    def _fail(self, index: int, error: BaseException, seconds: float) -> None:
        """Answer for an item whose function has raised."""
        if self._copied:
            current.end_copy(f"{self._settings.name}(), item {index},", error)
        extras = self._take() if self._noted else None
        told = failures.item_error(error, self._settings)
        self._answer(failures.raised(index, told, self._header, seconds, extras))

    def _answer(self, reply: Reply) -> None:
        self._sink.odd(reply)
        current.resume()
        if self._sink.limited:
            self._sink.end()

    def _refuse_result(self, index: int, result: Any, error: BaseException, seconds: float) -> None:
        """Answer for an item whose result cannot be pickled."""
        refusal = failures.result_error(error, result, self._settings)
        self._sink.odd(failures.failed(index, refusal, self._settings, seconds))

    def _send_large(self, index: int, result: Any, payload: Any, seconds: float) -> None:
        """Answer with a result that goes alone."""
        if self._copied:  # by what pickles it
            current.end_copy(f"{self._settings.name}(), item {index},")
        found: Any = ()
        try:
            if payload is None:
                payload, found = self._pack_large(result)
        except BaseException as error:
            self._refuse_result(index, result, error, seconds)
        else:
            self._sink.odd(Reply(index, True, payload, found, seconds))

    def _pack_large(self, result: Any) -> tuple[bytes, Any]:
        if self._out_of_band:
            return dumps_out_of_band(result, self._settings.pickling, transit=True)
        return dumps(result, self._settings.pickling), ()
