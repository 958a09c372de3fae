"""What the parent and a worker say to each other, as tuples that `channel.frame` can send.

Down: `TASK` (a chunk, with its job's header the first time), `STOP`, `CREDIT` (the consumer of a
stream has taken values), `FORGET` (jobs that are over). Up: `HELLO` (ready), `FAILED` (its set-up
raised), `REPLIES` (some), `DONE` (the last ones of a chunk).

A blob of up to `channel.SEGMENT` bytes travels in the tuple; of a larger one, and of each buffer,
the tuple holds a placeholder, and the bytes follow as a segment. Of buffers that lie in shared
memory the tuple holds the ticket (see `procession.buffers.nameless_memory`). So a message without
segments is used as it stands: that is what most are, and what the latency of a call depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from procession.buffers.nameless_memory import Gone, Ticket
from procession.contract import Item, Job, Reply
from procession.hints import Any
from procession.pickling.objects import is_a
from procession.pickling.out_of_band import BroadcastBuffers
from procession.process.io.channel import SEGMENT, Frame, Passed, frame
from procession.system import NamedTuple

__all__ = [
    "CREDIT",
    "DONE",
    "FAILED",
    "FORGET",
    "HELLO",
    "REPLIES",
    "STOP",
    "TASK",
    "Task",
    "arrived",
    "pack_replies",
    "pack_task",
    "unpack_replies",
    "unpack_task",
]

TASK, STOP, CREDIT, HELLO, FAILED, REPLIES, DONE, FORGET = range(8)

_ALONG = None
"""Placeholder of a blob that follows as a segment."""


class Task(NamedTuple):
    """A chunk as the worker sees it.

    Attributes:
        key: The job.
        header: The job's header and its buffers, or `None` if the worker has them already.
        forget: Jobs the worker may drop.
        items: ``(index, attempt, blob, buffers)`` each.
        ahead: How many values a generator may be ahead of its consumer; 0 if it is no generator.
    """

    key: int
    header: tuple[Any, Sequence[Any]] | None
    forget: Sequence[int]
    items: Sequence[tuple[int, int, Any, Sequence[Any]]]
    ahead: int


def _pack(blob: Any, buffers: Any, segments: list[Any]) -> tuple[Any, Any]:
    """What the tuple holds for a blob and its buffers; what is to follow goes to `segments`."""
    if len(blob) >= SEGMENT:
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
    job: Job, items: Iterable[Item], with_header: bool, forget: Sequence[int], ahead: int = 0
) -> list[Any]:
    """The frame that sends a chunk."""
    segments: list[Any] = []
    header = _pack(job.header, job.buffers, segments) if with_header else None
    packed = [
        (item.index, item.attempt, *_pack(item.blob, item.buffers, segments))
        if item.buffers or item.size >= SEGMENT
        else (item.index, item.attempt, item.blob, ())
        for item in items
    ]
    return frame((TASK, job.key, header, tuple(forget), packed, ahead), segments)


def unpack_task(message: tuple[Any, ...], segments: Sequence[Any]) -> Task:
    """The other side of `pack_task`."""
    if not segments:
        return Task._make(message[1:])
    rest = iter(segments)
    _, key, header, forget, items, ahead = message[:6]
    return Task(
        key,
        None if header is None else _unpack(header, rest),
        forget,
        [(index, attempt, *_unpack(packed, rest)) for index, attempt, *packed in items],
        ahead,
    )


def pack_replies(kind: int, replies: Sequence[Reply], chunk: int) -> Frame:
    """The frame that brings replies home; `kind` is `REPLIES` or `DONE`.

    It says to which of the chunks that the worker was given, counted from 1, they belong.
    """
    segments: list[Any] = []
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
    whole = frame((kind, packed, chunk), segments)
    if descriptors:
        whole.descriptors = descriptors
    return whole


def unpack_replies(
    message: tuple[Any, ...], segments: Sequence[Any], passed: Passed | None = None
) -> list[Reply]:
    """The other side of `pack_replies`. Shared memory is opened at once: its sender may end."""
    replies = [Reply._make(packed) for packed in message[1]]
    if segments:
        rest = iter(segments)
        for at, reply in enumerate(replies):
            payload, buffers = _unpack((reply.payload, reply.buffers), rest)
            replies[at] = reply._replace(payload=payload, buffers=buffers)
    for at, reply in enumerate(replies):
        if reply.buffers:
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
        from procession.exceptions.transport import dump_exception

        return reply._replace(ok=False, payload=dump_exception(error, "by-value"), buffers=())
