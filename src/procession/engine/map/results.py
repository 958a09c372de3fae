"""Taking the results of a map in the calling thread: all at once, or one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from procession.contract import Settled
from procession.engine.decoding import outcome_of, value_of
from procession.engine.local.inline import Inline, Slice
from procession.engine.map.map_run import MapRun
from procession.engine.map.progress import Progress
from procession.system.interrupts import strikes
from procession.user_threads import teller

__all__ = ["Collector", "MapIterator", "collect"]

_PENDING: Any = object()


class Collector:
    """The results of a whole map by index, and the first error in input order."""

    def __init__(self, run: MapRun) -> None:
        self._run = run
        self._rules = run.plan.rules
        self._decode = run.observer.decoding(value_of)
        self._values: list[Any] = []
        self._error: BaseException | None = None
        self._error_at: int | None = None
        self._before: set[int] = set()

    def add_values(self, start: int, values: list[Any]) -> None:
        """Take, for good, values that were made here, one after the other from `start`."""
        if start == len(self._values):
            if start < len(values):
                values[:0] = self._values  # moves the fewer
                self._values = values
            else:
                self._values.extend(values)
        else:
            for index, value in enumerate(values, start):
                self._put(index, value)

    def add_slice(self, ran: Slice) -> int:
        """Take what was just run here; how many items that is."""
        start, values, failed, _ = ran
        done = len(values) + (failed is not None)
        self._run.deliver(done)
        self.add_values(start, values)
        if failed is not None:
            self.add(failed)
        return done

    def add_all(self, batch: Iterable[Settled]) -> None:
        """Take settled items, as `add` does."""
        values, plain = self._values, self._decode is value_of
        for settled in batch:
            item, reply, _ = settled
            # An atom that is the next in order needs nothing of what the others do.
            next_one = item.index == len(values) and not self._before
            if plain and next_one and reply is not None and reply.raw and reply.ok:
                values.append(reply.payload)
            else:
                self.add(settled)

    def add(self, settled: Settled) -> None:
        """Take one settled item; an error makes everything after it unimportant."""
        index = settled.item.index
        try:
            value = self._decode(settled, self._rules)
        except BaseException as error:
            if strikes(error):
                raise
            self._fail(index, error)
        else:
            if index == len(self._values):
                self._values.append(value)
                self._before.discard(index)
            else:
                self._put(index, value)

    def _put(self, index: int, value: Any) -> None:
        values = self._values
        if index >= len(values):
            values.extend([_PENDING] * (index + 1 - len(values)))
        values[index] = value
        self._before.discard(index)

    def _fail(self, index: int, error: BaseException) -> None:
        if self._error_at is not None and index >= self._error_at:
            return
        known = self._values[:index]
        missing = {i for i, value in enumerate(known) if value is _PENDING}
        missing.update(range(len(known), index))
        self._error, self._error_at, self._before = error, index, missing
        self._run.stop_after(index)

    @property
    def over(self) -> bool:
        """Whether nothing that may still come matters."""
        if self._error_at is not None:
            return not self._before or self._run.closed
        return self._run.over

    def result(self) -> list[Any]:
        """All values, in input order.

        Raises:
            BaseException: The first item's error, in input order; or what the input raised.
        """
        self._run.tell()
        if self._error is not None:
            self._run.cancel()
            try:
                raise self._error
            finally:
                self._error = None  # or the traceback would keep us, and we it
        if self._run.closed and self._run.failure is not None:
            raise self._run.failure  # forked away from its workers
        self._run.finish()
        if self._run.intake.source.error is not None:
            raise self._run.intake.source.error
        return self._values


def collect(
    run: MapRun, inline: Inline | None, progress: Progress | None = None, first: Slice | None = None
) -> list[Any]:
    """Run a map to its end in the calling thread's time and give all values.

    Args:
        run: The map.
        inline: Runs items in this thread; `None` if none may run here.
        progress: Told of every item.
        first: What has run already: the map has begun.

    Raises:
        BaseException: As `Collector.result`; and KeyboardInterrupt, after everything was ended.
    """
    collector = Collector(run)
    run.attended = True
    try:
        if first is None:
            _begin(run, inline)
        else:
            collector.add_slice(first)
        while not collector.over:
            run.feed()
            if inline is not None and inline.active:
                done = collector.add_slice(inline.slice())
            elif batch := run.poll_all():
                collector.add_all(batch)
                done = len(batch)
            else:
                run.wait()
                continue
            if progress is not None:
                progress.update(done)
        _warn_of_traffic(run)
        return collector.result()
    except BaseException:
        run.cancel()
        raise
    finally:
        _end(inline, progress)


def _warn_of_traffic(run: MapRun) -> None:
    """Tell the caller of a map that moved more than it computed."""
    text = run.traffic.warning(run.plan.rules.name)
    if text is not None:
        from procession._warn import warn_user

        warn_user(text)


def _begin(run: MapRun, inline: Inline | None) -> None:
    if inline is None:
        run.go()
    elif not run.here:
        run.probe()


def _end(inline: Inline | None, progress: Progress | None) -> None:
    if inline is not None:
        inline.end()
    if progress is not None:
        progress.close()


class _Batches:
    """Gives the results of a map in batches: values to be yielded, or one error to be raised."""

    def __init__(
        self,
        run: MapRun,
        inline: Inline | None,
        progress: Progress | None,
        decode: Callable[[Settled, Any], Any],
    ) -> None:
        self.run = run
        self._inline = inline
        self._progress = progress
        self._outcomes = decode is outcome_of
        self._decode = run.observer.decoding(decode, outcomes=self._outcomes)
        self._failed: Settled | None = None
        self._began = False

    def __iter__(self) -> Iterator[Iterable[Any]]:
        return self

    def __next__(self) -> Iterable[Any]:
        self.run.attended = True
        try:
            return self._next()
        finally:
            self.run.leave()

    def _next(self) -> Iterable[Any]:
        run, inline = self.run, self._inline
        try:
            if not self._began:
                self._began = True
                _begin(run, inline)
            while True:
                failed, self._failed = self._failed, None
                if failed is not None:
                    return self._give(failed)
                run.feed(lazily=True)
                if (settled := run.poll()) is not None:
                    return self._give(settled)
                if run.over:
                    _warn_of_traffic(run)
                    break
                if inline is None or not inline.active:
                    run.wait()
                elif values := self._slice(inline):
                    return values
        except BaseException:
            self.close()
            raise
        error, run.intake.source.error = run.intake.source.error, None
        self.close()
        if error is not None:
            return _Raise(error)
        raise StopIteration

    def _slice(self, inline: Inline) -> list[Any]:
        """Run some items here; what is next in order is given from here, the rest is settled."""
        run = self.run
        start, values, failed, refused = inline.slice()
        count = len(values) + (failed is not None)
        if not count:
            return []
        if self._outcomes or refused or not run.delivers_next(start):
            run.settle(inline.settled(start, values, refused))
            if failed is not None:
                run.settle([failed])
            return []
        run.deliver(count)
        self._failed = failed
        if self._progress is not None:
            self._progress.update(count)
        return values

    def _give(self, settled: Settled) -> Iterable[Any]:
        if self._progress is not None:
            self._progress.update(1)
        try:
            return (self._decode(settled, self.run.plan.rules),)
        except BaseException as error:
            if strikes(error):
                self.close()
                raise
            return _Raise(error)

    def close(self) -> None:
        """Cancel what is outstanding, and end."""
        self._failed = None
        self.run.cancel()
        _end(self._inline, self._progress)


class _Raise:
    """A batch that raises an error once. `itertools.chain` goes on after it."""

    def __init__(self, error: BaseException) -> None:
        self._error: BaseException | None = error

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        error, self._error = self._error, None
        if error is None:
            raise StopIteration
        try:
            raise error
        finally:
            del error  # or the traceback would keep this frame, and the frame the error


class MapIterator(chain[Any]):
    """The results of a map, one by one; what `imap`, `imap_unordered` and `outcomes` return.

    An item's error is raised where its value would have come; the iterator can be read on. When
    it is closed, or nobody holds it any more, everything that is outstanding is cancelled at once.

    It is an `itertools.chain` of batches, so that reading a value that is there costs what reading
    it from a list costs.
    """

    _batches: _Batches

    @classmethod
    def over(
        cls,
        run: MapRun,
        inline: Inline | None,
        progress: Progress | None,
        decode: Callable[[Settled, Any], Any] = value_of,
    ) -> MapIterator:
        """An iterator over the results of a map."""
        batches = _Batches(run, inline, progress, decode)
        iterator = cls.from_iterable(batches)
        assert isinstance(iterator, cls)
        iterator._batches = batches
        return iterator

    def close(self) -> None:
        """Cancel what is outstanding, and end. Values that were not read are lost."""
        self._batches.close()

    def __enter__(self) -> MapIterator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Runs amid anything: takes no lock, and runs no code of the user's.
        batches = getattr(self, "_batches", None)  # absent if Ctrl-C struck while it was made
        if batches is not None and not batches.run.closed:
            teller.defer(batches.close)
