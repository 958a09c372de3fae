"""Futures of single calls: whoever waits, however, is told; and a call leaves no garbage."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import procession
from procession import Future, parallel
from tests.support.waiting import wait_until

PATIENCE = 30.0


@parallel(workers=2)
def double(x: int) -> int:
    """Twice a number."""
    return 2 * x


@parallel(workers=2)
def fail(x: int) -> int:
    """Raise."""
    raise ValueError(x)


@parallel(workers=1)
def once(path: str) -> None:
    """Write a file; nobody reads the result."""
    with open(path, "a") as file:
        file.write("ran")


def _by_callback(future: Future[int]) -> int:
    told = threading.Event()
    future.add_done_callback(lambda _: told.set())
    assert told.wait(PATIENCE)
    return future.result()


def _by_polling(future: Future[int]) -> int:
    deadline = time.monotonic() + PATIENCE
    while not future.done():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return future.result(0)


def _by_await(future: Future[int]) -> int:
    async def wait() -> int:
        return await asyncio.wait_for(future, PATIENCE)

    return asyncio.run(wait())


def _by_wait(future: Future[int]) -> int:
    (only,), _ = cf.wait([future], PATIENCE)
    return int(only.result(0))


def _by_as_completed(future: Future[int]) -> int:
    return next(procession.as_completed([future], PATIENCE)).result(0)


WAYS: list[Callable[[Future[int]], int]] = [
    lambda future: future.result(),
    lambda future: future.result(PATIENCE),
    _by_callback,
    _by_polling,
    _by_await,
    _by_wait,
    _by_as_completed,
]


@pytest.fixture(autouse=True, scope="module")
def _warm() -> None:
    double(0)
    double.submit(0).result()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
@pytest.mark.parametrize("rounds", [1, 30])
def test_every_way_to_wait(way: Callable[[Future[int]], int], rounds: int) -> None:
    """One call, or a burst of more calls than workers: each way gets each result."""
    futures = [double.submit(i) for i in range(rounds)]
    assert [way(future) for future in futures] == [2 * i for i in range(rounds)]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
def test_every_way_gets_an_error(way: Callable[[Future[int]], int]) -> None:
    """What the call raised arrives by each way."""
    with pytest.raises(ValueError, match="7"):
        way(fail.submit(7))


def test_a_call_that_nobody_waits_for(tmp_path: Any) -> None:
    """A result that nobody reads keeps neither its worker nor the next call."""
    path = str(tmp_path / "ran")
    for _ in range(5):
        once.submit(path)
    assert once.submit(path).result() is None
    with open(path) as file:
        assert file.read() == "ran" * 6


def test_several_threads_wait_for_one_future() -> None:
    """All of them get the result, whichever of them reads it."""
    for i in range(50):
        future = double.submit(i)
        got: list[int] = []
        threads = [
            threading.Thread(target=lambda f=future, g=got: g.append(f.result(PATIENCE)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert got == [2 * i] * 4


def test_looking_at_a_future_while_another_thread_waits() -> None:
    """A callback that is added while the result is being read is called once."""
    for i in range(200):
        future = double.submit(i)
        called: list[object] = []
        adder = threading.Thread(target=future.add_done_callback, args=(called.append,))
        adder.start()
        assert future.result() == 2 * i
        adder.join()
        wait_until(called.__len__)
        assert called == [future]


def test_a_future_made_by_hand_is_a_standard_one() -> None:
    """Without a call behind it, a future does what the standard library's does."""
    future: Future[int] = Future()
    assert not future.done()
    assert future.set_running_or_notify_cancel()
    assert future.running()
    future.set_result(1)
    assert future.result(0) == 1
    with pytest.raises(cf.InvalidStateError):
        future.set_result(2)
    assert Future[int]().cancel()


def test_a_call_makes_no_cycles() -> None:
    """What a call has made is freed when its future goes: the collector finds nothing."""
    double.submit(0).result()
    gc.collect()
    gc.disable()
    try:
        for i in range(100):
            double.submit(i).result()
        assert gc.collect() < 100
    finally:
        gc.enable()


def test_a_result_is_read_though_its_reader_was_interrupted() -> None:
    """Another thread's wait with a timeout that runs out leaves the result to others."""
    slow = parallel(workers=2)(time.sleep)
    future = slow.submit(0.3)
    with pytest.raises(TimeoutError):
        future.result(0.01)
    assert future.result() is None


_ASKED_AMID = """
import gc, os
from procession import Future

future, seen = Future(), []
kept = [{} for _ in range(500)]  # Python has no dictionary left to use again
gc.collect()
gc.callbacks.append(lambda phase, info: seen.append(future.__dict__))
kept += [[], [], []]
gc.set_threshold(1)  # the next one that is made has garbage collected
space = future.__dict__
gc.disable()
os._exit(0 if all(each is space for each in seen) else 3)
"""


def test_its_attributes_are_in_one_dictionary() -> None:
    """Two threads ask for it at once when a call ends as it is cancelled. Python 3.11 made two of
    it, and crashed, if garbage was collected meanwhile."""
    asked = subprocess.run([sys.executable, "-c", _ASKED_AMID], capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
