"""The words of the contract: a chunk's items, one by one or as a column, and which have replied."""

from __future__ import annotations

import pickle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from procession.contract import Answered, Chunk, OneByOne
from procession.items import Column, Item, Job


class Silent(OneByOne):
    """Hears nothing."""

    def replied(self, chunk: Any, replies: Any) -> None:
        """Told of replies."""

    def ended(self, chunk: Any, end: Any) -> None:
        """Told of the end."""


JOB = Job(1, "f")


def column(indexes: Any) -> Chunk:
    """A chunk whose items are ten times their index."""
    values = [10 * index for index in indexes]
    return Chunk(JOB, Column(indexes, values, pickle.dumps(tuple(values)), plain=True), Silent())


def test_items_of_a_column() -> None:
    """Each can be made an object, with what is sent for it."""
    for indexes in (range(3, 7), [3, 4, 6, 9]):
        chunk = column(indexes)
        assert len(chunk) == 4
        assert [item.index for item in chunk.items] == list(indexes)
        blobs = [pickle.loads(item.blob) for item in chunk.items]
        assert blobs == [10 * index for index in indexes]
        assert chunk.item(2).value == 10 * indexes[2]
        assert chunk.index(1) == 4


def test_where_an_item_stands() -> None:
    """By its index, guessed or not; those of other chunks stand nowhere."""
    by_one = Chunk(JOB, [Item(index, index) for index in (5, 2, 8)], Silent())
    for chunk, indexes in ((column([2, 5, 8]), [2, 5, 8]), (by_one, [5, 2, 8])):
        for near in range(4):
            assert [chunk.position(index, near) for index in indexes] == [0, 1, 2]
        assert chunk.position(7) == -1


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(1, 6)), max_size=12))
def test_what_has_replied(ranges: list[tuple[int, int]]) -> None:
    """In whatever order replies come, those that have none are known."""
    answered, wanted = Answered(), set[int]()
    for position, count in ranges:
        answered.add(position, count)
        wanted.update(range(position, position + count))
    assert answered.missing(40) == [at for at in range(40) if at not in wanted]
    assert all(answered.has(at) == (at in wanted) for at in range(40))
    assert answered.first == min(set(range(41)) - wanted)


def test_the_rest_of_a_chunk() -> None:
    """What has no reply, as items that can be sent again."""
    answered = Answered()
    answered.add(0, 2)
    answered.add(3)
    assert [item.index for item in column(range(10, 15)).rest(answered)] == [12, 14]
    assert pickle.loads(column(range(10, 15)).rest(answered)[0].blob) == 120
