"""What each verb does: choose where, make the job, start the map, and give the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from procession.backends import registry
from procession.backends.base import Backend, Item
from procession.configuration import Options
from procession.engine.awaiting import AsyncMapIterator, FutureCollector
from procession.engine.blame import Rules
from procession.engine.consuming import MapIterator, collect
from procession.engine.decoding import outcome_of, value_of
from procession.engine.inline import Inline
from procession.engine.job import (
    Call,
    header_here,
    make_job,
    packer,
    reply_here,
    rules_of,
    single_job,
)
from procession.engine.mapping import MapRun
from procession.engine.placement import Placement
from procession.engine.plan import Plan, Settled
from procession.engine.progress import open_progress
from procession.engine.schedule import Schedule
from procession.engine.single import SingleCall
from procession.engine.source import Source
from procession.errors import OptionError
from procession.futures import Future
from procession.worker.run import Style
from procession.worker.state import in_worker

__all__ = ["amap", "imap", "map_async", "map_list", "runs_here", "stream", "submit"]

_WINDOW_PER_WORKER = 1024
"""Items taken ahead per worker where the user sets no window; pickled bytes bound it as well
(`mapping.BYTES_AHEAD`). Large, so that one long item at the front stops nobody. A guess."""


class _Where:
    """Where a call's items are going to run."""

    def __init__(self, call: Call, *, blocking: bool) -> None:
        options = call.options
        nested = in_worker() and not call.isolated
        if nested:
            from procession.worker.run import nested as rule

            rule.check(call.name, options.nested)
        limited = options.timeout is not None or options.memory_limit is not None
        self.serial = options.backend == "serial" or (nested and not limited)
        self.shares = options.backend == "thread" and not call.isolated
        self.inline = blocking and not call.isolated and options.may_inline and not nested
        isolated = call.isolated or nested
        module = getattr(call.function, "__module__", "") if isolated else ""
        module = "" if module == "__main__" else module
        self.choice = registry.Choice(options, isolated, module)
        self.out_of_band = self.choice.out_of_band

    def backend(self) -> Backend:
        return registry.backend_for(self.choice)


class _Route(NamedTuple):
    """Where a function's last single call went: where the next one goes, if nothing has changed."""

    options: Options
    age: int
    where: _Where
    backend: Backend
    rules: Rules
    pack: Callable[[int, Any], Item]


def _route(call: Call) -> _Route | None:
    """The way of a single call to its pool; `None` if it runs here."""
    kept: _Route | None = getattr(call.decorated, "_self_route", None)
    if (
        kept is not None
        and kept.options is call.options
        and kept.age == registry.age()
        and not in_worker()
    ):
        return kept
    age = registry.age()
    where = _Where(call, blocking=False)
    if where.serial:
        return None
    pack = packer(call, "call", shares=where.shares, out_of_band=where.out_of_band)
    rules = rules_of(call, single=True)
    route = _Route(call.options, age, where, where.backend(), rules, pack)
    if call.decorated is not None and not in_worker():
        call.decorated._self_route = route
    return route


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
    notify: Callable[[], None] | None = None,
) -> tuple[MapRun, Inline | None]:
    """Make the run of a map, and the runner of items here if there is to be one."""
    options = call.options
    where = _Where(call, blocking=blocking)
    from procession.engine.crossing import crossing

    crosses = crossing()
    serial = where.serial or (where.inline and options.inline is True)
    source = Source(items)
    job = make_job(
        call,
        style,
        args,
        kwargs,
        shares=where.shares or (serial and not crosses),
        out_of_band=where.out_of_band,
    )
    workers = 1 if serial else options.workers
    placement = Placement(workers) if where.inline and not serial else None
    window = options.window or _WINDOW_PER_WORKER * workers
    chunk: Any = 1 if registry.one_by_one(where.choice) else options.chunk
    plan = Plan(
        job,
        rules_of(call),
        packer(call, style, shares=where.shares or serial, out_of_band=where.out_of_band),
        Schedule(chunk=chunk, window=window),
        placement,
        window,
        ordered,
    )
    run = MapRun(plan, source, where.backend, notify)
    if not serial and placement is None:
        return run, None
    header = header_here(call, style, args, kwargs)
    single = one_by_one or (ordered and not source.inert)
    inline = Inline(run, header, single=single, whole=whole, serial=serial, crossing=crosses)
    if serial or not registry.is_warm(where.choice):
        inline.begin()
    return run, inline


def map_list(
    call: Call, style: Style, items: Iterable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Any]:
    """All results in input order."""
    run, inline = _prepare(
        call, style, items, args, kwargs, blocking=True, ordered=False, whole=True
    )
    return collect(run, inline, _progress(call, run))


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
    where = _Where(call, blocking=False)
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
    if _Where(call, blocking=False).serial:
        return _settled(future, lambda: map_list(call, "value", items, args, kwargs))

    def finished(result: Callable[[], list[Any]]) -> None:
        _settled(future, result)

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
    except Exception as error:
        future.settle(None, error)
        return future
    run.abandoned = False
    collector.attach(run)
    future._work = _MapWork(run)
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


def _settled(future: Future[Any], result: Callable[[], Any]) -> Future[Any]:
    try:
        value = result()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        future.settle(None, error)
    else:
        future.settle(value)
    return future


def runs_here(call: Call) -> bool:
    """Whether a single call of the function would run in this process."""
    return _Where(call, blocking=False).serial


def submit(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    """A future of one call. Whatever is wrong with the call is in the future."""
    value = ((*call.prefix, *args), kwargs)
    plain = call if not call.prefix else call._replace(prefix=())
    route = _route(plain)
    if route is None:
        item = Item(0, value)
        reply = reply_here(header_here(plain, "call", (), {}), item)
        settled = Settled(item, reply)
        return _settled(Future(), lambda: value_of(settled, rules_of(call, single=True)))
    single = SingleCall(route.backend, route.rules)
    try:
        job = make_job(plain, "call", shares=True) if route.where.shares else single_job(plain)
        single.start(job, route.pack(0, value))
    except Exception as error:
        single.future.settle(None, error)
    return single.future


def stream(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
    """The values of a generator function, which runs in a process of its own."""
    where = _Where(call, blocking=False)
    if where.serial:
        values: Iterator[Any] = call.function(*call.prefix, *args, **kwargs)
        return values
    if call.options.retries:
        raise OptionError(
            f"{call.name}() is a generator function and was decorated with "
            f"retries={call.options.retries}: values that were given cannot be taken back. Leave "
            "retries out, or retry around the whole loop."
        )
    from procession.engine.streaming import Stream

    value = ((*call.prefix, *args), kwargs)
    plain = call._replace(prefix=())
    job = make_job(plain, "call")
    item = packer(plain, "call")(0, value)
    backend: Any = where.backend()
    source = backend.stream(job, item)
    return Stream(source, source._ticket.chunk, rules_of(call, single=True))


def _progress(call: Call, run: MapRun) -> Any:
    if not call.options.progress:
        return None
    return open_progress(call.options.progress, call.name, run.intake.source.length)
