"""What is run, and what came of it: a job, its items and columns, replies and results.

The caller and its workers speak of their work in these words. What the engine and a backend say to
each other of it is in `procession.contract`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from procession.hints import Any
from procession.system import NamedTuple
from procession.system.cpython import pickle

RUNNING, STOP = 2, 11
"""Of the words that a worker shares with its caller: the index of the item that runs, and the chunk
that is to end after that item. If negative, it may still do what takes no longer than to give it
back."""

BACK, UPTO, KEPT = 12, 13, 14
"""More of them: the calls after this number, up to that one, were taken back; and how many bytes
of results the worker keeps there that it has not sent."""

UNTIL, DIVIDED = 15, 1 << 62
"""If `STOP` holds a chunk and `DIVIDED`, the chunk ends before the item whose index `UNTIL` holds:
others have that one, and those behind it."""

COMPANY = 0.010
"""Seconds that a result may wait for others to go with. It is the promise of API.md, "Once or
more?"."""

ATOM_BYTES = 8
"""What a number or `None` counts for, which crosses as itself: about what a message holds of it."""

ALONE = 64 * 1024
"""Bytes from which on a value, or its pickle, goes alone, from where it lies: `channel.SEGMENT`."""

SHORT = 32 * 1024
"""Bytes of pickle up to which a single call is sent in a message of its own kind. A guess: half of
what is sent from where it lies."""


_WEIGHT = 0.125
"""What the last call counts for in a job's `pace`. A guess: a hiccup is soon forgotten."""


class Job:
    """What all items of one map, or one single call, have in common.

    Attributes:
        key: Identifies the job in this process; never used twice.
        header: What a worker needs once per job (function, shared arguments, settings), pickled;
            given as a function, it is packed when it is first asked for. Opaque to a backend: it
            hands it to `procession.worker.runner` on the far side.
        buffers: Large buffers that belong to the header (pickle protocol 5, out of band).
        name: The function's name, for messages.
        timeout: Seconds one item may run, or `None`.
        memory_limit: Bytes of private memory one item may take, or `None`.
        call: Runs one item in this process, for backends that share it (thread, serial).
        keeps: What the header refers to by its address (`procession.pickling.out_of_band`).
        common: The pickled arguments that go to every item, and their large buffers, if an item
            could change them: what runs in this process loads them, too.
        modules: Tells which modules its items need, for workers that start because of it.
        ready: Whether all of it is packed.
        at_once: Whether all results are wanted at once: none need come before its chunk ends.
        pace: Seconds that its single calls take, as far as is known; negative if it is not.
    """

    __slots__ = (
        "__weakref__",
        "_header",
        "at_once",
        "buffers",
        "call",
        "common",
        "keeps",
        "key",
        "memory_limit",
        "modules",
        "name",
        "pace",
        "ready",
        "timeout",
    )

    def __init__(
        self,
        key: int,
        name: str,
        header: bytes | Callable[[], bytes] = b"",
        buffers: Sequence[Any] = (),
        timeout: float | None = None,
        memory_limit: int | None = None,
        call: Any = None,
        keeps: Sequence[object] = (),
        modules: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self.key = key
        self.name = name
        self._header = header
        self.buffers = buffers
        self.timeout = timeout
        self.memory_limit = memory_limit
        self.call = call
        self.keeps = keeps
        self.modules = modules
        self.common: tuple[bytes, Any] | None = None
        self.ready = False
        self.at_once = False
        self.pace = -1.0

    def ran(self, seconds: float) -> None:
        """A single call has taken so long."""
        known = self.pace
        self.pace = seconds if known < 0 else known + (seconds - known) * _WEIGHT

    def want_at_once(self) -> None:
        """All results are wanted at once."""
        self.at_once = True

    @property
    def limited(self) -> bool:
        """Whether the time or memory of an item is."""
        return self.timeout is not None or self.memory_limit is not None

    def mark_ready(self) -> None:
        """All of it is packed."""
        self.ready = True

    @property
    def header(self) -> bytes:
        """The header; packed on first use: a map that runs wholly in the caller needs none."""
        if not isinstance(self._header, bytes):
            self._header = self._header()
        return self._header


_SIZED = frozenset({bytes, str})


class Item:
    """One item on its way: where it stands in the input, and what is sent for it.

    Attributes:
        index: Its place in the input, from 0.
        value: The caller's own object, for messages and outcomes.
        blob: The value, pickled, or as in a column (see `procession.pickling.columns`); empty on
            backends that share this process.
        buffers: Large buffers that belong to the blob: the ticket of a segment (see
            `procession.buffers.nameless_memory`), or empty.
        size: Bytes of blob and buffers, as far as they are counted (`ATOM_BYTES`).
        attempt: 1 for the first run.
        seconds: Spent running in attempts that failed.
        starts: How often its worker died before it had started.
        failed: Why it is run again, or `None`.
        keeps: What the blob refers to by its address (`procession.pickling.out_of_band`); not
            set at all where there is nothing.
    """

    __slots__ = (
        "attempt",
        "blob",
        "buffers",
        "failed",
        "index",
        "keeps",
        "seconds",
        "size",
        "starts",
        "value",
    )

    def __init__(
        self,
        index: int,
        value: Any,
        blob: Any = b"",
        buffers: Sequence[Any] = (),
        attempt: int = 1,
    ) -> None:
        self.index = index
        self.value = value
        self.blob = blob
        self.buffers = buffers
        self.size: int = len(blob) if type(blob) in _SIZED else ATOM_BYTES
        if buffers:
            self.size += getattr(buffers, "size", 0)
        self.attempt = attempt
        self.keeps: Sequence[object]
        self.seconds = 0.0
        self.starts = 0
        self.failed: BaseException | None = None


class Column:
    """Items that nothing sets apart: what they have in common takes no object for each.

    Attributes:
        indexes: Their places in the input, in ascending order.
        values: The caller's own objects.
        size: Bytes that are sent.
        plain: Whether no value ever changes.
        keeps: What the body refers to by its address.
    """

    __slots__ = ("_body", "indexes", "keeps", "plain", "size", "values")

    def __init__(
        self,
        indexes: Sequence[int],
        values: Sequence[Any],
        body: bytes,
        *,
        plain: bool = False,
        keeps: Sequence[object] = (),
    ) -> None:
        self.indexes = indexes
        self.values = values
        self._body: bytes | None = body
        self.size = len(body)
        self.plain = plain
        self.keeps = keeps

    def __len__(self) -> int:
        return len(self.indexes)

    @property
    def body(self) -> bytes:
        """What is sent for all of them (`procession.pickling.columns`)."""
        if self._body is None:
            self._body = pickle.dumps(tuple(self.values), 5)
        return self._body

    def divide(self, position: int) -> Column:
        """Keep those before this position only; gives a column of the others."""
        blobs: Any = tuple(self.values) if self.plain else pickle.loads(self.body)
        rest = Column(
            self.indexes[position:],
            self.values[position:],
            pickle.dumps(blobs[position:], 5),
            plain=self.plain,
            keeps=self.keeps,
        )
        self.indexes, self.values = self.indexes[:position], self.values[:position]
        self._body = None if self.plain else pickle.dumps(blobs[:position], 5)
        self.size = max(0, self.size - rest.size)
        return rest

    def item(self, position: int) -> Item:
        """One of them, to be told of alone; it cannot be sent."""
        return Item(self.indexes[position], self.values[position])

    def items(self, positions: Sequence[int]) -> list[Item]:
        """Some of them, each to be sent alone."""
        blobs: Any = pickle.loads(self.body) if positions else ()
        themselves = type(blobs) is tuple
        made: list[Item] = []
        for position in positions:
            blob = pickle.dumps(blobs[position], 5) if themselves else blobs[position]
            item = Item(self.indexes[position], self.values[position], blob)
            if self.keeps:
                item.keeps = self.keeps
            made.append(item)
        return made


class Reply(NamedTuple):
    """What came of one item.

    Attributes:
        index: The item's index.
        ok: Whether `payload` is a result (else an exception).
        payload: Pickled, or the object itself (`raw`): where the worker is a thread of this
            process, and where it is an atom.
        buffers: Large buffers that belong to the payload.
        seconds: How long the function ran.
        raw: Whether `payload` is the object itself.
        extras: Log records and warnings to repeat here, or `None`; see
            `procession.forwarding.records`.
        timing: `None` unless a profile is open. When a worker began with the item, and the
            seconds that it took with pickling and unpickling. The worker's process id, and its
            thread's name where threads are the workers.
    """

    index: int  # type: ignore[assignment]  # tuple.index, which is not called here
    ok: bool
    payload: Any
    buffers: Sequence[Any] = ()
    seconds: float = 0.0
    raw: bool = False
    extras: Any = None
    timing: tuple[float, float, int, str] | None = None

    @property
    def size(self) -> int:
        """Bytes that came home with it, and are held until it is decoded."""
        if self.raw:
            return 0
        size = len(self.payload)
        return size + sum(map(len, self.buffers)) if self.buffers else size


class Results(NamedTuple):
    """What came of the next items of a column, in order.

    Attributes:
        payloads: One for each, as in a column's body; anything where `odd` has an entry.
        seconds: How long the function ran for all of them together.
        size: Bytes that came home.
        odd: Replies of those that have no plain result, and where each stands among them.
        each: How long the function ran for each, if the job's settings ask for that.
        extras: As in `Reply`, of those among them that logged or warned.
        span: Seconds that the worker took for all of it, the function included.
    """

    payloads: list[Any]
    seconds: float = 0.0
    size: int = 0
    odd: Sequence[tuple[int, Reply]] = ()
    each: Sequence[float] = ()
    extras: Sequence[Any] = ()
    span: float = 0.0

    def then(self, more: Results) -> Results:
        """These, and those of the items that follow."""
        count = len(self.payloads)
        return Results(
            [*self.payloads, *more.payloads],
            self.seconds + more.seconds,
            self.size + more.size,
            [*self.odd, *((count + place, reply) for place, reply in more.odd)],
            [*self.each, *more.each],
            [*self.extras, *more.extras],
            self.span + more.span,
        )

    def part(self, begin: int, end: int) -> Results:
        """Those from `begin` to `end`. What was logged is not known by its place: all is kept."""
        share = (end - begin) / len(self.payloads)
        return self._replace(
            payloads=self.payloads[begin:end],
            seconds=self.seconds * share,
            size=int(self.size * share),
            odd=[(place - begin, reply) for place, reply in self.odd if begin <= place < end],
            each=self.each[begin:end],
            span=self.span * share,
        )


def size_back(item: Item, reply: Reply) -> int:
    """Bytes that came home for an item. None did where none were sent."""
    return (ATOM_BYTES if item.size else 0) if reply.raw else reply.size


class Settled(NamedTuple):
    """One item that is over: its reply, or the caller's own error."""

    item: Item
    reply: Reply | None
    error: BaseException | None = None

    @property
    def size(self) -> int:
        """Bytes that it holds until it is decoded."""
        return 0 if self.reply is None else self.reply.size
