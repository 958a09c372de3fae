"""What each verb that maps does: choose where, make the job, start, and give the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any, cast

from procession.backends import registry
from procession.backends.draining import check_open
from procession.engine.call import Call
from procession.engine.calls import settled
from procession.engine.local.inline import Inline
from procession.engine.local.short_map import Opening, opens_here
from procession.engine.map.async_results import AsyncMapIterator, FutureCollector
from procession.engine.map.map_run import MapRun
from procession.engine.map.progress import open_progress
from procession.engine.map.results import MapIterator, collect
from procession.engine.map.source import Source
from procession.engine.planning.common_arguments import parted
from procession.engine.planning.decoding import outcome_of, value_of
from procession.engine.planning.in_process import header_here, initialized
from procession.engine.planning.job import make_job, packer
from procession.engine.planning.plan import Plan
from procession.engine.planning.routing import Where
from procession.engine.policy.placement import Placement
from procession.engine.policy.schedule import Schedule
from procession.futures import Future
from procession.recording.observer import UNOBSERVED, call_began
from procession.system.interrupts import strikes
from procession.system.pristine import perf_counter
from procession.worker.job_header import Style

__all__ = ["amap", "imap", "map_async", "map_list"]

_WINDOW_PER_WORKER = 1024
"""Items taken ahead per worker where the user sets no window; pickled bytes bound it as well
(`mapping.BYTES_AHEAD`). Large, so that one long item at the front stops nobody. A guess."""


def _prepare(
    call: Call,
    style: Style,
    items: Iterable[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    blocking: bool,
    ordered: bool,
    one_by_one: bool = False,
    whole: bool = False,
    recorded: bool = True,
    notify: Callable[[], None] | None = None,
) -> tuple[MapRun, Inline | None]:
    """Make the run of a map, and the runner of items here if there is to be one."""
    call, kwargs = _parted(call, kwargs)
    if recorded:  # else it was taken before, and began here
        check_open(call.name)
    since = perf_counter()
    where = Where(call, blocking=blocking)
    from procession.engine.planning.strict_crossing import crossing

    crosses = crossing()
    serial = where.serial or (where.inline and call.options.inline is True)
    # What shares this process by the caller's choice of a backend crosses nothing, ever.
    checks = not (where.serial or where.shares or crosses)
    source = Source(items)
    here = where.shares or (serial and not crosses and not checks)
    plan = _plan(call, style, args, kwargs, where, serial=serial, here=here, ordered=ordered)
    if serial:
        call = initialized(call)
    # A generator may wait for the results of what it gave before.
    aside = not blocking or (not whole and source.may_wait())
    observer = call_began(call.name, since) if recorded else UNOBSERVED
    observer.packed()
    run = MapRun(plan, source, where.backend, notify, observer, aside=aside)
    if call.options.deadline is not None:
        run.expire_after(call.options.deadline)
    if not serial and plan.placement is None:
        return run, None
    header = header_here(call, style, args, kwargs, plan.job.common)
    single = one_by_one or not (whole or source.inert)
    warm = not serial and registry.is_warm(where.choice)
    inline = Inline(
        run,
        header,
        single=single,
        whole=whole,
        serial=serial,
        crossing=crosses,
        checks=checks,
        warm=warm,
    )
    if not warm or (plan.placement is not None and plan.placement.begins_here(source.length)):
        inline.begin()
    return run, inline


def _plan(
    call: Call,
    style: Style,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    where: Where,
    *,
    serial: bool,
    here: bool,
    ordered: bool,
) -> Plan:
    options, beside = call.options, where.out_of_band
    job = make_job(call, style, args, kwargs, shares=here, out_of_band=beside)
    shares = here or where.serial
    pack = packer(call, style, args, kwargs, shares=shares, out_of_band=beside)
    workers = 1 if serial else options.workers
    placement = None
    if where.inline and not serial:
        placement = Placement(workers, call.pace, loaded=registry.is_loaded(options.backend))
    window = options.window or _WINDOW_PER_WORKER * workers
    chunk: Any = 1 if registry.one_by_one(where.choice) else options.chunk
    schedule = Schedule(chunk=chunk, window=window)
    return Plan(job, call.rules(), pack, schedule, placement, window, ordered)


def _parted(call: Call, kwargs: dict[str, Any]) -> tuple[Call, dict[str, Any]]:
    """What is bound to the function goes to every item, and as such is each item's own."""
    if type(call.function) is FunctionType:
        return call, kwargs
    function, before, named = parted(call.function)
    if function is call.function:
        return call, kwargs
    return call._replace(function=function, prefix=(*before, *call.prefix)), {**named, **kwargs}


def map_list(
    call: Call, style: Style, items: Iterable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Any]:
    """All results in input order."""
    call, kwargs = _parted(call, kwargs)
    if style == "value" and not args and not kwargs:
        pace = opens_here(call, items)
        if pace is not None:
            opening = Opening(call, cast("Sequence[Any]", items), pace, _make_opened)
            if opening.passes():
                return opening.results()
    run, inline = _prepare(
        call, style, items, args, kwargs, blocking=True, ordered=False, whole=True
    )
    return collect(run, inline, _progress(call, run))


def _make_opened(call: Call, items: list[Any]) -> tuple[MapRun, Inline]:
    """Make the map of what began without one."""
    run, inline = _prepare(
        call, "value", items, (), {}, blocking=True, ordered=False, whole=True, recorded=False
    )
    assert inline is not None
    return run, inline


def imap(
    call: Call,
    items: Iterable[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    ordered: bool = True,
    outcomes: bool = False,
) -> MapIterator:
    """Results one by one, as an iterator."""
    run, inline = _prepare(
        call,
        "value",
        items,
        args,
        kwargs,
        blocking=True,
        ordered=ordered,
        one_by_one=outcomes,
    )
    decode: Any = outcome_of if outcomes else value_of
    return MapIterator.over(run, inline, _progress(call, run), decode)


def amap(
    call: Call, items: Iterable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncMapIterator:
    """Results one by one, for ``async for``."""
    where = Where(call, blocking=False)
    if where.serial:
        call = call._replace(options=_threaded(call))

    def start(notify: Callable[[], None]) -> tuple[MapRun, Any]:
        run, _ = _prepare(
            call, "value", items, args, kwargs, blocking=False, ordered=True, notify=notify
        )
        return run, _progress(call, run)

    return AsyncMapIterator(start)


def _threaded(call: Call) -> Any:
    """Options for a serial run that must not block the event loop: one thread."""
    from dataclasses import replace

    return replace(call.options, backend="thread", workers=1)


def map_async(
    call: Call, items: Iterable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Future[list[Any]]:
    """A future of all results."""
    future: Future[list[Any]] = Future()
    if Where(call, blocking=False).serial:
        return settled(future, lambda: map_list(call, "value", items, args, kwargs))

    def finished(result: Callable[[], list[Any]]) -> None:
        settled(future, result)

    collector = FutureCollector(finished)
    try:
        run, _ = _prepare(
            call,
            "value",
            items,
            args,
            kwargs,
            blocking=False,
            ordered=False,
            notify=collector.notify,
        )
    except BaseException as error:
        if strikes(error):
            raise
        future.settle(None, error)
        return future
    run.abandoned = False
    collector.attach(run)
    future.stand_for(_MapWork(run))
    try:
        run.go()
    except Exception as error:
        run.cancel()
        future.settle(None, error)
    return future


class _MapWork:
    """A whole map behind a future."""

    def __init__(self, run: MapRun) -> None:
        self._run = run
        self.name = run.plan.rules.name

    def cancel(self) -> bool:
        if self._run.closed:
            return False
        self._run.cancel()
        return True

    def running(self) -> bool:
        return not self._run.closed

    def attend(self, timeout: float | None) -> None:
        pass

    def watched(self) -> None:
        pass


def _progress(call: Call, run: MapRun) -> Any:
    if not call.options.progress:
        return None
    return open_progress(call.options.progress, call.name, run.intake.source.length)
