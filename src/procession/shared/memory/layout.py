"""Where things lie in a segment: all positions count words of 8 bytes.

    0     magic number, kind of waiting, highest row in use
    8     the mutex: two semaphores of 32 bytes and a word that says "someone waits"
    64    the journal
    512   one row of 64 bytes (a cache line of its own) for each process that uses the object
    8704  what the object itself keeps: 64 words, then who waits, then its data

Pages that nobody writes take no memory: a Lock takes two.
"""

from __future__ import annotations

__all__ = [
    "BODY",
    "BUSY",
    "FIRST_ROW",
    "GATE",
    "HIGHEST",
    "INCARNATION",
    "JOURNAL",
    "JOURNAL_PAIRS",
    "KIND",
    "MAGIC",
    "PARTICIPANT",
    "POLLED",
    "POLLED_OWNER",
    "ROWS",
    "ROW_WORDS",
    "SEMAPHORES",
    "TOO_MANY",
    "UNIT",
    "WAITED_FOR",
    "WAITERS",
    "WORD",
]

WORD = 8

TOO_MANY = "semaphore or lock released too many times"
"""What multiprocessing says when something is released that nobody holds."""

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
"""How many processes can use one object at a time. Row 0 belongs to nobody."""
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
