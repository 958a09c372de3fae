"""All results of a map at once: in the calling thread, or as a future."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from procession.engine.decoding import value_of
from procession.engine.map.delivery import Batch
from procession.engine.map.inline import Inline, Slice
from procession.engine.map.map_run import MapRun
from procession.hints import TYPE_CHECKING, Any
from procession.items import Settled
from procession.system.interrupts import strikes
from procession.system.pristine import thread_time
from procession.user_threads import user_threads

if TYPE_CHECKING:
    from procession.engine.map.progress import Progress

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
            self._put_all(start, values)

    def add_slice(self, ran: Slice) -> int:
        """Take what was just run here; how many items that is."""
        start, values, failed, _ = ran
        done = len(values) + (failed is not None)
        self._run.delivery.deliver(done)
        self.add_values(start, values)
        if failed is not None:
            self.add(failed)
        return done

    def add_all(self, found: Iterable[Settled | Batch]) -> int:
        """Take what is over; how many items that is."""
        count = 0
        for each in found:
            if isinstance(each, Batch):
                self.add_batch(each)
                count += len(each)
            else:
                self.add(each)
                count += 1
        return count

    def add_batch(self, batch: Batch) -> None:
        """Take the results of some items."""
        since = thread_time()
        self._add_batch(batch)
        if self._run.plan.placement is not None:
            self._run.plan.placement.spent(thread_time() - since)

    def _add_batch(self, batch: Batch) -> None:
        try:
            values = batch.values()
        except BaseException as error:
            if strikes(error):
                raise
            for index, value, failed in batch.each(value_of, self._rules):
                if failed is None:
                    self._put(index, value)
                else:
                    self._fail(index, failed)
            return
        if not self._before and batch.first == len(self._values):
            self._values.extend(values)
        else:
            self._put_all(batch.first, values)

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
        self._put_all(index, [value])

    def _put_all(self, start: int, some: list[Any]) -> None:
        values, end = self._values, start + len(some)
        if start > len(values):
            values.extend([_PENDING] * (start - len(values)))
        values[start:end] = some
        if self._before:
            self._before.difference_update(range(start, end))

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
        if self._run.delivery.untold:
            self._run.delivery.tell()
        if self._error is not None:
            self._run.cancel()
            try:
                raise self._error
            finally:
                self._error = None  # or the traceback would keep us, and we it
        self._run.finish()
        error = self._run.take_error()
        if error is not None:
            raise error
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
    sender, delivery = run.sender, run.delivery
    sender.attend()
    try:
        if first is None:
            begin(run, inline)
        else:
            collector.add_slice(first)
        while not collector.over:
            sender.feed()
            if inline is not None and inline.active:
                done = collector.add_slice(inline.slice())
            else:
                if sender.behind:
                    sender.pump()
                done = collector.add_all(delivery.poll_all())
                if not done:
                    run.wait()
                    continue
            if progress is not None:
                progress.update(done)
        warn_of_traffic(run)
        return collector.result()
    except BaseException:
        run.cancel()
        raise
    finally:
        end(inline, progress)


def warn_of_traffic(run: MapRun) -> None:
    """Tell the caller of a map that it moved more than it computed."""
    text = run.replies.traffic.warning(run.plan.rules.name)
    if text is not None:
        from procession.errors import warn_user

        warn_user(text)


def begin(run: MapRun, inline: Inline | None) -> None:
    """Have the first items run, here or in the pool."""
    if inline is not None and run.sender.here:
        return
    if inline is None or run.plan.schedule.trusting:
        run.go()
    else:
        run.probe()


def end(inline: Inline | None, progress: Progress | None) -> None:
    """The consumer has what it wants."""
    if inline is not None:
        inline.end()
    if progress is not None:
        progress.close()


class FutureCollector:
    """Settles a future with all results of a map, which user threads rebuild."""

    def __init__(self, finished: Callable[[Callable[[], list[Any]]], None]) -> None:
        self._finished = finished
        self._collector: Collector | None = None
        self._told = False
        self._news = False
        self._said = False
        self.run: MapRun | None = None

    def attach(self, run: MapRun) -> None:
        """Say which map this is about, before it starts."""
        self.run = run
        self._collector = Collector(run)

    def notify(self) -> None:
        """Something is ready, or the map is over."""
        self._news = True
        if not self._told:
            self._told = True
            user_threads.run_soon(self._drain)

    def _drain(self) -> None:
        # In one thread at a time, as no other is told before it is over.
        run, collector = self.run, self._collector
        assert run is not None
        assert collector is not None
        while self._news and not self._said:
            self._news = False
            try:
                while not collector.over and (found := run.delivery.poll()) is not None:
                    collector.add_all((found,))
            except BaseException as error:
                self._said = True
                self._finished(partial(_raise, error))
                return
            if collector.over:
                self._said = True
                self._finished(collector.result)
        self._told = False
        if self._news and not self._said:
            self.notify()


def _raise(error: BaseException) -> Any:
    raise error
