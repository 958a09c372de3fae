"""What the parent and a worker say to each other, as tuples that `channel.frame` can send.

Down: `TASK` (a chunk, with its job's header the first time), `STOP`, `CREDIT` (the consumer of a
stream has taken values), `FORGET` (jobs that are over). Up: `HELLO` (ready), `FAILED` (its set-up
raised), `REPLIES` (some), `DONE` (the last ones of a chunk). A single call that fits goes down as
`CALL`, and its result up as `RESULT`. Several of one job that wait together go as `CALLS`; `UNRUN`
says that one of them was found to be taken back. `LEARN` gives a spare worker the header of the job
that it is likely to be used for, and the modules to import for it. `IMPORTED` tells what a call has
imported.

A blob of up to `channel.SEGMENT` bytes travels in the tuple; of a larger one, and of each buffer,
the tuple holds a placeholder, and the bytes follow as a segment. Of buffers that lie in shared
memory the tuple holds the ticket (see `procession.buffers.nameless_memory`). So a message without
segments is used as it stands: that is what most are, and what the latency of a call depends on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from procession.buffers.nameless_memory import Gone, Ticket
from procession.hints import Any
from procession.items import Column, Item, Job, Reply, Results
from procession.pickling.objects import is_a
from procession.pickling.out_of_band import BroadcastBuffers
from procession.process.io.channel import SEGMENT, Frame, Passed, frame
from procession.system import NamedTuple
from procession.system.cpython import pickle

TASK, STOP, CREDIT, HELLO, FAILED, REPLIES, DONE, FORGET, CALL, RESULT, LEARN = range(11)
CALLS, UNRUN, IMPORTED = 11, 12, 13

_ALONG = ...
"""Placeholder of a blob that follows as a segment. No value is sent as itself that looks so."""


class Task(NamedTuple):
    """A chunk as the worker sees it.

    Attributes:
        key: The job.
        header: The job's header and its buffers, or `None` if the worker has them already.
        forget: Jobs the worker may drop.
        items: ``(index, attempt, blob, buffers)`` each.
        ahead: How many values a generator may be ahead of its consumer; 0 if it is no generator.
        column: Instead of items: indexes, body (as in `items.Column`), whether the time or memory
            of each is limited, and whether all results are wanted at once.
    """

    key: int
    header: tuple[Any, Sequence[Any]] | None
    forget: Sequence[int]
    items: Sequence[tuple[int, int, Any, Sequence[Any]]]
    ahead: int
    column: tuple[Sequence[int], Any, bool, bool] | None


def _pack(blob: Any, buffers: Any, segments: list[Any]) -> tuple[Any, Any]:
    """What the tuple holds for a blob and its buffers; what is to follow goes to `segments`."""
    if isinstance(blob, (bytes, bytearray)) and len(blob) >= SEGMENT:
        segments.append(blob)
        blob = _ALONG
    if isinstance(buffers, BroadcastBuffers):
        buffers = buffers.sendable()
    if is_a(buffers, tuple):
        return blob, tuple(buffers)
    if not buffers:
        return blob, ()
    segments.extend(buffers)
    return blob, len(buffers)


def _unpack(packed: Sequence[Any], segments: Iterator[Any]) -> tuple[Any, Sequence[Any]]:
    blob, buffers = packed
    if blob is _ALONG:
        blob = next(segments)
    if is_a(buffers, tuple):
        return blob, buffers
    return blob, [next(segments) for _ in range(buffers)]


def pack_task(
    job: Job,
    content: Sequence[Item] | Column,
    with_header: bool,
    forget: Sequence[int],
    ahead: int = 0,
) -> list[Any]:
    """The frame that sends a chunk."""
    segments: list[Any] = []
    header = _pack(job.header, job.buffers, segments) if with_header else None
    if isinstance(content, Column):
        limited = job.timeout is not None or job.memory_limit is not None
        indexes = content.indexes
        ranged = isinstance(indexes, range)
        body, _ = _pack(content.body, (), segments)
        ends = (indexes.start, indexes.stop) if isinstance(indexes, range) else tuple(indexes)
        at_once = job.at_once and not limited
        column = ends, ranged, body, limited, at_once
        return frame((TASK, job.key, header, tuple(forget), (), ahead, column), segments)
    packed = [
        (item.index, item.attempt, *_pack(item.blob, item.buffers, segments))
        if item.buffers or item.size >= SEGMENT
        else (item.index, item.attempt, item.blob, ())
        for item in content
    ]
    return frame((TASK, job.key, header, tuple(forget), packed, ahead, None), segments)


def unpack_task(message: tuple[Any, ...], segments: Sequence[Any]) -> Task:
    """The other side of `pack_task`."""
    rest = iter(segments)
    _, key, header, forget, items, ahead, column = message[:7]
    if segments:
        header = None if header is None else _unpack(header, rest)
        items = [(index, attempt, *_unpack(packed, rest)) for index, attempt, *packed in items]
    if column is not None:
        indexes, ranged, body, limited, at_once = column
        body, _ = _unpack((body, ()), rest)
        column = range(*indexes) if ranged else indexes, body, limited, at_once
    return Task(key, header, forget, items, ahead, column)


def task_of_call(key: int, index: int, given: Any) -> Task:
    """The task that a `CALL` stands for, for what cannot be run as one."""
    blob = given if type(given) is bytes else pickle.dumps((given, {}), 5)
    return Task(key, None, (), [(index, 1, blob, ())], 0, None)


def pack_replies(kind: int, replies: Sequence[Reply], chunk: int) -> Frame:
    """The frame that brings replies home; `kind` is `REPLIES` or `DONE`.

    It says to which of the chunks that the worker was given, counted from 1, they belong.
    """
    segments: list[Any] = []
    packed, descriptors = _pack_each(replies, segments)
    return _whole((kind, packed, chunk, None), segments, descriptors)


def pack_results(kind: int, position: int, results: Results, chunk: int) -> Frame:
    """The frame that brings results of a column home, from this position in it on."""
    payloads, seconds, _, odd, each, extras, span = results
    segments: list[Any] = []
    body, _ = _pack(pickle.dumps(payloads, 5), (), segments)
    packed, descriptors = _pack_each([reply for _, reply in odd], segments)
    places = [place for place, _ in odd]
    column = position, body, seconds, places, each, extras, span
    return _whole((kind, packed, chunk, column), segments, descriptors)


def _pack_each(
    replies: Sequence[Reply], segments: list[Any]
) -> tuple[list[tuple[Any, ...]], list[int]]:
    """What the tuple holds for replies, and the descriptors to pass with them."""
    packed: list[tuple[Any, ...]] = []
    descriptors: list[int] = []
    for index, ok, payload, buffers, seconds, raw, extras, timing in replies:
        if raw:
            packed.append((index, ok, payload, (), seconds, True, extras, timing))
            continue
        if buffers or len(payload) >= SEGMENT:
            if buffers and isinstance(buffers, tuple):
                descriptors.append(Ticket(*buffers).fd)
            payload, buffers = _pack(payload, buffers, segments)
        packed.append((index, ok, payload, buffers or (), seconds, False, extras, timing))
    return packed, descriptors


def _whole(message: tuple[Any, ...], segments: list[Any], descriptors: list[int]) -> Frame:
    whole = frame(message, segments)
    if descriptors:
        whole.descriptors = descriptors
    return whole


def unpack_replies(
    message: tuple[Any, ...], segments: Sequence[Any], passed: Passed | None = None
) -> list[Reply]:
    """The other side of `pack_replies`. Shared memory is opened at once: its sender may end."""
    return _unpack_each(message[1], iter(segments), passed)


def unpack_results(
    message: tuple[Any, ...], segments: Sequence[Any], passed: Passed | None = None
) -> tuple[int, Results] | None:
    """The other side of `pack_results`; `None` if these are replies."""
    column = message[3]
    if column is None:
        return None
    rest = iter(segments)
    position, body, seconds, places, each, extras, span = column
    body, _ = _unpack((body, ()), rest)
    odd = list(zip(places, _unpack_each(message[1], rest, passed), strict=True))
    return position, Results(pickle.loads(body), seconds, len(body), odd, each, extras, span)


def _unpack_each(
    packed: Sequence[tuple[Any, ...]], rest: Iterator[Any], passed: Passed | None
) -> list[Reply]:
    replies = list(map(Reply._make, packed))
    for at, reply in enumerate(replies):
        if reply.payload is _ALONG or reply.buffers:
            payload, buffers = reply.payload, reply.buffers
            if not reply.raw:
                payload, buffers = _unpack((payload, buffers), rest)
            reply = replies[at] = reply._replace(payload=payload, buffers=buffers)
            if buffers:
                replies[at] = arrived(reply, passed)
    return replies


def arrived(reply: Reply, passed: Passed | None = None) -> Reply:
    """A reply whose shared memory is open; what stops that becomes the answer."""
    if not isinstance(reply.buffers, tuple) or not reply.buffers:
        return reply
    from procession.buffers.receiver import open_ticket

    ticket = Ticket(*reply.buffers)
    descriptor = None if passed is None else passed.pop(ticket.inode, None)
    try:
        return reply._replace(buffers=open_ticket(ticket, descriptor))
    except Gone as error:
        from procession.pickling.exceptions import dump_exception

        return reply._replace(ok=False, payload=dump_exception(error, "by-value"), buffers=())
