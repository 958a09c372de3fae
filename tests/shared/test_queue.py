"""Queue: multiprocessing's behaviour, and killed producers and consumers."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from procession import NotPicklable, shared
from tests.shared import jobs
from tests.shared.jobs import Start
from tests.support.waiting import wait_until


def test_producers_and_consumers(start: Start) -> None:
    """The guide's pipeline: everything that was put in comes out, once."""
    numbers, taken = shared.Queue[Any](maxsize=10), shared.List[int]()
    producers = [start(jobs.put_numbers, numbers, 300 * at, 300) for at in range(2)]
    consumers = [start(jobs.take_until_none, numbers, taken) for _ in range(2)]
    for process in producers:
        process.join(60)
    numbers.join()
    for _ in consumers:
        numbers.put(None)
    for process in consumers:
        process.join(60)
    assert sorted(taken) == list(range(600))
    numbers.join()
    assert numbers.empty()


def test_order_and_size() -> None:
    """First in, first out; counts tell how many there are."""
    items = shared.Queue[int](2)
    assert items.empty()
    items.put(1)
    items.put_nowait(2)
    assert items.full()
    assert items.qsize() == 2
    assert (items.get(), items.get_nowait()) == (1, 2)


def test_full_and_empty() -> None:
    """At once, or after a time, as the standard library's exceptions."""
    items = shared.Queue[int](1)
    with pytest.raises(queue.Empty):
        items.get_nowait()
    with pytest.raises(queue.Empty):
        items.get(timeout=0.02)
    items.put(1)
    with pytest.raises(queue.Full):
        items.put_nowait(2)
    with pytest.raises(queue.Full):
        items.put(2, timeout=0.02)
    assert items.get() == 1


def test_task_done_too_often() -> None:
    """Says what multiprocessing says."""
    items = shared.Queue[int]()
    items.put(1)
    items.task_done()
    with pytest.raises(ValueError, match="called too many times"):
        items.task_done()


def test_what_cannot_be_pickled_fails_where_it_is_put() -> None:
    """And nothing is in the queue."""
    items = shared.Queue[Any]()
    with pytest.raises(NotPicklable, match=r"shared\.Queue\.put\(\).*'obj'") as caught:
        items.put({"a": threading.Lock()})
    assert caught.value.path == "obj['a']"
    assert items.empty()


def test_a_closed_queue() -> None:
    """This process may not use it any more."""
    items = shared.Queue[int]()
    items.put(1)
    items.close()
    items.join_thread()
    items.cancel_join_thread()
    with pytest.raises(ValueError, match="is closed"):
        items.put(2)
    with pytest.raises(ValueError, match="is closed"):
        items.get()


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000, 3_000_000])
def test_items_of_every_size(fork: Start, size: int) -> None:
    """Large ones make the memory grow, and give it back."""
    items = shared.Queue[bytes]()
    process = fork(_put_blobs, items, size)
    for number in range(6):
        assert items.get(timeout=60) == bytes([number]) * size
    process.join(60)
    items.put(b"more")
    assert items.get() == b"more"
    assert items._state.read()[5] <= 1 << 20


def _put_blobs(items: Any, size: int) -> None:
    for number in range(6):
        items.put(bytes([number]) * size)


def test_it_never_grows_while_it_is_emptied_now_and_then() -> None:
    """What was taken makes room for what comes, though the queue is never empty."""
    items = shared.Queue[int]()
    for number in range(100):
        items.put(number)
    for number in range(20_000):
        items.put(number)
        items.get()
    assert items._state.read()[5] == 1 << 16
    assert items.qsize() == 100


def test_a_killed_consumer_blocks_nobody(start: Start) -> None:
    """Neither one that waits for an item, nor one that holds everything up."""
    items = shared.Queue[int]()
    doomed = start(items.get)
    wait_until(lambda: items._waiters._waiting(0))
    doomed.kill()
    doomed.join()
    items.put(1)
    assert items.get(timeout=30) == 1
    doomed = start(jobs.die_holding, items._mutex)
    doomed.join(60)
    items.put(2)
    assert items.get(timeout=30) == 2


def test_killed_producers_corrupt_nothing(fork: Start) -> None:
    """Killed in the middle of whatever they do, many times."""
    items = shared.Queue[Any](100)
    for _ in range(20):
        doomed = fork(jobs.put_numbers, items, 0, 1_000_000)
        for _ in range(50):
            assert isinstance(items.get(timeout=30), int)
        doomed.kill()
        doomed.join()
    left = [items.get_nowait() for _ in range(items.qsize())]
    assert all(isinstance(number, int) for number in left)
    items.put("end")
    assert items.get(timeout=30) == "end"


def test_shared_objects_inside() -> None:
    """They are kept until somebody has taken them out."""
    items = shared.Queue[Any]()
    items.put(shared.Queue[int]())
    inner = items.get()
    inner.put(5)
    assert inner.get() == 5
    items.put(1)
    assert not items._kept
