"""One call: as a future, or as the stream of values of a generator function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

from procession import logger as notices
from procession.backends.draining import check_open
from procession.contract import Item, Reply, Settled
from procession.engine.call import Call
from procession.engine.planning.decoding import value_of
from procession.engine.planning.in_process import header_here, initialized, reply_here
from procession.engine.planning.job import make_job, packer, single_job
from procession.engine.planning.pending import Place, admit
from procession.engine.planning.retry_delay import seconds_before
from procession.engine.planning.routing import Where, route
from procession.engine.policy.blame import Rules, may_retry, unable
from procession.engine.single import SingleCall
from procession.errors import OptionError, PoolClosed
from procession.futures import Future
from procession.recording.observer import call_began
from procession.system.interrupts import strikes
from procession.system.pristine import time
from procession.worker.job_header import Header

__all__ = ["runs_here", "settled", "stream", "submit"]


def settled(future: Future[Any], result: Callable[[], Any]) -> Future[Any]:
    """Settle a future with what `result` returns or raises."""
    try:
        value = result()
    except BaseException as error:
        if strikes(error):
            raise
        future.settle(None, error)
    else:
        future.settle(value)
    return future


def _refuse(error: BaseException) -> NoReturn:
    raise error


def runs_here(call: Call) -> bool:
    """Whether a single call of the function would run in this process."""
    return Where(call, blocking=False).serial


def submit(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    """A future of one call. Whatever is wrong with the call is in the future."""
    value = ((*call.prefix, *args), kwargs)
    plain = call if not call.prefix else call._replace(prefix=())
    try:
        way = route(plain)
    except PoolClosed as error:  # while `shutdown` drains
        return settled(Future(), partial(_refuse, error))
    if way is None:
        item, rules = Item(call.number(), value), call.rules(single=True)
        observer = call_began(call.name, single=True)
        reply = _replied_here(header_here(initialized(plain), "call", (), {}), item, rules)
        observer.ran_here(0, [value], reply.seconds, not reply.ok)
        observer.finished()
        over = Settled(item, reply)
        return settled(Future(), lambda: value_of(over, rules))
    single = SingleCall(way.backend, way.rules)
    number = call.number()  # also of a call that is refused
    try:
        single.admit(plain.options.max_pending)
        single.expire_after(plain.options.deadline)
        job = make_job(plain, "call", shares=True) if way.where.shares else single_job(plain)
        single.start(job, way.pack(number, value))
    except Exception as error:
        single.refuse(error)
    return single.future


def _replied_here(header: Header, item: Item, rules: Rules) -> Reply:
    """Run a call here, again after those errors that ask for it."""
    reply = reply_here(header, item)
    while not reply.ok and rules.retry_on and may_retry(item, reply.payload, rules):
        notices.retried(rules.name, rules.retries, item, reply.payload, single=True)
        try:
            seconds = seconds_before(rules, item.attempt)
        except Exception as error:  # of the user's function, which says how long
            return reply._replace(payload=unable(item, error))
        time.sleep(seconds)
        reply = reply_here(header, item)
    return reply


def stream(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
    """The values of a generator function, which runs in a process of its own."""
    if call.options.retries:
        raise OptionError(
            f"{call.name}() is a generator function and was decorated with "
            f"retries={call.options.retries}: values that were given cannot be taken back. Leave "
            "retries out, or retry around the whole loop."
        )
    if call.options.deadline is not None:
        raise OptionError(
            f"{call.name}() is a generator function and was decorated with "
            f"deadline={call.options.deadline:g}: a stream has no one result to wait for. Leave "
            "deadline out, or write timeout= for what the generator may take."
        )
    check_open(call.name)
    where = Where(call, blocking=False)
    if where.serial:
        values: Iterator[Any] = initialized(call).function(*call.prefix, *args, **kwargs)
        observer = call_began(call.name, single=True)
        return observer.yielding(((*call.prefix, *args), kwargs), values)
    from procession.engine.streaming import Stream

    value = ((*call.prefix, *args), kwargs)
    plain = call._replace(prefix=())
    backend: Any = where.backend()
    place = None
    if call.options.max_pending is not None:
        place = Place()
        admit(place, backend, call.name, call.options.max_pending)
    observer = call_began(call.name, single=True)
    job = make_job(plain, "call")
    item = packer(plain, "call")(call.number(), value)
    source = backend.stream(job, item)
    chunk = source._ticket.chunk
    chunk.home = backend
    return Stream(source, chunk, call.rules(single=True), observer, place)
