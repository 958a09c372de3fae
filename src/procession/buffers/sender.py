"""The sender's segments: memory that large buffers are copied into, used again and again.

On Linux a segment is a memfd: it has no name that could be left behind, and does not care how small
/dev/shm is. On other systems, without /proc, and wherever memory or descriptors run out,
`Segments.place` answers `None`, and the buffers stay in the pickle.
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pickle import PickleBuffer

from procession.buffers.housekeeping import IDLE_SECONDS, housekeeper
from procession.buffers.nameless_memory import DROPPED, FIRST, Segment, Ticket, most_maps
from procession.hints import Any
from procession.system import after_fork
from procession.system.descriptors import has_proc, offer
from procession.system.posix import os
from procession.system.pristine import time

IDLE_BYTES = 512 * 1024 * 1024
"""Most memory kept for the next use. A guess: some large arrays, little of 8 GB."""

_PROBES = 16
"""Most segments that one call asks whether they are free again (some 2 µs each)."""

_generations = itertools.count(time.time_ns())


class Placed(tuple[Any, ...]):
    """The ticket of a filled segment, which is not filled anew as long as this object lives.

    Attributes:
        size: Bytes of all buffers together.
    """

    _segment: Segment
    _pool: Segments
    size: int

    def drop(self) -> None:
        """Tell those who keep what they were sent that this need not be kept any more."""
        if self._segment.pid == os.getpid():
            os.pwrite(self._segment.fd, b"\1", DROPPED)

    def parts(self) -> list[bytes]:
        """Copies of all buffers."""
        spans: tuple[tuple[int, int], ...] = self[-1]
        return [os.pread(self._segment.fd, size, offset) for offset, size in spans]

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # Runs amid anything: takes no lock.
        if not ending() and self._segment.pid == os.getpid():
            self._pool._dropped_one(self._segment)


class Segments:
    """All segments of this process."""

    def __init__(self) -> None:
        self._idle_bytes = IDLE_BYTES
        self._lock = after_fork.lock()
        self._all: set[Segment] = set()
        self._free: list[Segment] = []
        self._lent: deque[Segment] = deque()
        self._dropped: deque[Segment] = deque()

    def keep_at_most(self, idle_bytes: int) -> None:
        """Keep no more memory than that for the next use."""
        self._idle_bytes = min(self._idle_bytes, idle_bytes)

    def place(
        self, buffers: Sequence[PickleBuffer], *, private: bool = False, transit: bool = False
    ) -> Placed | None:
        """Copy buffers into a segment.

        Args:
            buffers: Contiguous buffers, as pickle hands them out.
            private: Whether several receivers, or several attempts, are to read the same bytes.
            transit: Whether the ticket alone keeps the segment, until it has been opened once.

        Returns:
            The ticket, or `None` where there is no memory of this kind left.
        """
        try:
            if not has_proc():  # a receiver could not open it anew, which its lock takes
                return None
            offer()
        except OSError:
            return None
        sources = [buffer.raw() for buffer in buffers]
        spans: list[tuple[int, int]] = []
        end = FIRST
        for source in sources:
            spans.append((end, source.nbytes))
            end += -(-source.nbytes // FIRST) * FIRST
        segment = self._acquire(end)
        if segment is None:
            return None
        generation = next(_generations)
        parts = [(offset, source) for (offset, _), source in zip(spans, sources, strict=True)]
        try:
            segment.fill(generation, transit, parts, end)
        except (OSError, MemoryError, ValueError):
            self._forget(segment)
            return None
        placed = Placed(
            Ticket(
                segment.pid,
                segment.fd,
                segment.inode,
                segment.capacity,
                generation,
                private,
                tuple(spans),
            )
        )
        placed._segment, placed._pool, placed.size = segment, self, end
        housekeeper.arm()
        return placed

    def _dropped_one(self, segment: Segment) -> None:
        if housekeeper.watches:
            self._dropped.append(segment)
        else:  # nothing would look after it
            self._all.discard(segment)
            segment.let_go()

    def _acquire(self, size: int) -> Segment | None:
        try:
            with self._lock:
                self._collect(_PROBES)
                segment = self._fitting(size)
                if segment is None:
                    if len(self._all) >= most_maps() and not self._let_one_go():
                        return None
                    segment = Segment(_capacity(size))
                    self._all.add(segment)
                return segment
        except OSError:
            return None

    def _fitting(self, size: int) -> Segment | None:
        """The smallest free segment that is large enough, and not much too large."""
        fitting = [s for s in self._free if size <= s.capacity <= max(2 * size, size + (1 << 18))]
        if not fitting:
            return None
        best = min(reversed(fitting), key=lambda segment: segment.capacity)
        self._free.remove(best)
        return best

    def _collect(self, probes: int) -> None:
        """Find what is free again; give back what was idle for too long, or is too much."""
        now = time.monotonic()
        while self._dropped:
            self._lent.append(self._dropped.popleft())
        for _ in range(min(probes, len(self._lent))):
            segment = self._lent.popleft()
            (self._free if segment.reclaim(now) else self._lent).append(segment)
        idle = sum(segment.committed for segment in self._free)
        while self._free and (idle > self._idle_bytes or now - self._free[0].since > IDLE_SECONDS):
            idle -= self._give_back_first()

    def _give_back_first(self) -> int:
        segment = self._free.pop(0)
        self._all.discard(segment)
        segment.free()
        return segment.committed

    def _let_one_go(self) -> bool:
        """There are too many: give up one that is free, or leave one to its receiver."""
        if self._free:
            self._give_back_first()
            return True
        for _ in range(min(_PROBES, len(self._lent))):
            segment = self._lent.popleft()
            if not segment.in_transit():
                self._all.discard(segment)
                segment.let_go()
                return True
            self._lent.append(segment)
        return False

    def _forget(self, segment: Segment) -> None:
        with self._lock:
            self._all.discard(segment)
        segment.free()

    def trim(self) -> bool:
        """Give back what was idle for too long. Whether anything is kept."""
        if self._all:
            with self._lock:
                self._collect(len(self._lent) + len(self._dropped))
        return bool(self._all)

    def clear(self) -> None:
        """Give back all that is not in use, and keep nothing else."""
        with self._lock:
            self._collect(len(self._lent) + len(self._dropped))
            for segment in self._free:
                segment.free()
            for segment in self._lent:
                segment.let_go()
            self._all.difference_update(self._free, self._lent)
            self._free.clear()
            self._lent.clear()

    def lose(self) -> None:
        """The program has closed our descriptors: use none of these, and close none."""
        _lost.extend(self._all)
        self._start_empty()

    def renew(self) -> None:
        """In a forked child: these are the parent's."""
        for segment in self._all:
            segment.let_go()
        self._start_empty()

    def _start_empty(self) -> None:
        self._all.clear()
        self._free.clear()
        self._lent.clear()
        self._dropped.clear()


_lost: list[Segment] = []
"""Whose descriptors the program has closed; to unmap them would close others."""


def _capacity(size: int) -> int:
    """`size` rounded up by at most an eighth, so that buffers of similar sizes share segments."""
    step = max(1 << 12, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


segments = Segments()
"""This process's."""

housekeeper.register(segments.trim, segments.clear)

after_fork.renew_in_child(segments.renew)
