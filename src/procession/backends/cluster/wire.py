"""What crosses between the caller and a far machine: chunks there, replies and ends back.

A message begins with the versions of Python and Procession, in plain text. They are compared before
anything else is read, as a pickle of another version may do worse than fail. All that follows is
plain data. What the user's code pickled stays closed until a worker opens it.
"""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Callable, Sequence

from procession.contract import Chunk, End
from procession.errors import BackendUnavailable
from procession.hints import Any
from procession.items import Column, Item, Reply, Results
from procession.system import NamedTuple, __version__
from procession.system.pristine import perf_counter

VERSIONS = (f"{sys.version_info[0]}.{sys.version_info[1]}", __version__)
"""Of Python and of Procession, here."""


_MAIN, _HIDDEN = b"__main__", b"__ma\0in__"
"""Dask pickles a task by value, which takes longer, if the first is in it, be it in our bytes."""


class Order(NamedTuple):
    """What is to be run over there.

    Attributes:
        workers: What shapes the workers, pickled: a `Shape` of `far_pools`.
        job: The job, unique over all callers.
        name: The function's name, for messages.
        timeout: Seconds that an item may run, or `None`.
        memory_limit: Bytes that an item may take, or `None`.
        items: ``(index, attempt, blob)`` each; or `None`, and `column` has them.
        column: Indexes and body of a `items.Column`, and whether it is plain; or `None`.
        ahead: Values that a generator may be ahead of its consumer; 0 for an ordinary chunk.
        header: The job's header; empty if it comes apart.
        puts: Keys of what was put, in the order in which their content comes apart.
        shared: How many of them, the first ones, go to every item of the job.
        sent: The caller's clock when this was packed.
    """

    workers: bytes
    job: tuple[str, int]
    name: str
    timeout: float | None
    memory_limit: int | None
    items: Sequence[tuple[int, int, Any]] | None
    column: tuple[Sequence[int], bytes, bool] | None
    ahead: int
    header: bytes
    puts: Sequence[Any]
    shared: int
    sent: float

    def content(self, given: Callable[[Any], Any]) -> list[Item] | Column:
        """The items as a local pool takes them; `given` makes of a blob what a worker is given."""
        if self.column is not None:
            indexes, body, plain = self.column
            return Column(indexes, indexes, body, plain=plain)  # no one asks for the values here
        items = self.items or ()
        return [Item(index, None, given(blob), (), attempt) for index, attempt, blob in items]


class Message(NamedTuple):
    """What comes home.

    Attributes:
        replies: To some items.
        results: Of a column's items, each with the place of the first one.
        end: How the chunk ended, if it has.
        host: The machine.
        clock: When the order came and when this was packed, by that machine's clock.
        more: Whether the rest comes as the task's result, since it is large.
        run: Tells one run of a task from another, which the engine may have made of it.
        sent: The caller's clock when it had packed the order.
        starts: Workers that have started for it: process, begin and end by that machine's clock.
    """

    replies: Sequence[Reply] = ()
    results: Sequence[tuple[int, Results]] = ()
    end: End | None = None
    host: str = ""
    clock: tuple[float, float] = (0.0, 0.0)
    more: bool = False
    run: str = ""
    sent: float = 0.0
    starts: Sequence[tuple[int, float, float]] = ()


def items_of(chunk: Chunk) -> list[tuple[int, int, Any]] | None:
    """The items of a chunk, as they are sent; `None` if they are a column."""
    if chunk.column is not None:
        return None
    return [(item.index, item.attempt, item.blob) for item in chunk.items]


def column_of(chunk: Chunk) -> tuple[Sequence[int], bytes, bool] | None:
    """The column that a chunk is, as it is sent; `None` if it is none."""
    column = chunk.column
    return None if column is None else (column.indexes, column.body, column.plain)


def puts_of(chunk: Chunk) -> tuple[list[Any], list[Any]]:
    """What was put that goes to every item of the chunk's job, and that goes to its own items."""
    shared = _puts(chunk.job.keeps)
    items = chunk.items if chunk.column is None else ()  # a column here refers to nothing
    own = [put for item in items for put in _puts(getattr(item, "keeps", ()))]
    return list(dict.fromkeys(shared)), list(dict.fromkeys(own))


def _puts(keeps: Sequence[Any]) -> list[Any]:
    return [each for each in keeps if hasattr(each, "crosses_machines")]


def pack_order(order: Order) -> bytes:
    """The order as bytes."""
    content = pickle.dumps(tuple(order), 5)
    hidden = _HIDDEN not in content
    if hidden:
        content = content.replace(_MAIN, _HIDDEN)
    return f"{'|'.join(VERSIONS)}|{hidden:d}\n".encode() + content


def open_order(packed: Any) -> Order:
    """The order again.

    Raises:
        BackendUnavailable: The caller has another version of Python or Procession.
    """
    packed = bytes(packed)
    first, _, content = packed.partition(b"\n")
    python, procession, hidden = first.decode().split("|")
    problem = mismatch((python, procession), VERSIONS, "this worker")
    if problem:
        raise BackendUnavailable(problem)
    if hidden == "1":
        content = content.replace(_HIDDEN, _MAIN)
    return Order(*pickle.loads(content))


def mismatch(caller: tuple[str, str], there: tuple[str, str], where: str) -> str:
    """What is wrong if the two have other versions; empty if nothing is."""
    for what, mine, other in zip(("Python", "Procession"), caller, there, strict=True):
        if mine != other:
            return (
                f"this program runs {what} {mine}, and {where} runs {what} {other}. Functions and "
                f"results cannot cross between them. Use {what} {mine} on the cluster, or "
                f"{what} {other} here."
            )
    return ""


def pack_message(message: Message) -> bytes:
    """A message as bytes; large buffers of results are part of it."""
    replies = [_plain(reply) for reply in message.replies]
    results = [(position, _plain_results(each)) for position, each in message.results]
    end = None if message.end is None else _plain_end(message.end)
    return pickle.dumps((replies, results, end, *message[3:]), 5)


def open_message(packed: Any) -> Message:
    """The message again; buffers of results are writable, as after any unpickling."""
    replies, results, end, *rest = pickle.loads(packed)
    return Message(
        [Reply(*fields) for fields in replies],
        [(position, _open_results(fields)) for position, fields in results],
        None if end is None else _open_end(end),
        *rest,
    )


def _plain(reply: Reply) -> tuple[Any, ...]:
    if not reply.buffers:
        return tuple(reply)
    return tuple(reply._replace(buffers=[bytearray(buffer) for buffer in reply.buffers]))


def _plain_results(results: Results) -> tuple[Any, ...]:
    body = pickle.dumps(results.payloads, 5)
    odd = [(place, _plain(reply)) for place, reply in results.odd]
    return tuple(results._replace(payloads=body, size=len(body), odd=odd))  # type: ignore[arg-type]


def _open_results(fields: Sequence[Any]) -> Results:
    results = Results(*fields)
    body: Any = results.payloads
    odd: Any = results.odd
    replies = [(place, Reply(*each)) for place, each in odd]
    return results._replace(payloads=pickle.loads(body), odd=replies)


def _plain_end(end: End) -> tuple[Any, ...]:
    if end.error is None:
        return tuple(end)
    from procession.pickling.exceptions import dump_exception

    return tuple(end._replace(error=dump_exception(end.error, "by-value")))  # type: ignore[arg-type]


def _open_end(fields: Sequence[Any]) -> End:
    end = End(*fields)
    if end.error is None:
        return end
    from procession.pickling.exceptions import load_exception

    packed: Any = end.error
    return end._replace(error=load_exception(packed))


class Clocks:
    """How far the clocks of other machines' processes are ahead of this one's.

    Each machine counts from a start of its own. A message tells when its order came and when it
    left, by the clock over there. It cannot have come before it was sent, nor left after it
    arrived. So the two clocks differ by something between two bounds; the closest are kept.
    """

    def __init__(self) -> None:
        self._bounds: dict[str, tuple[float, float]] = {}

    def here(
        self, message: Message, replies: Sequence[Reply], now: float | None = None
    ) -> Sequence[Reply]:
        """Replies with their times by this machine's clock, and the machine as the place.

        Args:
            message: What they came with.
            replies: Those of its replies that count.
            now: When it came.
        """
        came, left = message.clock
        arrived = perf_counter() if now is None else now
        least, most = self._bounds.get(message.host, (-math.inf, math.inf))
        # It left over there before it arrived here; its order came there after it was sent here.
        least = max(least, left - arrived)
        most = min(most, came - message.sent)
        self._bounds[message.host] = least, most
        if not any(reply.timing for reply in replies):
            return replies
        ahead = self.ahead(message.host)
        return [_moved(reply, ahead, message.host) for reply in replies]

    def ahead(self, host: str) -> float:
        """Seconds that the clock of a machine is ahead, which has sent something."""
        least, most = self._bounds[host]
        return (least + most) / 2


def _moved(reply: Reply, ahead: float, host: str) -> Reply:
    if reply.timing is None:
        return reply
    begin, seconds, pid, thread = reply.timing
    return reply._replace(timing=(begin - ahead, seconds, pid, thread or host))
