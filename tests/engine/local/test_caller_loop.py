"""Items that run in the caller's thread while the helper takes the rest of them away."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from procession.engine.local.caller_loop import CallerLoop
from procession.engine.map.intake import Intake
from procession.engine.map.source import Source


class Given:
    """Collects what was cut off."""

    def __init__(self) -> None:
        self.values: list[tuple[int, Any]] = []

    def __call__(self, start: int, values: list[Any]) -> None:
        """Take values from index `start` on."""
        self.values.extend(enumerate(values, start))


def same(value: int) -> int:
    """What a loop calls for each item."""
    return value


def test_what_the_loop_has_not_taken_goes_elsewhere() -> None:
    """A cut in the middle of an item ends the loop after that item."""
    given, running = Given(), CallerLoop(100, list("abcdef"))
    seen = []
    for value in running.iterator:
        seen.append(value)
        if value == "c":
            running.cut(given)
    running.end(len(seen), given)

    assert seen == ["a", "b", "c"]
    assert running.values == ["a", "b", "c"]
    assert given.values == [(103, "d"), (104, "e"), (105, "f")]


def test_the_first_item_stays() -> None:
    """A cut before the loop has begun leaves it one item: whoever takes a slice runs something."""
    given, running = Given(), CallerLoop(0, [1, 2])
    running.cut(given)

    assert list(running.iterator) == [1]
    assert given.values == [(1, 2)]


def test_a_second_cut_gives_nothing_more() -> None:
    """Each value goes elsewhere once."""
    given, running = Given(), CallerLoop(0, [1, 2, 3])
    next(running.iterator)
    running.cut(given)
    running.cut(given)
    running.end(1, given)

    assert given.values == [(1, 2), (2, 3)]


def test_a_cut_after_the_end_gives_nothing() -> None:
    """A loop that is over has taken all."""
    given, running = Given(), CallerLoop(0, [1, 2, 3])
    seen = list(running.iterator)
    running.cut(given)
    running.end(len(seen), given)

    assert not given.values
    assert running.pace() is None


def test_pace_counts_since_the_last_look() -> None:
    """How many are left, whatever was taken, and how long those since the last look took."""
    running = CallerLoop(0, list(range(10)))
    next(running.iterator)
    assert running.pace() is not None
    next(running.iterator)
    next(running.iterator)
    left, seconds = running.pace() or (0, 0.0)

    assert left == 7
    assert seconds > 0


@pytest.mark.parametrize("delay", range(0, 2000, 100))
def test_every_value_is_taken_once_however_a_cut_falls(delay: int) -> None:
    """A cut races with the loop: what it took and what was cut off are the whole, once each."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            given, running = Given(), CallerLoop(0, list(range(1000)))
            go = threading.Event()

            def cut(running: CallerLoop = running, given: Given = given, go: Any = go) -> None:
                go.wait()
                for _ in range(delay):
                    pass
                running.cut(given)

            thread = threading.Thread(target=cut)
            thread.start()
            go.set()
            seen = [same(value) for value in running.iterator]
            thread.join()
            running.end(len(seen), given)
            assert seen == running.values
            assert seen + [value for _, value in given.values] == list(range(1000))
            assert all(index == value for index, value in given.values)
    finally:
        sys.setswitchinterval(interval)


def intake() -> Intake:
    """An intake of ten numbers, of which six were taken."""
    made = Intake(Source(list(range(10))), 100)
    made.take_here(6)
    return made


def test_what_is_given_back_comes_first() -> None:
    """Items that the caller's thread took and did not run are the next."""
    made = intake()
    made.give_back(4, [4, 5])

    assert made.remaining == 6
    assert made.next(8) == (range(4, 6), [4, 5])
    assert made.next(8) == (range(6, 10), [6, 7, 8, 9])


def test_the_callers_thread_takes_only_what_follows_each_other() -> None:
    """A slice has consecutive indexes, though what is pending may have a gap."""
    made = intake()
    made.give_back(5, [5])
    made.give_back(1, [1, 2])

    assert made.take_here(8) == (1, [1, 2])
    assert made.take_here(8) == (5, [5])


def test_items_before_an_error_are_not_forgotten() -> None:
    """Once an item's error decides a map, those before it still matter, even if given back."""
    made = intake()
    made.give_back(3, [3, 4, 5])
    made.stop(4)
    made.give_back(1, [1, 2])

    assert not made.open
    assert made.next(8) == (range(1, 4), [1, 2, 3])


def test_an_item_that_hangs_counts_for_all_its_time() -> None:
    """As long as the loop does not go on, each look finds that its item has taken longer."""
    running = CallerLoop(0, [1, 2])
    next(running.iterator)
    looks = [running.pace() for _ in range(4)]
    seconds = [look[1] for look in looks if look is not None]
    assert seconds[1:] == sorted(set(seconds[1:]))
    assert len(seconds) == 4


def test_input_that_a_feeder_takes_is_not_waited_for() -> None:
    """The thread that results are for takes none while another one is at it, or once that began."""
    intake = Intake(Source(each for each in range(3)), 100)
    with intake.taking:
        assert intake.take_here(1, lambda: True) == (0, [])
    assert intake.take_here(1, lambda: False) == (0, [])
    assert intake.take_here(1, lambda: True) == (0, [0])
