"""What each verb that maps does: choose where, make the job, start, and give the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from procession.backends.shutdown import check_open
from procession.engine.call import Call
from procession.engine.common_arguments import with_bound_arguments
from procession.engine.decoding import outcome_of, value_of
from procession.engine.job import make_plan
from procession.engine.local.in_process import header_here, initialized
from procession.engine.local.where import Where
from procession.engine.map.inline import Inline, Slice
from procession.engine.map.map_run import MapRun
from procession.engine.map.results import FutureCollector, collect
from procession.engine.map.source import Source
from procession.hints import TYPE_CHECKING, Any
from procession.observer import UNOBSERVED, call_began
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter

if TYPE_CHECKING:
    from procession.engine.map.iterators import AsyncMapIterator, MapIterator
    from procession.futures import Future


def _prepare(
    call: Call,
    items: Iterable[Any],
    *,
    blocking: bool,
    ordered: bool,
    one_by_one: bool = False,
    whole: bool = False,
    recorded: bool = True,
    notify: Callable[[], None] | None = None,
) -> tuple[MapRun, Inline | None]:
    """Make the run of a map, and the runner of items here if there is to be one."""
    call = with_bound_arguments(call)
    if recorded:  # else it was taken before, and began here
        check_open(call.name)
    since = perf_counter()
    where = Where(call, blocking=blocking)
    source = Source(items)
    warm = where.look()
    plan = make_plan(call, where, ordered=ordered, whole=whole, warm=warm, each=one_by_one)
    if where.here:
        call = initialized(call)
    # A generator may wait for the results of what it gave before.
    aside = not blocking or (not whole and source.may_wait())
    observer = call_began(call.name, since) if recorded else UNOBSERVED
    observer.packed()
    run = MapRun(plan, source, where.backend, notify, observer, aside=aside)
    if call.options.deadline is not None:
        run.replies.expire_after(call.options.deadline)
    placement = plan.placement
    if not where.here and placement is None:
        return run, None
    header = header_here(call, plan.job.common)
    single = one_by_one or not (whole or source.inert)
    inline = Inline(run, header, where, warm=warm, single=single, whole=whole)
    if not warm or (placement is not None and placement.begins_here(source.length)):
        inline.begin()
    return run, inline


def whole_map(call: Call, items: Iterable[Any]) -> list[Any]:
    """All results in input order, by a map of its own."""
    run, inline = _prepare(call, items, blocking=True, ordered=False, whole=True)
    return collect(run, inline, _progress(call, run))


def map_of_begun(call: Call, items: list[Any]) -> tuple[Inline, Callable[[Slice], list[Any]]]:
    """Make the map of what began without one."""
    run, inline = _prepare(call, items, blocking=True, ordered=False, whole=True, recorded=False)
    assert inline is not None
    return inline, partial(collect, run, inline, None)


def imap(
    call: Call,
    items: Iterable[Any],
    *,
    ordered: bool = True,
    outcomes: bool = False,
) -> MapIterator:
    """Results one by one, as an iterator."""
    from procession.engine.map.iterators import MapIterator

    run, inline = _prepare(call, items, blocking=True, ordered=ordered, one_by_one=outcomes)
    decode: Any = outcome_of if outcomes else value_of
    return MapIterator.over(run, inline, _progress(call, run), decode)


def amap(call: Call, items: Iterable[Any]) -> AsyncMapIterator:
    """Results one by one, for ``async for``."""
    from procession.engine.map.iterators import AsyncMapIterator

    if Where(call, blocking=False).here:  # in a thread: it must not block the event loop
        from dataclasses import replace

        call = call._replace(options=replace(call.options, backend="thread", workers=1))

    def start(notify: Callable[[], None]) -> tuple[MapRun, Any]:
        run, _ = _prepare(call, items, blocking=False, ordered=True, notify=notify)
        return run, _progress(call, run)

    return AsyncMapIterator(start)


def map_async(call: Call, items: Iterable[Any]) -> Future[list[Any]]:
    """A future of all results."""
    from procession.engine.call_verbs import settled
    from procession.futures import Future

    future: Future[list[Any]] = Future()
    if Where(call, blocking=False).here:
        return settled(future, lambda: whole_map(call, items))

    def finished(result: Callable[[], list[Any]]) -> None:
        if run.withdrawn:
            future.settle_cancelled()
        else:
            settled(future, result)

    collector = FutureCollector(finished)
    try:
        run, _ = _prepare(call, items, blocking=False, ordered=False, notify=collector.notify)
    except BaseException as error:
        if strikes(error):
            raise
        future.settle(None, error)
        return future
    run.replies.keep()
    collector.attach(run)
    future.stand_for(_MapWork(run))
    try:
        run.go()
    except Exception as error:
        future.settle(None, error)
        run.cancel()
    return future


class _MapWork:
    """A whole map behind a future."""

    def __init__(self, run: MapRun) -> None:
        self._run = run
        self.name = run.plan.rules.name

    def cancel(self) -> bool:
        self._run.withdraw()
        return self._run.withdrawn

    def running(self) -> bool:
        return not self._run.closed

    def attend(self, timeout: float | None) -> None:
        pass

    def watched(self) -> None:
        pass


def _progress(call: Call, run: MapRun) -> Any:
    if not call.options.progress:
        return None
    from procession.engine.map.progress import open_progress

    return open_progress(call.options.progress, call.name, run.intake.source.length)
