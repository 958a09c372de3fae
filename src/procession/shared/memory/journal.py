"""Several words of a segment written as one: after a death in between, all of them or none.

The new values go into the journal first; then one word says that they are valid; then they are
written to their places. Who takes the mutex over from a dead process writes valid values again.
"""

from __future__ import annotations

from procession.shared.memory.layout import JOURNAL, JOURNAL_PAIRS
from procession.shared.memory.segment import Segment

__all__ = ["redo", "write"]


def write(segment: Segment, *pairs: int) -> None:
    """Write ``index, value, index, value, ...``; the caller holds the segment's mutex."""
    words = segment.words
    count = len(pairs) // 2
    assert count <= JOURNAL_PAIRS
    for at, number in enumerate(pairs, JOURNAL + 1):
        words[at] = number
    words[JOURNAL] = count
    for index, value in zip(pairs[::2], pairs[1::2], strict=True):
        words[index] = value
    words[JOURNAL] = 0


def redo(segment: Segment) -> None:
    """Finish what a dead process was writing."""
    words = segment.words
    for at in range(JOURNAL + 1, JOURNAL + 1 + 2 * words[JOURNAL], 2):
        words[words[at]] = words[at + 1]
    words[JOURNAL] = 0
