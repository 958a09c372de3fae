"""How items become blocks: none is lost, and there are never too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from procession.profiling import tracks
from procession.profiling.tracks import Block, Track, coarser

RUNS = st.lists(st.tuples(st.floats(0, 0.01), st.floats(0, 0.01), st.booleans()), max_size=60)


def track(runs: list[tuple[float, float, bool]]) -> Track:
    """A track of items, each after a pause."""
    made = Track()
    at = 0.0
    for index, (pause, seconds, failed) in enumerate(runs):
        at += pause
        made.add(at, at + seconds, 1, index, failed)
        at += seconds
    return made


def totals(blocks: list[Block]) -> tuple[int, int]:
    """Items, and those that failed."""
    return sum(block.items for block in blocks), sum(block.failed for block in blocks)


@given(RUNS, st.sampled_from([1e-4, 1e-3, 1e-2, 1.0]))
def test_no_item_is_lost(runs: list[tuple[float, float, bool]], resolution: float) -> None:
    """However blocks are put together, they hold every item, in order and without overlap."""
    made = track(runs)
    for blocks in (made.blocks, coarser(made.blocks, resolution)):
        assert totals(blocks) == (len(runs), sum(failed for *_, failed in runs))
        assert [block.index for block in blocks] == sorted(block.index for block in blocks)
        edges = [edge for block in blocks for edge in (block.start, block.stop)]
        assert edges == sorted(edges)


def test_long_items_stay_alone() -> None:
    """An item longer than the resolution is one block; short neighbours are one together."""
    made = track([(0.0, 0.5, False), (0.0, 1e-5, False), (0.0, 1e-5, True), (0.2, 1e-5, False)])

    assert [(b.items, b.failed) for b in made.blocks] == [(1, 0), (2, 1), (1, 0)]


def test_blocks_are_bounded() -> None:
    """A run of any length keeps a bounded number of blocks, and every item."""
    many = tracks._MOST + 10
    made = track([(0.01, 0.01, False)] * many)

    assert len(made.blocks) <= tracks._MOST
    assert totals(made.blocks) == (many, 0)
