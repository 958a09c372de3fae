"""Sending a map's items: input to chunks, chunks to a backend.

It has no thread of its own. It moves when something happens: the consumer asks, and takes input
meanwhile; a chunk ends; or the feeder has taken input. The backend's threads, which others wait
for, run no code of the user's. To pickle the next items is left to the consumer, if it waits, or to
a user thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from procession.contract import Backend, Chunk, End
from procession.engine.map.feeding import BYTES_AHEAD, Feeder, Feeding, settled_refusal
from procession.engine.map.in_flight import WORTH_TAKING
from procession.engine.map.replies import Replies
from procession.engine.packing import column_of
from procession.engine.policy.placement import machine
from procession.hints import Any
from procession.items import ATOM_BYTES, Column, Item, Settled
from procession.system.pristine import perf_counter, thread_time
from procession.system.resources import usable_cpus
from procession.user_threads import user_threads

_Values = tuple[Sequence[int], Sequence[Any]]
_NO_VALUES: _Values = ((), ())


class Sender:
    """Sends what the window, the workers and the memory allow. Any thread may have it `pump`.

    Args:
        replies: The chunks' listener.
        backend: Gives the pool when it is first needed.
        aside: Whether a feeder takes input that runs code of the user's, and not the consumer: for
            verbs that do not wait, and for input that may wait for the results of its own items.
        blocking: Whether a consumer waits for the results in its own thread.

    Attributes:
        here: Whether the consumer's thread is to run the next items itself.
        behind: Whether the consumer's thread is to send something on before it waits.
        accompanied: Whether the consumer's thread computes while a pool starts.
        backend: The pool, once there is one.
        probing: Whether the pool was given one item to try.
        chunk_items: How many items the last chunk had.
    """

    def __init__(
        self,
        replies: Replies,
        backend: Callable[[], Backend],
        *,
        aside: bool,
        blocking: bool,
    ) -> None:
        self.here = False
        self.behind = False
        self._replies = replies
        self._in_flight = replies.in_flight
        self._plan = replies.plan
        self._observer = replies.observer
        self._delivery = delivery = replies.delivery
        self._intake = intake = delivery.intake
        self._lock = delivery.lock
        self._open_backend = backend
        self.backend: Backend | None = None
        self._apart: Backend | None = None
        self._feeder: Feeder | None = None
        self._aside = aside and not intake.source.inert
        self._feeding = Feeding(replies)
        self._feeds = not aside and not intake.source.inert
        self._blocking = blocking
        self._attended = False
        self._stuck = False
        self.accompanied = False
        self._pump_told = False
        self._pumping = False
        self._pump_again = False
        self.probing = False
        self._probed = 0.0
        self.chunk_items = 1

    # -- who is there --------------------------------------------------------------------------

    def attend(self) -> None:
        """The consumer's thread is there, and sends what is to be sent next."""
        self._attended = True

    def leave(self) -> None:
        """The consumer does something else for a while."""
        self._attended = False
        if self.behind:
            self.pump_aside()

    def run_here(self) -> None:
        """The consumer's thread is to run the next items itself."""
        self.here = True

    def run_there(self) -> None:
        """The pool is to have them."""
        self.here = False

    def runs_here(self) -> bool:
        """Whether the consumer's thread is to run the next items."""
        return self.here

    def hold_up(self, stuck: bool) -> None:
        """Whether the consumer runs an item for so long that the pool must have the others."""
        self._stuck = stuck

    def accompany(self, computes: bool) -> None:
        """Whether the consumer computes while a pool starts: it needs a processor for that."""
        self.accompanied = computes

    @property
    def started(self) -> bool:
        """Whether there is a pool that items were, or are being, given to."""
        return self._pumping or self.backend is not None

    @property
    def untouched(self) -> bool:
        """Whether the consumer's thread has run all items so far, and no other had a part."""
        return not self.started and self._feeder is None

    @property
    def here_only(self) -> bool:
        """Whether the pool is to be given nothing more, since items are run faster here."""
        return self.here and self._replies.count > 0

    def needs_consumer(self) -> bool:
        """Whether the consumer's thread has something to do. Under the map's lock."""
        return (
            self.behind
            or (self.here and self._intake.any)
            or (self._feeds and self._feeding.wants(self))
        )

    def feed(self, *, lazily: bool = False) -> None:
        """Take input for the pool in the consumer's thread, as much as is wanted now.

        Args:
            lazily: The consumer takes results one by one (`Feeding.feed`).
        """
        if self._feeds:
            self._feeding.feed(self, lazily=lazily)

    # -- moving on -----------------------------------------------------------------------------

    def go(self) -> None:
        """Give items to the pool from now on."""
        if self._aside and not self._intake.closed:
            self.here = False  # one of the two takes input; only the feeder may have to wait
            if self._feeder is None:
                self._feeder = Feeder(self._feeding, self, self._delivery)
                self._feeder.start()
            else:
                self._feeder.poke()
        self.pump()

    def probe(self) -> None:
        """Give the pool one item and no more, until `probed`."""
        self.probing = True
        self._probed = perf_counter()
        self.go()
        self.feed()

    def probed(self) -> None:
        """That item takes its time: the pool may have more. Not if it was answered meanwhile."""
        probing, self.probing = self.probing, False
        if probing and not self._replies.count:
            self.pump()
        elif probing:
            machine.took(perf_counter() - self._probed - self._replies.traffic.seconds)

    def refill(self) -> None:
        """The window has room again."""
        if self._feeder is not None:
            self._feeder.poke()
        if self.here:
            return
        if self._blocking:
            self.pump()
        else:
            self.pump_aside()

    def send_on(self) -> None:
        """In a thread that others wait for: have more sent by the consumer, or by a user thread.

        If all was sent, that thread itself shares what runs: that takes no code of the user's.
        """
        in_flight = self._in_flight
        rest = self._intake.remaining or in_flight.again or in_flight.suspects
        if self._intake.source.ended and not rest and len(in_flight):
            self.take_back()
            return
        with self._lock:
            attended = self._attended and not self.here
            if attended:
                self.behind = True
                self._delivery.wake_waiting()
        if not attended:
            self.pump_aside()

    def pump_aside(self) -> None:
        """Have more sent by a user thread."""
        if not self._pump_told:
            self._pump_told = True
            user_threads.run_soon(self._pump_told_of)

    def _pump_told_of(self) -> None:
        self._pump_told = False
        try:
            self.pump()
        except BaseException as error:
            self._delivery.fail(error)  # no one can take it here, so the consumer does

    def close(self, chunks: list[Chunk], *, kill: bool) -> None:
        """The map is over: let go of the backends and the input. `kill` ends these chunks."""
        if chunks and self.backend is not None:
            self.backend.abandon([chunk for chunk in chunks if chunk.home is self.backend])
        if self._apart is not None:
            self._apart.close(wait=False, kill=kill)
        if self._feeder is not None:
            self._feeder.poke()
        else:
            self._intake.source.close()

    # -- sending -------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send as many chunks as there is input, window and room for. Any thread may call it."""
        with self._lock:
            self.behind = False
            if self._pumping:
                self._pump_again = True
                return
            self._pumping = True
        try:
            if self.backend is None and not self._intake.closed:
                self.backend = self._open_backend()
            while True:
                with self._lock:
                    planned = self._next_chunk()
                    if planned is None and not self._pump_again:
                        self._pumping = False
                        if self.needs_consumer():  # it may have waited for the pool to be there
                            self._delivery.wake_waiting()
                        break
                    self._pump_again = False
                if planned is not None:
                    self._send(*planned)
        except BaseException:
            with self._lock:
                self._pumping = False
            raise
        if self._intake.source.ended:
            self._delivery.wake()
            self.take_back()

    def take_back(self) -> None:
        """Share what a worker still has with one that has nothing, or have it give that back."""
        backend, in_flight, intake = self.backend, self._in_flight, self._intake
        divider = None if backend is None else backend.divider
        while backend is not None and divider is not None and intake.remaining == 0:
            with self._lock:
                if intake.closed or in_flight.again or in_flight.on(backend) >= backend.workers:
                    return
                chunk, left = in_flight.longest(backend, divider)
                rest = None if chunk is None else in_flight.divide(chunk, divider)
                if chunk is None or (rest is None and left < WORTH_TAKING):
                    return
                if rest is None:
                    in_flight.stop(chunk)
            if rest is None:
                backend.stop(chunk, wanted=True)
            else:
                self._start(backend, rest)

    def _next_chunk(self) -> tuple[Backend, Sequence[Item], _Values] | None:
        """What to send next: where to, items at hand, and new values. Under the lock."""
        backend, in_flight = self.backend, self._in_flight
        if self._intake.closed or backend is None:
            return None
        if in_flight.suspects and (self._apart is None or not in_flight.on(self._apart)):
            if self._apart is None:
                self._apart = backend.apart()
            return self._apart, [in_flight.suspects.popleft()], _NO_VALUES
        chunks = in_flight.on(backend)
        if chunks >= self._most_chunks(backend.workers):
            return None
        if in_flight.again:
            count = self._plan.schedule.again(len(in_flight.again), backend.workers)
            return backend, in_flight.next_again(count), _NO_VALUES
        if self._delivery.bytes + in_flight.bytes > BYTES_AHEAD and chunks >= backend.workers:
            return None
        items, values = self._next_values(backend, chunks)
        return (backend, items, values) if items or values[0] else None

    def _most_chunks(self, workers: int) -> int:
        """How many chunks may be under way: two for a worker, as it is to go on at once."""
        if self.probing and not self._replies.count:
            return 1
        if self.here and self.accompanied and workers >= usable_cpus():
            return max(1, workers - 1)  # each has a worker started, and here is one at work
        return 2 * workers

    def _next_values(self, backend: Backend, in_flight: int) -> tuple[Sequence[Item], _Values]:
        """New items: those that are pickled already, or else values."""
        placement, intake = self._plan.placement, self._intake
        known = self._replies.count > 0 and not self._stuck and self._feeder is None
        if placement is not None and known and placement.here(intake.remaining):
            if not self.here:
                self.here = True
                self._delivery.wake_waiting()
            if not intake.packed:
                return (), _NO_VALUES
        inert = intake.source.inert
        room = intake.room() if inert and not intake.pending else None
        if room is not None and room <= 0:
            return (), _NO_VALUES
        count = self._plan.schedule.next_chunk(
            remaining=intake.remaining, workers=backend.workers, in_flight=in_flight, room=room
        )
        if count <= 0:
            return (), _NO_VALUES
        self.chunk_items = count
        fed = not inert and not intake.source.ended
        if fed and intake.pending < count and in_flight >= backend.workers:
            return (), _NO_VALUES  # all are busy: let the chunk grow
        items = intake.next_packed(count) if intake.packed else ()
        return items, _NO_VALUES if items else intake.next(count)

    def _send(self, backend: Backend, items: Sequence[Item], values: _Values) -> None:
        plan, replies = self._plan, self._replies
        if replies.late:
            late = [*items, *map(Item, *values)]
            self._delivery.put(replies.too_late(late))
            return
        begin = perf_counter()
        content: Sequence[Item] | Column = items
        refused: list[Settled] = []
        if values[0]:
            packed = plan.pack_column(*values)
            content, refused, taken = packed or self._pack_each(values)
            if taken < len(values[0]):
                self._intake.put_back(values[0][taken:], values[1][taken:])
            size = _size(content)
            if plan.placement is not None:
                plain = isinstance(content, Column) and content.plain
                plan.placement.packed(taken, perf_counter() - begin, size, plain=plain)
            self._observer.packed(begin, len(refused))
            self._delivery.put(refused)
        elif plan.columns:
            content = column_of(items) or items
        if content:
            self._start(backend, content)

    def _start(self, backend: Backend, content: Sequence[Item] | Column) -> None:
        """Make a chunk of it, and give it to a backend."""
        plan, replies = self._plan, self._replies
        if isinstance(content, Column):
            plain = content.plain
        else:
            plain = plan.job.call is None and _size(content) <= ATOM_BYTES * len(content)
        chunk = Chunk(plan.job, content, replies, home=backend, plain=plain)
        with self._lock:
            if self._intake.closed:
                return
            self._in_flight.add(chunk)
        self._observer.sent(chunk)
        since = thread_time()
        try:
            backend.start(chunk)
        except Exception as error:
            replies.ended(chunk, End("refused", error=error))
        if plan.placement is not None:
            plan.placement.spent(thread_time() - since)
        if self._ended():  # meanwhile: who ended the map could not end this
            backend.abandon((chunk,))

    def _ended(self) -> bool:
        return self._intake.closed

    def _pack_each(self, values: _Values) -> tuple[list[Item], list[Settled], int]:
        """Values that go one by one; those that cannot; how many these are."""
        items: list[Item] = []
        refused: list[Settled] = []
        for index, value in zip(*values, strict=True):
            try:
                items.append(self._plan.pack(index, value))
            except Exception as error:
                refused.append(settled_refusal(index, value, error))
        return items, refused, len(items) + len(refused)


def _size(content: Sequence[Item] | Column) -> int:
    return content.size if isinstance(content, Column) else sum([item.size for item in content])
