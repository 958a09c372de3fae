"""A few numbers in a segment that change as one.

There are two copies, and a count of the changes that says by its last bit which of them holds. New
values go into the other one; then the count is raised, by one store. A process that is killed has
made a change, or it has not.
"""

from __future__ import annotations

import struct

from procession.shared.memory.layout import BODY, WORD
from procession.shared.memory.segment import Segment

__all__ = ["State"]

_COPY_WORDS = 8


class State:
    """The numbers at the beginning of a segment's body. Written with the segment's mutex held."""

    __slots__ = ("_map", "_offsets", "_pack", "_unpack", "_words")

    def __init__(self, segment: Segment, count: int) -> None:
        assert count <= _COPY_WORDS
        layout = struct.Struct(f"{count}q")
        self._pack, self._unpack = layout.pack_into, layout.unpack_from
        self._map = segment.map
        self._words = segment.words
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
