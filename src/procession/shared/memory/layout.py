"""Where things lie in a segment, and how several of its words change as one.

All positions count words of 8 bytes:

    0     magic number, kind of waiting, highest row in use
    8     the mutex: two semaphores of 32 bytes and a word that says "someone waits"
    64    the journal
    512   one row of 64 bytes (a cache line of its own) for each process that uses the object
    8704  what the object itself keeps: 64 words, then who waits, then its data

Pages that are never written take no memory: a Lock takes two.
"""

from __future__ import annotations

import mmap
import struct

WORD = 8

MAGIC = 0x70726F6365737301
"""First word of every segment; its last byte is the version of this layout."""

KIND = 1
"""Word: how its users wait, `SEMAPHORES` or `POLLED`; all must do it alike."""
SEMAPHORES = 1
POLLED = 2

HIGHEST = 2
"""Word: the highest row that was ever claimed."""

UNIT = 8
"""Semaphore: the mutex itself."""
GATE = 12
"""Semaphore: where those sleep that wait for the mutex."""
WAITED_FOR = 16
"""Word: whether someone may sleep at the gate."""
POLLED_OWNER = 17
"""Word: who holds the mutex, where there are no semaphores."""

JOURNAL = 64
"""Word: how many pairs of the journal are valid; the pairs follow."""
JOURNAL_PAIRS = 64

FIRST_ROW = 512
ROWS = 1024
"""How many processes can use one object at a time. Row 0 belongs to none."""
ROW_WORDS = 8
INCARNATION = 0
"""Row: how often it was claimed, so that a dead process is not taken for its successor."""
BUSY = 1
"""Row, its first byte: whether the process tries to take the mutex, or holds it."""
PARTICIPANT = 2
"""Row: set while its process has a part in the object; cleared when it leaves in order."""

BODY = FIRST_ROW + ROWS * ROW_WORDS
"""Words of the object itself, 64 at most; then, for what can be waited for, who waits."""
WAITERS = BODY + 64

_COPY_WORDS = 8


def write_together(words: memoryview[int], *pairs: int) -> None:
    """Write ``index, value, index, value, ...``; the caller holds the segment's mutex.

    After a death in between, all of them are written or none. The new values go into the journal
    first; then one word says that they are valid; then they are written to their places.
    """
    count = len(pairs) // 2
    assert count <= JOURNAL_PAIRS
    for at, number in enumerate(pairs, JOURNAL + 1):
        words[at] = number
    words[JOURNAL] = count
    for index, value in zip(pairs[::2], pairs[1::2], strict=True):
        words[index] = value
    words[JOURNAL] = 0


def redo_journal(words: memoryview[int]) -> None:
    """Finish what a dead process was writing: the next that takes the mutex does."""
    for at in range(JOURNAL + 1, JOURNAL + 1 + 2 * words[JOURNAL], 2):
        words[words[at]] = words[at + 1]
    words[JOURNAL] = 0


class State:
    """A few numbers at the beginning of a segment's body that change as one.

    There are two copies, and a count of the changes that says by its last bit which of them holds.
    New values go into the other one; then the count is raised, by one store. A process that is
    killed has made a change, or it has not. Written with the segment's mutex held.
    """

    __slots__ = ("_map", "_offsets", "_pack", "_unpack", "_words")

    def __init__(self, memory: mmap.mmap, words: memoryview[int], count: int) -> None:
        assert count <= _COPY_WORDS
        layout = struct.Struct(f"{count}q")
        self._pack, self._unpack = layout.pack_into, layout.unpack_from
        self._map, self._words = memory, words
        first = (BODY + 1) * WORD
        self._offsets = (first, first + _COPY_WORDS * WORD)

    @property
    def version(self) -> int:
        """How often they were changed."""
        return self._words[BODY]

    def read(self) -> tuple[int, ...]:
        """The numbers. Without the mutex they may be of a moment ago, or of two moments."""
        return self._unpack(self._map, self._offsets[self._words[BODY] & 1])

    def write(self, *numbers: int) -> None:
        """Change all of them."""
        version = self._words[BODY] + 1
        self._pack(self._map, self._offsets[version & 1], *numbers)
        self._words[BODY] = version
