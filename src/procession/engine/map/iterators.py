"""The results of a map one by one: as an iterator, or for ``async for``."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain

from procession.engine.decoding import outcome_of, value_of
from procession.engine.map.delivery import Batch
from procession.engine.map.inline import Inline
from procession.engine.map.map_run import MapRun
from procession.engine.map.results import begin, end, warn_of_traffic
from procession.hints import TYPE_CHECKING, Any
from procession.items import Settled
from procession.pickling.exceptions import raisable
from procession.pickling.objects import is_a
from procession.system.interrupts import strikes
from procession.user_threads import user_threads

if TYPE_CHECKING:
    import asyncio

    from procession.engine.map.progress import Progress


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
        self._parts: deque[Iterable[Any]] = deque()  # of what was polled, to be given next
        self._given: Any = ()  # which the consumer reads now
        self._began = self._closed = False

    def __iter__(self) -> Iterator[Iterable[Any]]:
        return self

    def __next__(self) -> Iterable[Any]:
        if self._closed:
            raise StopIteration
        self.run.sender.attend()
        try:
            self._given = ()  # nothing keeps what was read
            self._given = given = self._next()
            return given
        finally:
            self.run.sender.leave()

    def _next(self) -> Iterable[Any]:
        run, inline = self.run, self._inline
        if self._parts:
            return self._parts.popleft()
        try:
            if not self._began:
                self._began = True
                begin(run, inline)
            while True:
                failed, self._failed = self._failed, None
                if failed is not None:
                    return self._give(failed)
                run.sender.feed(lazily=True)
                if (settled := run.delivery.poll()) is not None:
                    return self._give(settled)
                if run.over:
                    warn_of_traffic(run)
                    break
                if inline is None or not inline.active:
                    run.wait()
                elif values := self._slice(inline):
                    return values
        except BaseException:
            self.close()
            raise
        error = run.take_error()
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
        if self._outcomes or refused or not run.delivery.is_next(start):
            run.delivery.put(inline.settled(start, values, refused))
            if failed is not None:
                run.delivery.put([failed])
            return []
        run.delivery.deliver(count)
        self._failed = failed
        if self._progress is not None:
            self._progress.update(count)
        return values

    def _give(self, found: Settled | Batch) -> Iterable[Any]:
        if self._progress is not None:
            self._progress.update(len(found) if isinstance(found, Batch) else 1)
        rules = self.run.plan.rules
        try:
            if not isinstance(found, Batch):
                return (self._decode(found, rules),)
            if self._outcomes:
                return [self._decode(each, rules) for each in found.all_settled()]
            return found.values()
        except BaseException as error:
            if strikes(error):
                self.close()
                raise
            if not isinstance(found, Batch):
                return _Raise(error)
        # Some cannot be rebuilt: those raise in their places, and the iterator can be read on.
        self._parts.extend(
            (value,) if failed is None else _Raise(failed)
            for _, value, failed in found.each(value_of, rules)
        )
        return self._parts.popleft()

    def close(self) -> None:
        """Cancel what is outstanding, and end."""
        self._closed = True
        self._failed = None
        self._parts.clear()
        if is_a(self._given, list):
            self._given.clear()
        self.run.cancel()
        end(self._inline, self._progress)


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
    it is closed or forgotten, everything that is outstanding is cancelled at once.

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

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # Runs amid anything: takes no lock, and runs no code of the user's.
        batches = getattr(self, "_batches", None)  # absent if Ctrl-C struck while it was made
        if not ending() and batches is not None and not batches.run.closed:
            user_threads.defer(batches.close)


class AsyncMapIterator:
    """The results of a map in a coroutine: ``async for``. What `aimap` returns.

    Cancelling the task that waits, or leaving the loop and calling `aclose`, ends what is
    outstanding; so does letting the iterator go.
    """

    def __init__(
        self, start: Callable[[Callable[[], None]], tuple[MapRun, Progress | None]]
    ) -> None:
        self._start = start
        self._progress: Progress | None = None
        self._run: MapRun | None = None
        self._ready: deque[Settled] = deque()
        self._event: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __aiter__(self) -> AsyncMapIterator:
        return self

    async def __anext__(self) -> Any:
        import asyncio

        if self._closed:
            raise StopAsyncIteration
        if self._run is None:
            from procession.awaiting import running_loop

            instead = "results = await trio.to_thread.run_sync(partial(f.map, items))"
            self._loop = running_loop("aimap()", instead)
            self._event = asyncio.Event()
            try:
                self._run, self._progress = self._start(_waker(self._loop, self._event))
            except StopAsyncIteration as stop:  # of the input's own code
                raise raisable(stop, "the input of aimap()") from stop
            await self._loop.run_in_executor(None, self._run.go)
        assert self._event is not None
        run = self._run
        try:
            while True:
                self._event.clear()
                if self._ready:
                    return self._give()
                found = run.delivery.poll()
                if found is not None:
                    self._ready.extend(
                        found.all_settled() if isinstance(found, Batch) else (found,)
                    )
                    continue
                if run.over:
                    break
                await self._event.wait()
        except asyncio.CancelledError:
            self._close()
            raise
        error = run.take_error()
        self._close()
        if error is not None:
            raise raisable(error, "the input of aimap()")
        raise StopAsyncIteration

    def _give(self) -> Any:
        run = self._run
        assert run is not None
        if self._progress is not None:
            self._progress.update(1)
        return run.observer.decoding(value_of)(self._ready.popleft(), run.plan.rules)

    async def aclose(self) -> None:
        """Cancel what is outstanding, and end."""
        self._close()

    def _close(self) -> None:
        self._closed = True
        self._ready.clear()
        if self._run is not None:
            _close(self._run, self._progress)

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # Runs amid anything: takes no lock, and runs no code of the user's.
        run = getattr(self, "_run", None)
        if not ending() and run is not None and not run.closed:
            user_threads.defer(partial(_close, run, self._progress))


def _close(run: MapRun, progress: Progress | None) -> None:
    run.cancel()
    if progress is not None:
        progress.close()


def _waker(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], None]:
    """A function for any thread that wakes the coroutine; it keeps no iterator alive."""

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(event.set)
        except RuntimeError:
            pass  # the loop is closed: no task waits any more

    return wake
