"""Threads as workers: replies are told together, and none of them late."""

from __future__ import annotations

import threading
import time

import pytest

from procession import parallel

_GO_ON = threading.Event()


@parallel(backend="thread", workers=1, inline=False, chunk=3)
def held_up(x: int) -> tuple[int, bool]:
    """Wait, at one item, until the test says so."""
    return x, x != 1 or _GO_ON.wait(30)


@pytest.mark.parametrize("verb", ["imap", "imap_unordered", "outcomes"])
def test_a_result_does_not_wait_for_the_next_item(verb: str) -> None:
    """What was told of a quick item is there while the next one of its chunk runs."""
    _GO_ON.clear()
    results = iter(getattr(held_up, verb)([0, 1, 2]))
    first = next(results)
    _GO_ON.set()
    found = [each.value if verb == "outcomes" else each for each in (first, *results)]
    assert found == [(0, True), (1, True), (2, True)]


@parallel(backend="thread", workers=2, inline=False)
def uneven(x: int) -> int:
    """Quick items, slow ones, and some that fail."""
    if x % 100 == 7:
        time.sleep(0.002)
    if x % 100 == 9:
        raise LookupError(x)
    return x


def test_each_item_is_answered_once() -> None:
    """Whoever tells of it: its own thread, the next slow item's, or the clock."""
    outcomes = list(uneven.outcomes(range(2000)))
    assert [each.index for each in outcomes] == list(range(2000))
    assert [each.index for each in outcomes if not each.ok] == list(range(9, 2000, 100))
    assert all(each.value == each.index for each in outcomes if each.ok)
