"""What the engine and a backend say to each other: jobs and chunks down, replies and ends up.

A backend knows nothing of input, order, windows, retries or futures. It is given chunks, runs
each in one of its workers, and tells the chunk's listener what came of it. The engine knows
nothing of processes, pipes or executors.
"""

from __future__ import annotations

from collections.abc import Sequence

from procession.hints import Any, Literal, Protocol
from procession.items import Column, Item, Job, Reply, Results
from procession.system import NamedTuple

EndKind = Literal["done", "stopped", "died", "timeout", "memory", "cancelled", "broken", "refused"]


class End(NamedTuple):
    """How a chunk ended. Said exactly once per chunk, after its last reply.

    Attributes:
        kind: One of

            * ``"done"``: every item has replied.
            * ``"stopped"``: `Backend.stop` was called; what has not replied has not run.
            * ``"died"``: the worker died while it ran item `index`; `index` is `None` if it
              died before or between items (then no item is to blame).
            * ``"timeout"``, ``"memory"``: the backend ended the worker, because item `index`
              passed the job's limit.
            * ``"cancelled"``: `Backend.cancel` was called, and nothing more will come.
            * ``"broken"``: a whole executor went down, and it is not known which item did it.
            * ``"refused"``: the chunk could not be sent or started; `error` says why.
        index: The item to blame, if it is known.
        exitcode: The dead worker's exit code (negative: minus the signal), if known.
        stack: Last stack and end of stderr of a dead worker, as text.
        peak: Most private memory seen, in bytes (``"memory"``).
        error: What broke (``"broken"``, ``"refused"``).
        seconds: How long the item to blame had run.
        deserted: Whether the worker closed its channel to us and was ended for that (``"died"``).
        host: The machine that it ran on, if that is another one.
    """

    kind: EndKind
    index: int | None = None  # type: ignore[assignment]  # as in Reply
    exitcode: int | None = None
    stack: str = ""
    peak: int = 0
    error: BaseException | None = None
    seconds: float = 0.0
    deserted: bool = False
    host: str = ""


class Tally:
    """What came of the chunks of a backend, in numbers; see `procession.stats`.

    Told by the engine, from any thread. The numbers are exact without a lock: between reading and
    writing one of them CPython, with its GIL, lets no other thread run.

    Attributes:
        done: Items and calls that gave a result.
        failed: Those that failed for good.
        retried: Attempts that were followed by another one.
        died: Chunks whose worker died.
        bytes_out: Bytes of items that were sent, large buffers included.
        bytes_back: Bytes of what came home.
    """

    __slots__ = ("bytes_back", "bytes_out", "died", "done", "failed", "retried")

    def __init__(self) -> None:
        self.done = self.failed = self.retried = self.died = 0
        self.bytes_out = self.bytes_back = 0

    def answered(self, items: int, failed: int) -> None:
        """So many items have run and will not run again; so many of them have failed."""
        done = items - failed
        self.failed += failed
        self.done += done

    def called(self, out: int, back: int) -> None:
        """A single call has a result: so many bytes went to its worker, and came home."""
        self.done += 1
        self.bytes_out += out
        self.bytes_back += back

    def moved(self, out: int, back: int) -> None:
        """So many bytes went to workers, and came home."""
        self.bytes_out += out
        self.bytes_back += back

    def again(self) -> None:
        """An item that has failed will run once more."""
        self.retried += 1

    def ended(self, end: End, failed: int, again: int) -> None:
        """A chunk ended early: so many of its items failed, and so many will run once more."""
        died = int(end.kind in ("died", "broken"))
        self.failed += failed
        self.retried += again
        self.died += died


class Costs(NamedTuple):
    """What a chunk costs on a backend; the schedule makes chunks long enough for it.

    Attributes:
        handling: Seconds that the caller spends on a chunk.
        target: Seconds that a chunk is to run.
        blind: The same, where the length of the input is not known.
        floor: Seconds below which what is left is not split any more.
        waiting: Chunks of one item that wait for each worker until it is known how long one takes.
            A cluster that grows by what waits would else see nothing to grow for.
    """

    handling: float
    target: float
    blind: float
    floor: float
    waiting: int = 0


class Load(NamedTuple):
    """What a backend is doing.

    Attributes:
        workers: Workers that there are.
        busy: Those that have a chunk.
        waiting: Chunks that wait for one.
        started: Workers that there have been so far.
    """

    workers: int
    busy: int
    waiting: int
    started: int


class Listener(Protocol):
    """Who is told what came of a chunk. Called from any thread, never under a backend's lock."""

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """Some items are done. May be called several times, or never, before `ended`."""
        ...

    def returned(self, chunk: Chunk, position: int, results: Results) -> None:
        """Items of a chunk that is a column are done, from this position in it on."""
        ...

    def ended(self, chunk: Chunk, end: End) -> None:
        """The chunk is over. Called exactly once; not if `CallListener.answered` is."""
        ...


class CallListener(Listener, Protocol):
    """Who is told of a single call that was sent as `Chunk.given`."""

    def answered(self, chunk: Chunk, payload: Any, seconds: float) -> None:
        """The call is over, and has this result: itself, or `bytes`, which are its pickle."""
        ...


class OneByOne:
    """What a listener has that is given no column."""

    __slots__ = ()

    def returned(self, chunk: Chunk, position: int, results: Results) -> None:
        """Never called."""
        raise AssertionError(f"{chunk.job.name}() was sent no column")


class Chunk:
    """Items of one job that go to one worker in one message, and run there in order.

    They are a column, or one by one what each of them is.
    """

    __slots__ = (
        "_content",
        "_listener",
        "attended",
        "column",
        "given",
        "handle",
        "home",
        "job",
        "plain",
    )

    def __init__(
        self,
        job: Job,
        content: Sequence[Item] | Column,
        listener: Listener,
        attended: bool = False,
        *,
        home: Any = None,
        plain: bool = False,
    ) -> None:
        self.job = job
        self._content = content
        self.column = content if isinstance(content, Column) else None
        self._listener = listener
        self.given: Any = None
        """Of a single call that a short message holds: its number, and its arguments, if they cross
        as themselves, or else their pickle. Its listener is a `CallListener`."""
        self.attended = attended
        """Whether a thread is expected to wait for it by ``attend``, on backends that have it."""
        self.handle: Any = None
        """For the backend's own use."""
        self.home = home
        """The backend it is given to; for the engine's own use."""
        self.plain = plain
        """Whether it holds nothing that has a finalizer of the user's."""

    def divide(self, position: int) -> Column:
        """Keep the items before this position of its column; gives the others."""
        assert self.column is not None
        return self.column.divide(position)

    @property
    def content(self) -> Sequence[Item] | Column:
        """Its items, or the column that they are."""
        return self._content

    @property
    def listener(self) -> Listener:
        """Who is told what comes of it."""
        return self._listener

    @property
    def items(self) -> Sequence[Item]:
        """Its items, each as an object of its own."""
        content = self.content
        return content.items(range(len(content))) if isinstance(content, Column) else content

    def __len__(self) -> int:
        return len(self.content)

    @property
    def size(self) -> int:
        """Bytes that its items hold."""
        content = self.content
        if isinstance(content, Column):
            return content.size
        return sum([item.size for item in content])

    def index(self, position: int) -> int:
        """The index of one of its items."""
        content = self.content
        if isinstance(content, Column):
            return content.indexes[position]
        return content[position].index

    def item(self, position: int) -> Item:
        """One of its items; of a column's it cannot be sent."""
        content = self.content
        return content.item(position) if isinstance(content, Column) else content[position]

    def position(self, index: int, near: int = 0) -> int:
        """Where the item of this index stands, perhaps at `near`; -1 if it is none of its items."""
        size = len(self)
        if near < size and self.index(near) == index:
            return near
        return next((at for at in range(size) if self.index(at) == index), -1)

    def rest(self, answered: Answered) -> list[Item]:
        """Its items that have no reply."""
        content, missing = self.content, answered.missing(len(self))
        if isinstance(content, Column):
            return content.items(missing)
        return [content[position] for position in missing]


class Answered:
    """Which items of a chunk have replied: the first ones, and hardly ever others.

    Attributes:
        first: How many have replied before the first one that has not.
    """

    first = 0
    _beyond: frozenset[int] = frozenset()

    def add(self, position: int, count: int = 1) -> None:
        """So many have replied, from this position on."""
        if position > self.first:
            self._beyond = self._beyond.union(range(position, position + count))
            return
        self.first = max(self.first, position + count)
        while self.first in self._beyond:
            self._beyond -= {self.first}
            self.first += 1

    def has(self, position: int) -> bool:
        """Whether this one has replied."""
        return position < self.first or position in self._beyond

    def missing(self, size: int) -> list[int]:
        """The positions of those that have not, of a chunk of this size."""
        return [at for at in range(self.first, size) if at not in self._beyond]


class Divider(Protocol):
    """Ends chunks that run before their last item, so that others may have the rest."""

    def reached(self, chunk: Chunk) -> int:
        """How many of its items were begun before the last one that was; 0 if it is not known."""
        ...

    def divide(self, chunk: Chunk, position: int) -> bool:
        """Have a chunk end before this position. Whether it is certain that it does."""
        ...


class PlainBackend(Protocol):
    """What a backend has that does no more than run chunks; others do better.

    Attributes:
        kills: Whether it can end what runs.
        short_calls: Whether it sends what is in `Chunk.given`, by a shorter message.
        costs: What a chunk costs there; `None`: what one costs that a process of this machine runs.
    """

    kills: bool = False
    short_calls: bool = False
    costs: Costs | None = None

    @property
    def divider(self) -> Divider | None:
        """What ends a chunk that runs before its last item; `None` if nothing does."""
        return None

    def cancel(self, chunk: Chunk) -> bool:
        """End the chunk as soon as possible.

        Returns:
            True if nothing more comes from it but ``End("cancelled")`` (its worker is killed and
            replaced, or it had not started); False if it runs on, or has ended.
        """
        return False

    def stop(self, chunk: Chunk, *, wanted: bool) -> None:
        """Run nothing more of the chunk after the item that runs, if that can be done.

        Its end is ``"stopped"`` or ``"done"`` then. If that item is not `wanted` either, it may be
        ended, too, and the end be ``"cancelled"``.
        """
        self.cancel(chunk)

    def abandon(self, chunks: Sequence[Chunk]) -> None:
        """These chunks are not wanted any more: end those that run, if that harms no others."""
        for chunk in chunks:
            self.cancel(chunk)

    def attend(self, chunk: Chunk, timeout: float | None = None) -> None:
        """Have the calling thread wait for a chunk by reading its worker's channel itself.

        That saves a thread switch. It may return early, or at once: then wait in another way.
        """
        return

    def notice(self, chunk: Chunk) -> None:
        """The chunk was ``attended``, and no thread is known to `attend` to it any more."""
        return

    def hand_over(self, thread: int) -> None:
        """Have others read what this thread was reading: a signal handler keeps it."""
        return

    def retire(self) -> None:
        """Let workers go as soon as they are idle; what goes on is given new ones."""
        return

    def apart(self) -> Backend:
        """A backend like this one with a single worker that no one else uses.

        Items that may have broken an executor run there one by one, so that the guilty one is
        found. Only asked of backends that say ``End("broken")``.
        """
        raise AssertionError("what caused a death is known here")


class Backend(PlainBackend, Protocol):
    """Where chunks run."""

    kind: str
    """What it is called: ``"process"``, ``"isolated"``, ``"thread"``, or its executor's name."""

    tally: Tally
    """What came of its chunks so far; the engine tells it."""

    @property
    def load(self) -> Load:
        """What it is doing now."""
        ...

    @property
    def workers(self) -> int:
        """How many chunks can run at once."""
        ...

    @property
    def warm(self) -> bool:
        """Whether at least one worker is up, so that a chunk would start at once."""
        ...

    @property
    def at_work(self) -> bool:
        """Whether a chunk runs or waits, or its end is being told."""
        ...

    def start(self, chunk: Chunk) -> None:
        """Take a chunk, run it as soon as a worker is free, and tell its listener.

        Never blocks for long and never raises for the chunk: what goes wrong is an `End`.
        May call the listener before it returns.

        Raises:
            PoolClosed: The backend was closed.
        """
        ...

    def running(self, chunk: Chunk) -> bool:
        """Whether a worker has begun with the chunk (as far as the backend can tell)."""
        ...

    def close(self, *, wait: bool = True, kill: bool = False) -> None:
        """Take no more chunks. ``kill`` ends those in flight; ``wait`` returns when all is gone."""
        ...
