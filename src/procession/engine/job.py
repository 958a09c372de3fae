"""From a call and its options to what a backend needs, and to what stays the same in a map."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from functools import partial
from types import FunctionType
from weakref import ref

from procession.configuration import Options
from procession.engine.call import Call
from procession.engine.common_arguments import (
    NOTHING_COMMON,
    copied,
    dump_common,
    loading_for,
    vary,
)
from procession.engine.local.in_process import header_here, reply_here
from procession.engine.local.where import Where, placement_of
from procession.engine.packing import Packed, column_packer, packer
from procession.engine.policy.blame import Rules
from procession.engine.policy.placement import Placement
from procession.engine.policy.schedule import Schedule
from procession.forwarding.interpreter_settings import differing, separate
from procession.forwarding.outgoing import Outgoing, outgoing, unchanged
from procession.functions.needs import needed_modules
from procession.hints import Any
from procession.items import Item, Job, Reply
from procession.observer import observers, timing
from procession.pickling.freshness import Watch
from procession.pickling.out_of_band import BroadcastBuffers, with_senders
from procession.system import NamedTuple
from procession.system.descriptors import NAMELESS
from procession.worker.job_header import Loading, pack_header

_keys = itertools.count(1)

_WINDOW_PER_WORKER = 16 * 1024
"""Items taken ahead per worker where the user sets no window; pickled bytes bound it as well
(`engine.map.feeding.BYTES_AHEAD`). Large, so that one long item at the front stops nothing, and
short ones go some thousands to a message. A guess."""


class Plan(NamedTuple):
    """What stays the same during one map.

    Attributes:
        job: What every item has in common.
        rules: Retries, and the name for messages.
        pack: Makes the item for an index and a value; raises what refuses it.
        columns: Whether items go as columns, but for odd ones.
        pack_column: Packs many values together; `None` if they are to go one by one.
        schedule: Says how many items the next chunk has.
        placement: Says whether the caller's own thread had better run the next items; `None` if
            it must run none.
        window: Most items taken from the input and not yet given to the consumer.
        exact: Whether the user has set it.
        ordered: Whether the consumer wants the items in input order.
    """

    job: Job
    rules: Rules
    pack: Callable[[int, Any], Item]
    columns: bool
    pack_column: Callable[[Sequence[int], Sequence[Any]], Packed | None]
    schedule: Schedule
    placement: Placement | None
    window: int
    exact: bool
    ordered: bool


def make_plan(
    call: Call,
    where: Where,
    *,
    ordered: bool,
    whole: bool,
    warm: bool,
    each: bool,
) -> Plan:
    """What stays the same during a map of this call.

    Args:
        call: What is called.
        where: Where items run.
        ordered: Whether the consumer wants the items in input order.
        whole: Whether it wants all results at once, which are all kept then.
        warm: Whether a worker is up. One that is new may take its time.
        each: Whether it wants to know how long each item took.

    Raises:
        NotPicklable: As `make_job`.
    """
    options, out_of_band = call.options, where.out_of_band
    if where.pickles:
        job = make_job(call, out_of_band=out_of_band, each=each)
    else:
        job = thread_job(call)
    shares = where.shares or where.serial
    if whole and not options.progress:
        job.want_at_once()
    pack = packer(call, shares=shares, out_of_band=out_of_band)
    placement = placement_of(call) if where.measured else None
    columns = not (shares or where.choice.one_by_one or observers.active)
    far = where.choice.on_cluster
    pack_column = column_packer(call, puts=not far) if columns else _none
    window = options.window or _WINDOW_PER_WORKER * where.workers
    exact = options.window is not None
    if whole and not exact:
        window = sys.maxsize
    chunk: Any = 1 if where.choice.one_by_one else options.chunk
    schedule = Schedule(
        chunk,
        window,
        where.costs,
        divided=whole and columns and where.divides,
        warm=warm,
        pace=call.pace,
    )
    rules = call.rules()
    return Plan(job, rules, pack, columns, pack_column, schedule, placement, window, exact, ordered)


def _none(indexes: Sequence[int], values: Sequence[Any]) -> None:
    """Values that always go one by one."""


def thread_job(call: Call, *, exits: bool = False) -> Job:
    """The job for workers that are threads of this process: nothing is pickled.

    Args:
        call: What is called.
        exits: Whether SystemExit comes home as itself.
    """
    job = _new_job(call)
    if vary(call.common):
        job.common = copied(call)
    header = header_here(call, job.common)
    header = header._replace(settings=header.settings._replace(exits=exits))
    run = partial(reply_here, header, None)
    job.call = partial(_in_thread, copy_context(), timing(run) if observers.active else run)
    return job


def _in_thread(context: Context, reply: Callable[[Item], Reply], item: Item) -> Reply:
    """Run an item in a thread that stands for a worker, in a context of the item's own."""

    def run() -> Reply:
        separate()
        return reply(item)

    return context.copy().run(run)


def make_job(
    call: Call, *, out_of_band: bool = True, exits: bool = False, each: bool = False
) -> Job:
    """The job for workers that are processes.

    Args:
        call: What is called.
        out_of_band: Whether large buffers may travel outside the pickle.
        exits: Whether SystemExit comes home as itself.
        each: Whether the seconds of each item are wanted.

    Raises:
        NotPicklable: The function, or an argument that goes to every item, cannot cross.
    """
    from procession.functions.packed_function import dump_function

    context, options, values = copy_context(), call.options, call.common
    apart = out_of_band and NAMELESS
    buffers: list[Any] = []
    functions_own: list[Any] = []  # the function's, which come after those of the arguments

    def dump() -> tuple[bytes, bytes]:
        own = functions_own if apart else None
        function = dump_function(call.function, call.decorated, options.pickling, own)
        return function, dump_common(call, buffers if apart else None)

    (function, common), keeps = with_senders(dump, far=call.far)
    loading: Loading = loading_for(values, common) if vary(values) else "once"
    how = {"exits": exits, "loading": loading, "each": each, "interpreter": differing()}
    how["timed"] = bool(observers.active)
    pack = partial(_packed_header, call, function, common, len(buffers), how)
    # What was pickled by its address must be kept until the last worker has opened it.
    buffers += functions_own
    large = BroadcastBuffers(buffers) if buffers else ()
    job = _new_job(call, partial(context.run, pack), large, (*keeps, *values))
    if loading != "once":
        job.common = common, job.buffers
    return job


def _packed_header(
    call: Call, function: bytes, common: bytes, of_common: int, how: dict[str, Any]
) -> bytes:
    """In the caller's context, when a worker first needs it: the header of a map's job."""
    options = call.options
    out = outgoing(options.pickling) if options.forward_logs else None
    return pack_header(function, common, call.settings(out, **how), of_common)


class _Kept(NamedTuple):
    """The job of a function's last single call, and all that it was made of."""

    raw: Callable[..., Any]
    options: Options
    watch: Watch
    interpreter: bytes
    out: Outgoing | None
    timed: bool
    job: Job


def single_job(call: Call) -> Job:
    """The job for a single call whose arguments all travel with the item.

    The last one is used again as long as nothing has changed that a worker would see, so that
    workers know it already.

    Raises:
        NotPicklable: The function cannot cross.
    """
    options = call.options
    timed = bool(observers.active)
    interpreter = differing()
    kept: _Kept | None = None if call.history is None else call.history.job
    if (
        kept is not None
        and kept.raw is call.function
        and kept.options is options
        and kept.timed is timed
        and kept.interpreter is interpreter
        and kept.watch.holds()
        and unchanged(kept.out)
    ):
        return kept.job
    from procession.functions.packed_function import dump_watched

    (function, watch), keeps = with_senders(
        lambda: dump_watched(call.function, call.decorated, options.pickling), far=call.far
    )
    out = outgoing(options.pickling) if options.forward_logs else None
    if (
        kept is not None
        and kept.raw is call.function
        and kept.watch is watch
        and kept.interpreter == interpreter
        and kept.out == out
        and kept.timed is timed
        and kept.options == options
    ):
        return kept.job
    settings = call.settings(out, timed=timed, interpreter=interpreter)
    job = _new_job(call, lambda: pack_header(function, NOTHING_COMMON, settings), keeps=keeps)
    if call.history is not None and watch is not None:
        call.history.job = _Kept(call.function, options, watch, interpreter, out, timed, job)
    return job


def _modules_of(function: Any) -> Callable[[], tuple[str, ...]]:
    """Tells the modules that a function needs, without keeping it.

    A job may be known to a thread that still waits when the program ends. If it led to the globals
    of ``__main__``, these would never be let go: what was written to a file there would be lost.
    """
    if type(function) is not FunctionType:
        return tuple
    known = ref(function)
    return lambda: needed_modules(known())


def _new_job(
    call: Call,
    header: Callable[[], bytes] = bytes,
    buffers: Sequence[Any] = (),
    keeps: Sequence[object] = (),
) -> Job:
    options = call.options
    return Job(
        next(_keys),
        call.name,
        header,
        buffers,
        timeout=options.timeout,
        memory_limit=options.memory_limit,
        keeps=keeps,
        modules=_modules_of(call.function),
    )
