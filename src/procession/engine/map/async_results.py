"""Taking the results of a map without waiting in this thread: in a coroutine, or as a future."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from procession.engine.decoding import value_of
from procession.engine.map.map_run import MapRun
from procession.engine.map.progress import Progress
from procession.engine.map.results import Collector
from procession.user_threads import teller

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncMapIterator", "FutureCollector"]


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
        self._event: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __aiter__(self) -> AsyncMapIterator:
        return self

    async def __anext__(self) -> Any:
        import asyncio

        if self._run is None:
            try:
                self._loop = asyncio.get_running_loop()
            except RuntimeError:
                raise RuntimeError(
                    "aimap() needs an event loop of asyncio, and none runs here. In trio, write "
                    "results = await trio.to_thread.run_sync(partial(f.map, items))."
                ) from None
            self._event = asyncio.Event()
            self._run, self._progress = self._start(_waker(self._loop, self._event))
            await self._loop.run_in_executor(None, self._run.go)
        assert self._event is not None
        run = self._run
        try:
            while True:
                self._event.clear()
                settled = run.poll()
                if settled is not None:
                    if self._progress is not None:
                        self._progress.update(1)
                    return run.observer.decoding(value_of)(settled, run.plan.rules)
                if run.over:
                    break
                await self._event.wait()
        except asyncio.CancelledError:
            self._close()
            raise
        error, run.intake.source.error = run.intake.source.error, None
        self._close()
        if error is not None:
            raise error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancel what is outstanding, and end."""
        self._close()

    def _close(self) -> None:
        if self._run is not None:
            _close(self._run, self._progress)

    def __del__(self) -> None:
        # Runs amid anything: takes no lock, and runs no code of the user's.
        run = getattr(self, "_run", None)
        if run is not None and not run.closed:
            teller.defer(partial(_close, run, self._progress))


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
            pass  # the loop is closed: nobody waits any more

    return wake


class FutureCollector:
    """Settles a future with all results of a map, which tellers' threads rebuild."""

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
            teller.tell(self._drain)

    def _drain(self) -> None:
        # In one thread at a time, as nobody is told again before it is over.
        run, collector = self.run, self._collector
        assert run is not None
        assert collector is not None
        while self._news and not self._said:
            self._news = False
            try:
                while not collector.over and (settled := run.poll()) is not None:
                    collector.add(settled)
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
