"""Limits on one item, whatever the chunk: time and memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from procession.backends.process import ProcessBackend
from tests.process.jobs import (
    double,
    hold_the_gil,
    is_alive,
    job_of,
    nap,
    poll,
    run,
    start_child_and_nap,
    take_memory,
)

Make = Callable[..., ProcessBackend]


def test_timeout_is_for_each_item(backend: ProcessBackend) -> None:
    """Items of 0.1 s pass a limit of 0.5 s in one chunk of ten; the one that sleeps does not."""
    told = run(backend, job_of(nap, timeout=0.5), [0.1] * 9 + [60])
    end = told.wait()
    assert (end.kind, end.index) == ("timeout", 9)
    assert sorted(told.values) == list(range(9))
    assert end.seconds >= 0.5
    assert run(backend, job_of(double), [1]).values == {0: 2}


def test_timeout_in_c_code_says_where_it_was(backend: ProcessBackend) -> None:
    """The stack comes home also from code that never gives the GIL back."""
    end = run(backend, job_of(hold_the_gil, timeout=0.3), [0, 10**11]).wait()
    assert (end.kind, end.index) == ("timeout", 1)
    assert "in hold_the_gil" in end.stack


def test_timeout_ends_grandchildren(make: Make) -> None:
    """What the item has started is killed with it."""
    end = run(make(), job_of(start_child_and_nap, timeout=0.5), [60]).wait()
    assert end.kind == "timeout"
    child = int(end.stack.rpartition("child=")[2].split()[0])
    poll(lambda: not is_alive(child), "the grandchild outlived the timeout")


@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_memory_limit(make: Make, context: str) -> None:
    """An item over the limit ends its worker, and the peak is told; others pass."""
    inherited = bytearray(150_000_000)  # a forked worker shares it: that does not count
    backend = make(context=context)
    told = run(backend, job_of(take_memory, memory_limit=120_000_000), [1_000_000, 200_000_000])
    end = told.wait()
    assert (end.kind, end.index) == ("memory", 1)
    assert end.peak > 120_000_000
    assert told.values in ({0: 1_000_000}, {})  # a reply may wait 10 ms, and die with its worker
    assert run(backend, job_of(double), [1]).values == {0: 2}
    del inherited
