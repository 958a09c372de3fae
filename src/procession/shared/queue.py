"""Queue: items from any number of producers to any number of consumers.

Items lie one after the other in a file in memory, each with its length before it. A few numbers in
the segment say where the first begins and the last ends. They change as one (see
`procession.shared.memory.layout.State`): a process that is killed has put or taken an item, or it
has not. When what was taken from the front is larger than what is left, what is left moves to
the front.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from procession.pickling.pickler import loads
from procession.shared.memory.handles import dumps_and_sent
from procession.shared.memory.layout import State
from procession.shared.memory.memory_file import SMALLEST, Store
from procession.shared.memory.monitor import Monitor, Patience
from procession.shared.memory.segment import Segment, attach
from procession.system import NamedTuple
from procession.system.posix import os

_T = TypeVar("_T")

_ITEMS, _SPACE, _DONE = range(3)
_LENGTH = 8
"""Bytes before each item."""

_LARGE = 1 << 20
"""A queue that took more bytes than this gives them back when it is empty."""

_AHEAD = 1 << 14
"""Bytes a consumer copies at once, so that small items come from there. Not measured closely."""

_YIELDS = 4
"""How often who finds nothing lets others run before it sleeps. Not measured closely."""


class _Numbers(NamedTuple):
    """What changes as one: positions in the store, counts, the store's size.

    Attributes:
        head: Where the first item begins.
        tail: Where the last item ends.
        items: How many items there are.
        unfinished: How many were put in and not yet done.
        put: How many were ever put in.
        size: The store's size, in bytes.
        moved: How often items were moved to the front.
    """

    head: int
    tail: int
    items: int
    unfinished: int
    put: int
    size: int
    moved: int


class Queue(Monitor, Generic[_T]):
    """A first-in, first-out queue between processes and threads.

        jobs = shared.Queue[Job](maxsize=10)
        jobs.put(job)
        job = jobs.get(timeout=5)    # raises queue.Empty after that

    Like `multiprocessing.Queue` and `multiprocessing.JoinableQueue` in one. There is no thread
    behind it: when ``put`` returns, the item is in the queue; what cannot be pickled fails there.
    A consumer or producer that is killed neither blocks nor corrupts it.

    Args:
        maxsize: How many items it holds at most; 0 or less means any number.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self._maxsize = maxsize
        self._store = Store.create("queue")
        self._create("queue")
        self._state.write(0, 0, 0, 0, 0, SMALLEST, 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return attach, (type(self), self._segment, self._maxsize, self._store)

    def _open(self, segment: Segment, *arguments: Any) -> None:
        super()._open(segment)
        self._state = State(segment.map, segment.words, len(_Numbers._fields))
        if arguments:
            self._maxsize, self._store = arguments
        self._closed = False
        self._ahead, self._ahead_from, self._ahead_moved = b"", 0, -1
        self._kept: deque[tuple[int, list[object]]] = deque()

    def put(self, obj: _T, block: bool = True, timeout: float | None = None) -> None:
        """Put an item in.

        Args:
            obj: Anything that can be passed to a worker.
            block: Whether to wait for space, if the queue has a `maxsize`.
            timeout: Seconds to wait at most; ``None`` waits without end.

        Raises:
            queue.Full: If there was no space in time.
            ValueError: If the queue was closed in this process.
            NotPicklable: The item cannot cross to another process.
        """
        self._must_be_open()
        blob, sent = dumps_and_sent(obj, "shared.Queue.put", "obj")
        mutex = self._mutex
        mutex.acquire()
        try:
            if 0 < self._maxsize <= self.qsize():
                self._wait_while(self.full, _SPACE, timeout if block else 0, queue.Full)
            self._append(blob)
            if sent or self._kept:
                self._keep(sent)
            self._waiters.call(_ITEMS, 1)
        finally:
            mutex.release()

    def get(self, block: bool = True, timeout: float | None = None) -> _T:
        """Take the oldest item out.

        Args:
            block: Whether to wait for one.
            timeout: Seconds to wait at most; ``None`` waits without end.

        Returns:
            The item; a copy, as an argument is.

        Raises:
            queue.Empty: If there was none in time.
            ValueError: If the queue was closed in this process.
        """
        self._must_be_open()
        mutex = self._mutex
        mutex.acquire()
        try:
            if not self.qsize():
                self._wait_while(self.empty, _ITEMS, timeout if block else 0, queue.Empty)
            blob = self._take()
            if self._maxsize > 0:
                self._waiters.call(_SPACE, 1)
        finally:
            mutex.release()
        item: _T = loads(blob)
        return item

    def put_nowait(self, obj: _T) -> None:
        """Put an item in, without waiting for space.

        Args:
            obj: Anything that can be passed to a worker.

        Raises:
            queue.Full: If there is none. Else as `put`.
        """
        self.put(obj, False)

    def get_nowait(self) -> _T:
        """Take the oldest item out, without waiting for one.

        Raises:
            queue.Empty: If there is none. Else as `get`.
        """
        return self.get(False)

    def qsize(self) -> int:
        """How many items there are just now."""
        return self._state.read()[2]

    def empty(self) -> bool:
        """Whether there is none just now."""
        return not self.qsize()

    def full(self) -> bool:
        """Whether there is no space just now."""
        return 0 < self._maxsize <= self.qsize()

    def task_done(self) -> None:
        """Say that an item that was taken has been dealt with.

        Raises:
            ValueError: If that was said of all items already.
        """
        with self._mutex:
            now = _Numbers._make(self._state.read())
            if not now.unfinished:
                raise ValueError("task_done() called too many times")
            self._state.write(*now._replace(unfinished=now.unfinished - 1))
            if now.unfinished == 1:
                self._waiters.call(_DONE)

    def join(self) -> None:
        """Wait until every item that was put in has been taken out and `task_done` was called."""
        with self._mutex:
            while _Numbers._make(self._state.read()).unfinished:
                self._sleep(_DONE, Patience(None).rest())

    def close(self) -> None:
        """Say that this process uses it no more."""
        self._closed = True

    def join_thread(self) -> None:
        """Do nothing: an item is in the queue when `put` returns."""

    def cancel_join_thread(self) -> None:
        """Do nothing: an item is in the queue when `put` returns."""

    def _must_be_open(self) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")

    def _wait_while(
        self,
        blocked: Callable[[], bool],
        room: int,
        timeout: float | None,
        over: type[Exception],
    ) -> None:
        patience = Patience(timeout)
        while blocked():
            if (rest := patience.rest()) <= 0:
                raise over
            self._let_others_run(blocked)
            if blocked():
                self._sleep(room, rest)

    def _let_others_run(self, as_long_as: Callable[[], bool]) -> None:
        """Give the mutex away for a moment: cheaper than to sleep for a single item."""
        self._mutex.release()
        try:
            for _ in range(_YIELDS):
                if not as_long_as():
                    break
                os.sched_yield()
        finally:
            self._mutex.acquire()

    def _append(self, blob: bytes) -> None:
        head, tail, count, unfinished, put, size, moved = self._state.read()
        need = _LENGTH + len(blob)
        if tail + need > size:
            head, tail, size, moved = self._make_room(need)
        self._store.write(tail, len(blob).to_bytes(_LENGTH, "little") + blob, size)
        self._state.write(head, tail + need, count + 1, unfinished + 1, put + 1, size, moved)

    def _make_room(self, need: int) -> tuple[int, int, int, int]:
        """Move what is left to the front, or grow; returns the numbers that changed by that."""
        now = _Numbers._make(self._state.read())
        left, size = now.tail - now.head, now.size
        if now.head >= left and left + need <= size:
            self._store.write(0, self._store.read(now.head, now.tail, size), size)
            self._state.write(*now._replace(head=0, tail=left, moved=now.moved + 1))
            return 0, left, size, now.moved + 1
        return now.head, now.tail, self._store.grown(size, now.tail + need), now.moved

    def _take(self) -> bytes:
        head, tail, count, unfinished, put, size, moved = self._state.read()
        blob = self._read(head, tail, size, moved)
        head += _LENGTH + len(blob)
        if head < tail or tail < SMALLEST // 2:
            self._state.write(head, tail, count - 1, unfinished, put, size, moved)
            return blob
        smaller = SMALLEST if size > _LARGE else size
        self._state.write(0, 0, 0, unfinished, put, smaller, moved + 1)
        if smaller != size:
            self._store.resize(smaller)
        return blob

    def _read(self, head: int, tail: int, size: int, moved: int) -> bytes:
        """The first item. What was copied ahead holds as long as nothing is moved."""
        at = head - self._ahead_from
        if self._ahead_moved != moved or not 0 <= at <= len(self._ahead) - _LENGTH:
            self._ahead = self._store.read(head, min(tail, head + _AHEAD), size)
            self._ahead_from, self._ahead_moved, at = head, moved, 0
        start = at + _LENGTH
        end = start + int.from_bytes(self._ahead[at:start], "little")
        if end <= len(self._ahead):
            return self._ahead[start:end]
        return self._store.read(head + _LENGTH, head + end - at, size)

    def _keep(self, sent: list[object]) -> None:
        """Keep shared objects that were put in open here, until they are taken out."""
        now, kept = _Numbers._make(self._state.read()), self._kept
        while kept and kept[0][0] <= now.put - now.items:
            kept.popleft()
        if sent:
            kept.append((now.put, sent))
