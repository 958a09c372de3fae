"""What a worker and its parent tell each other of calls, by words in shared memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import pytest

from procession.items import BACK, DIVIDED, STOP, UNTIL, UPTO
from procession.process.io.black_box import BlackBox


@pytest.fixture
def box() -> Iterator[BlackBox]:
    """Both sides in one."""
    memory = BlackBox.create()
    made = BlackBox(memory)
    os.close(memory)
    yield made
    made.close()


def begin(box: BlackBox, chunk: int) -> None:
    """The worker begins this one."""
    while box.chunk < chunk:
        box.begin_chunk(0)


def test_calls_that_are_taken_back(box: BlackBox) -> None:
    """Those after the one that is named, up to the last one that was given."""
    begin(box, 2)
    assert box.take_back(3, 6) == 3
    assert [number for number in range(1, 9) if box.taken_back(number)] == [4, 5, 6]


def test_fewer_are_left_by_the_next_one(box: BlackBox) -> None:
    """Of the same calls more are taken back, never less."""
    begin(box, 2)
    box.take_back(4, 6)
    assert box.take_back(3, 6) == 3
    assert box.take_back(5, 6) == 3


def test_what_was_taken_back_before_stays_so_until_it_is_passed(box: BlackBox) -> None:
    """A worker that has not looked at it yet may do so at any time."""
    begin(box, 2)
    box.take_back(2, 5)
    assert box.take_back(8, 9) == 2
    assert all(box.taken_back(number) for number in range(3, 10))
    box.pass_over(7)
    begin(box, 10)
    assert box.take_back(12, 14) == 12
    assert not box.taken_back(11)


class _Amid:
    """Words that the parent writes just after the first of them was read."""

    def __init__(self, words: Any) -> None:
        self._words = words

    def __getitem__(self, place: int) -> int:
        value: int = self._words[place]
        self._words[BACK], self._words[UPTO] = 6, 8
        return value


def test_a_look_amid_the_taking_back_of_others(box: BlackBox) -> None:
    """A call that was taken back neither before nor by that is to be run: it is waited for."""
    box.take_back(1, 3)
    begin(box, 5)
    words: Any = box.words
    box.words = cast("Any", _Amid(words))
    try:
        assert not box.taken_back(6)
    finally:
        box.words = words
    assert box.taken_back(7)


def test_results_that_are_kept(box: BlackBox) -> None:
    """They are there until they are sent, as many as there is room for."""
    assert box.keep(b"one")
    assert box.keep(b"two")
    assert box.kept() == b"onetwo"
    assert not box.keep(bytes(1 << 16))
    box.drop_kept()
    assert box.kept() == b""


def test_what_is_kept_is_read_only_while_something_runs(box: BlackBox) -> None:
    """Else the worker is about to send it, or to add to it."""
    begin(box, 1)
    box.end()
    box.keep(b"one")
    assert box.kept_while_running() == b""
    begin(box, 2)
    assert box.kept_while_running() == b"one"


def test_how_far_a_chunk_is(box: BlackBox) -> None:
    """Of a chunk that waits nothing was begun; of one that is over, or was followed, all was."""
    items = range(100, 200)
    assert box.reached(items, 1) == 0
    box.next_chunk()
    box.begin(150)
    assert [box.reached(items, chunk) for chunk in (1, 2)] == [50, 0]
    box.end()
    assert box.reached(items, 1) == 100
    box.next_chunk()
    box.begin(7)
    assert [box.reached(items, 1), box.reached(range(10), 2)] == [100, 7]


def test_how_far_a_dead_worker_came_can_be_asked(box: BlackBox) -> None:
    """A map asks in a thread of its own, perhaps just as the memory is let go."""
    box.next_chunk()
    box.begin(150)
    assert box.reached(range(100, 200), 1) == 50
    box.close()
    assert box.reached(range(100, 200), 1) == 0


def test_a_chunk_is_divided(box: BlackBox) -> None:
    """The worker is told the chunk, and the first item that is not its own any more."""
    box.divide(3, 150)
    assert (box.words[STOP], box.words[UNTIL]) == (3 | DIVIDED, 150)
