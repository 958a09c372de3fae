"""What one worker ran, as blocks of time: bounded in number, however many items there are."""

from __future__ import annotations

from collections.abc import Iterable

FINEST = 1e-3
"""Seconds below which neighbouring items are drawn as one. A guess: a thousandth of a page's width
at a second's run."""

_MOST = 20_000
"""Blocks in a track, from which on finer ones are put together: some 3 MB."""

_LONGEST = 20
"""So many times the resolution may a block of several items last, so that pauses stay visible."""


class Block:
    """One item, or several short ones in a row.

    Attributes:
        start: When the first began.
        stop: When the last ended.
        items: How many they are.
        index: The first one's index.
        failed: How many of them raised.
    """

    __slots__ = ("failed", "index", "items", "start", "stop")

    def __init__(self, start: float, stop: float, items: int, index: int, failed: int) -> None:
        self.start = start
        self.stop = stop
        self.items = items
        self.index = index
        self.failed = failed

    def joins(self, start: float, stop: float, resolution: float) -> bool:
        """Whether what ran then can be drawn with this block."""
        return (
            stop - start < resolution
            and abs(start - self.stop) < resolution
            and stop - self.start < _LONGEST * resolution
        )

    def take(self, stop: float, items: int, failed: int) -> None:
        """Be one with what followed."""
        self.stop = max(self.stop, stop)
        self.items += items
        self.failed += failed


class Track:
    """What one worker ran for one call."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._resolution = FINEST

    def add(self, start: float, stop: float, items: int, index: int, failed: bool) -> None:
        """Take what ran next."""
        last = self.blocks[-1] if self.blocks else None
        if last is not None and last.joins(start, stop, self._resolution):
            last.take(stop, items, failed)
            return
        self.blocks.append(Block(start, stop, items, index, int(failed)))
        while len(self.blocks) > _MOST:
            self._resolution *= 2
            self.blocks = coarser(self.blocks, self._resolution)


def coarser(blocks: Iterable[Block], resolution: float) -> list[Block]:
    """The same blocks, with neighbours put together that are shorter than the resolution."""
    merged: list[Block] = []
    for block in blocks:
        if merged and merged[-1].joins(block.start, block.stop, resolution):
            merged[-1].take(block.stop, block.items, block.failed)
        else:
            merged.append(Block(block.start, block.stop, block.items, block.index, block.failed))
    return merged
