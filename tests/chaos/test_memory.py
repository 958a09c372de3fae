"""Long inputs are never held as a whole, and an input may wait for earlier results."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.chaos.helpers import within
from tests.chaos.jobs import square

GROWTH = 50 << 20
"""Bytes; a window of numbers takes a hundredth of it."""


def _consumed(iterator: Iterator[Any]) -> int:
    """Read it to its end; how far the resident memory grew beyond that at the tenth part."""
    me = psutil.Process()
    start = peak = 0
    for count in itertools.count(1):
        if deque(itertools.islice(iterator, 20_000), maxlen=1):
            now = me.memory_info().rss
            start = start or now
            peak = max(peak, now)
        else:
            assert count > 1
            return peak - start
    raise AssertionError


@pytest.mark.parametrize("inline", ["auto", False])
@pytest.mark.parametrize("count", [200_000, pytest.param(10_000_000, marks=pytest.mark.soak)])
def test_a_long_map_takes_no_memory(count: int, inline: Any) -> None:
    """Neither the input nor the results of `imap` pile up."""
    function = square.with_options(workers=2, inline=inline)
    grown = within(lambda: _consumed(function.imap(iter(range(count)))), 1000)
    assert grown < GROWTH


@pytest.mark.parametrize("inline", ["auto", False])
def test_an_infinite_input(inline: Any) -> None:
    """Only what the window allows is taken of a generator that never ends."""
    function = square.with_options(workers=2, inline=inline)
    results: Any = function.imap(itertools.count())
    grown = within(lambda: _consumed(itertools.islice(results, 100_000)))
    results.close()
    assert grown < GROWTH


@pytest.mark.parametrize("inline", ["auto", False])
@pytest.mark.parametrize("verb", ["imap", "imap_unordered", "outcomes"])
def test_an_input_that_waits_for_results(verb: str, inline: Any) -> None:
    """A generator may block until what it gave before was consumed."""
    function: Any = square.with_options(workers=2, inline=inline)
    consumed = threading.Semaphore(2)

    def items() -> Iterator[int]:
        for number in range(40):
            assert consumed.acquire(timeout=60)
            yield number

    def consume() -> int:
        count = 0
        for _ in getattr(function, verb)(items()):
            count += 1
            consumed.release()
        return count

    assert within(consume) == 40
