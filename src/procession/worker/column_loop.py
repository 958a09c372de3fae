"""The loop over a column: what a worker does for each of many short items, and nothing more.

An item has its own context, its own unpickled value, and its own pickled result. All else is for
many of them: results are kept in one list, and sent together. What is odd (an error, a large
result) becomes a `Reply`, as for an item that goes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context
from itertools import islice, repeat

from procession.hints import Any
from procession.items import ALONE, DIVIDED, RUNNING, STOP, UNTIL, Reply
from procession.pickling.columns import MOST_BYTES, Rows, bytes_of, open_value, value_pickler
from procession.pickling.objects import CONTAINERS, THEMSELVES, class_of, is_one_of
from procession.pickling.out_of_band import dumps_out_of_band
from procession.pickling.pickler import dumps
from procession.system.cpython import pickle
from procession.system.pristine import perf_counter
from procession.worker import current, failures
from procession.worker.column_sink import ColumnSink
from procession.worker.job_header import Header

_LOOK = 200e-6
"""Seconds after which the loop looks up: whether it is to stop, or to send something. Plain items
that take no longer together share one reading of the clock. With 20 µs, items of 7 µs took 22 %
longer, as they were in groups of two."""

_GROUP = 512
"""Most items that share a reading of the clock, however short."""

_PATIENCE = 0.001
"""Seconds for which a column goes on whose rest other workers could have. To give back what takes
no longer costs more: the caller sends it again, to one that must wait for it."""

_TRIES = 5
"""How often the loop is timed, over so few items that it takes a tenth of a millisecond in all."""

_ODD: Any = object()
"""In place of a result that was answered for otherwise."""


_by_itself: float | None = None
"""Seconds that the loop takes for an item, besides its function, once that was measured."""


class _Answered(Exception):
    """An item has its answer already, as it could not be rebuilt."""


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
        self._pickler = value_pickler(header.settings.pickling)
        self._packed = self._pickler.single()
        self._rows = Rows(sink.payloads)
        self._held = 0  # bytes of results that are pickled
        self._due = 0.0
        self._closed = False  # whether values are to be rebuilt
        self._left = 0  # items that no group has had
        self._aside = 0.0  # seconds of a group that its function did not run, or that were told

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
        try:
            values: Any = pickle.loads(body)
        except BaseException as error:  # a module of theirs is not there, or cannot be imported
            refusal = failures.argument_error(error, self._header, b"")
            for index in indexes:
                self._answer(failures.failed(index, refusal, self._settings))
            return
        self._closed = class_of(values) is list and not THEMSELVES.issuperset(map(type, values))
        self._due = self._sink.flush()
        self._left = len(values)
        pairs = zip(indexes, values, strict=True)
        del values
        # What a context with one variable holds is compared by identity, so no code of the user's
        # runs. With more, two values that are equal but not the same would go unnoticed.
        own = base.copy()
        if len(base) > 1 or not own.run(self._run_groups, pairs, call, own, base):
            self._run_groups(pairs, lambda value: base.copy().run(call, value), base, base)
        self._pickler.close()

    def _run_groups(
        self,
        pairs: Iterator[tuple[int, Any]],
        call: Callable[[Any], Any],
        own: Context,
        base: Context,
    ) -> bool:
        """Run items in one context as long as none changes it; few share a reading of the clock.

        Returns:
            Whether the column is over; else an item has changed the context.
        """
        sink, clock = self._sink, perf_counter
        words, wanted = sink.words, -sink.chunk
        most = 1 if sink.wants_each else _GROUP
        itself = self._by_itself(base)
        count, begin = 1, clock()
        patience = begin + _PATIENCE
        while True:
            ran = min(count, self._left)
            self._left -= ran
            sink.runs(begin)
            over = self._run_group(islice(pairs, count), call, own, base, begin)
            now = clock()
            seconds = now - begin
            sink.ran(now, self._aside + ran * itself)
            self._aside = 0.0
            if over is not None:
                return over
            if words[STOP] != wanted:
                patience = now + _PATIENCE
            elif now >= patience:
                return True
            # The next ones, if they take as long, would end too late.
            if now + seconds >= self._due or self._held + self._rows.size > MOST_BYTES:
                self._due, self._held = sink.flush(), 0
                self._rows.forget()
            count = max(1, min(most, int(count * _LOOK / (seconds or _LOOK))))
            begin = clock()

    def _run_group(
        self,
        pairs: Iterator[tuple[int, Any]],
        call: Callable[[Any], Any],
        own: Context,
        base: Context,
        begin: float,
    ) -> bool | None:
        """Run some of them. `None`: the next ones may follow; else as `_run_groups`."""
        sink, copied, noted, closed = self._sink, self._copied, self._noted, self._closed
        words, chunk, limited = sink.words, sink.chunk, sink.limited
        divided, wanted, kind, index = chunk | DIVIDED, -chunk, None, -1
        take: Callable[[Any], Any] | None = None
        known = words[STOP]  # said of an earlier column, and there as long as nothing else is said
        if known in (chunk, divided, wanted):
            known = 0
        for index, value in pairs:
            told = words[STOP]
            if told != known and (told == chunk or (told == divided and index >= words[UNTIL])):
                return True
            words[RUNNING] = index
            if limited:
                sink.begin(index)
            try:
                result = call(self._open(index, value) if closed else value)
            except BaseException as error:
                self._fail(index, error, begin)
            else:
                if class_of(result) is not kind:
                    kind = class_of(result)
                    take = self._taker(kind)
                if take is None or copied or noted or take(result):
                    self._take_result(index, result, begin)
                    result = None  # or it would live as long as the next item runs
            if limited:
                sink.end()
            if own != base:
                return False
            if told != known and told == wanted:  # by others, if that is worth it
                break
        return True if index < 0 else None

    def _by_itself(self, base: Context) -> float:
        """What the loop takes for an item, and no caller would who called the function itself.

        Of items of some microseconds it is a good part. They would seem to be longer than they are,
        and to be worth a pool.
        """
        global _by_itself
        if _by_itself is None:
            words = memoryview(bytearray(8 * (UNTIL + 1))).cast("q")
            sink, clock, items = ColumnSink(words), perf_counter, range(_GROUP // 8)
            loop = ColumnLoop(self._header, sink, (), (), lambda: None, out_of_band=False)
            times: list[float] = []
            for _ in range(_TRIES):
                begin = clock()
                loop._run_group(zip(items, repeat(0)), abs, base, base, begin)
                between = clock()
                [abs(value) for value in repeat(0, len(items))]
                times.append((between - begin - (clock() - between)) / len(items))
            loop._pickler.close()
            _by_itself = max(0.0, min(times))
        return _by_itself

    def _open(self, index: int, blob: Any) -> Any:
        """The item's value.

        Raises:
            _Answered: It cannot be rebuilt here.
        """
        kind = class_of(blob)
        if kind in THEMSELVES:
            return blob
        if kind is tuple and len(blob) == 1:
            return blob[0]
        begin = perf_counter()
        current.pause()
        try:
            value = pickle.loads(blob) if kind is bytes else open_value(blob)
        except BaseException as error:
            refusal = failures.argument_error(error, self._header, blob)
            self._answer(failures.failed(index, refusal, self._settings))
            raise _Answered from None
        finally:
            if self._copied:
                current.end_copy(f"an argument of {self._settings.name}()")
            current.resume()
            self._aside += perf_counter() - begin
        return value

    def _taker(self, kind: type[Any]) -> Callable[[Any], Any] | None:
        """What takes results of this type at once; if it gives something true, it does not."""
        if self._sink.wants_each:
            return None
        if is_one_of(kind, THEMSELVES):
            return self._sink.payloads.append
        rows, some = self._rows, kind is bytes or is_one_of(kind, CONTAINERS)
        return rows.refuse if some and rows.apt else None

    def _own_seconds(self, begin: float) -> float:
        """How long the function ran for one item, if each is timed: it is alone in its group."""
        return perf_counter() - begin - self._aside if self._sink.wants_each else 0.0

    def _take_result(self, index: int, result: Any, begin: float) -> None:
        """An item is done."""
        seconds, since = self._own_seconds(begin), perf_counter()
        sink, kind = self._sink, class_of(result)
        if self._copied:
            current.end_copy(f"{self._settings.name}(), item {index},")
        if self._noted:
            sink.extras(self._take())
        payload, size = result, 0
        if not is_one_of(kind, THEMSELVES):
            payload, size = self._pack(index, result, seconds)
        if payload is not _ODD:
            self._held += size
            if sink.wants_each:
                sink.each.append(seconds)
            sink.payloads.append(payload)
        self._aside += perf_counter() - since

    def _pack(self, index: int, result: Any, seconds: float) -> tuple[Any, int]:
        """A result that is pickled, and its bytes; `_ODD` if it was answered for otherwise."""
        current.pause()
        try:
            payload: Any = self._packed(result)
        except BaseException as error:
            self._refuse_result(index, result, error, seconds)
            payload = _ODD
            size = 0
        else:
            size = -1 if payload is None else bytes_of(payload)
            if self._copied or not 0 <= size < ALONE:
                self._send_large(index, result, payload, seconds)
                payload = _ODD
        current.resume()
        return payload, size

    def _fail(self, index: int, error: BaseException, begin: float) -> None:
        """Answer for an item whose function has raised, unless that is done."""
        if type(error) is _Answered:
            return
        seconds = self._own_seconds(begin)
        if self._copied:
            current.end_copy(f"{self._settings.name}(), item {index},", error)
        extras = self._take() if self._noted else None
        told = failures.item_error(error, self._settings)
        self._answer(failures.raised(index, told, self._header, seconds, extras))
        current.resume()

    def _answer(self, reply: Reply) -> None:
        self._aside += reply.seconds  # which counts by itself
        self._sink.odd(reply)

    def _refuse_result(self, index: int, result: Any, error: BaseException, seconds: float) -> None:
        """Answer for an item whose result cannot be pickled."""
        refusal = failures.result_error(error, result, self._settings)
        self._answer(failures.failed(index, refusal, self._settings, seconds))

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
            self._answer(Reply(index, True, payload, found, seconds))

    def _pack_large(self, result: Any) -> tuple[bytes, Any]:
        if self._out_of_band:
            return dumps_out_of_band(result, self._settings.pickling, transit=True)
        return dumps(result, self._settings.pickling), ()
