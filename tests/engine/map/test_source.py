"""The input of a map: what is taken, when it ends, and how long it claims to be."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from procession.engine.map.source import Source


@pytest.mark.parametrize(
    "items", [[1, 2, 3], (1, 2, 3), range(1, 4), {1: 0, 2: 0, 3: 0}, deque([1, 2, 3])]
)
def test_containers_are_inert_and_taken_in_order(items: Iterable[int]) -> None:
    """Built-in containers can be taken from in any thread, piece by piece."""
    source = Source(items)
    assert source.inert
    assert (source.length, source.remaining) == (3, 3)
    assert list(source.take(2)) == [1, 2]
    assert source.remaining == 1
    assert list(source.take(5)) == [3]
    assert source.ended


def test_a_generator_is_not_inert() -> None:
    """Taking from a generator runs user code, and its length is not known."""
    source = Source(x for x in range(3))
    assert not source.inert
    assert list(source.take(9)) == [0, 1, 2]
    ended, length = source.ended, source.length
    assert (ended, length) == (True, 3)


def test_what_the_input_raises_is_kept() -> None:
    """Items before the input's error count; the error waits until they are done."""

    def broken() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    source = Source(broken())
    assert list(source.take(5)) == [1]
    assert source.ended
    assert isinstance(source.error, OSError)


class Liar:
    """Claims a length that it does not have."""

    def __init__(self, claim: Any, items: Iterable[int]) -> None:
        self.claim = claim
        self.items = items

    def __len__(self) -> int:
        if isinstance(self.claim, Exception):
            raise self.claim
        length: int = self.claim
        return length

    def __iter__(self) -> Iterator[int]:
        return iter(self.items)


@pytest.mark.parametrize("claim", [0, 1, 100, RuntimeError("no length")])
def test_a_length_that_lies_is_only_a_hint(claim: Any) -> None:
    """Whatever ``__len__`` says, all items are taken."""
    source = Source(Liar(claim, [1, 2, 3]))
    taken: list[int] = []
    while not source.ended:
        taken += source.take(2)
    assert taken == [1, 2, 3]
    assert source.length == 3


def test_closing_lets_go_of_the_input() -> None:
    """A closed source gives nothing more."""
    source = Source([1, 2, 3])
    source.close()
    assert list(source.take(1)) == []
    assert source.ended
