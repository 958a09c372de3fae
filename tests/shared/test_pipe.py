"""Pipe: both ends go anywhere."""

from __future__ import annotations

import multiprocessing
import pickle
from multiprocessing.connection import wait
from typing import Any

import pytest

from procession import ProcessionError, shared
from tests.shared import jobs
from tests.shared.jobs import Start
from tests.support.waiting import wait_until


def send_all(connection: Any, items: list[Any]) -> None:
    """One side of a conversation."""
    with connection:
        for item in items:
            connection.send(item)
            assert connection.recv() == item


def test_between_two_workers(start: Start) -> None:
    """The guide's two processes that talk to each other."""
    here, there = shared.Pipe()
    processes = [start(send_all, here, [1, "two", [3.0]]), start(answer_three, there)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def answer_three(connection: Any) -> None:
    """The other side."""
    for _ in range(3):
        connection.send(connection.recv())


def test_the_end_of_file() -> None:
    """Comes when nobody can send any more."""
    context = multiprocessing.get_context("spawn")
    here, there = shared.Pipe()
    process = context.Process(target=jobs.answer, args=(there,))
    process.start()
    here.send("hello")
    assert here.recv() == "hello"
    there.close()
    process.kill()
    process.join()
    with pytest.raises(EOFError):
        here.recv()
    with pytest.raises(OSError):
        here.send(1)
    process.close()


def test_one_way() -> None:
    """The first end receives, the second sends, and neither does the other's work."""
    receiver, sender = shared.Pipe(duplex=False)
    assert (receiver.readable, receiver.writable) == (True, False)
    assert (sender.readable, sender.writable) == (False, True)
    with pytest.raises(OSError, match="read-only"):
        receiver.send(1)
    with pytest.raises(OSError, match="write-only"):
        sender.recv()
    assert not receiver.poll()
    sender.send({"a": 1})
    assert receiver.poll(30)
    assert receiver.recv() == {"a": 1}


def test_bytes() -> None:
    """Messages of bytes, in part, and into a buffer."""
    receiver, sender = shared.Pipe(duplex=False)
    sender.send_bytes(b"0123456789", 2, 5)
    assert receiver.recv_bytes() == b"23456"
    sender.send_bytes(b"0123456789")
    buffer = bytearray(12)
    assert receiver.recv_bytes_into(buffer, 1) == 10
    assert buffer == b"\x000123456789\x00"
    sender.send_bytes(b"0123456789")
    with pytest.raises(OSError):
        receiver.recv_bytes(5)


def test_waiting_for_several() -> None:
    """`multiprocessing.connection.wait` takes them."""
    pairs = [shared.Pipe() for _ in range(3)]
    pairs[1][1].send(1)
    ready: list[Any] = wait(list[Any](here for here, _ in pairs), 30)
    assert ready == [pairs[1][0]]


def test_closing() -> None:
    """A closed end is of no use, here; and it cannot be sent."""
    here, _there = shared.Pipe()
    with here:
        here.poll()
    assert here.closed
    for use in (here.recv, here.fileno, here.poll):
        with pytest.raises(OSError, match="closed"):
            use()
    with pytest.raises(OSError, match="closed"):
        pickle.dumps(here)


def test_the_other_end_is_gone(fork: Start) -> None:
    """Opening what nobody reads any more says so."""
    _here, there = shared.Pipe(duplex=False)
    blob = pickle.dumps(there)
    outcome = shared.List[str]()
    go = shared.Event()
    process = fork(_open_late, blob, outcome, go)
    wait_until(lambda: len(outcome) == 1)
    there.close()
    _here.close()
    go.set()
    process.join(60)
    assert outcome[1] == ProcessionError.__name__


def _open_late(blob: bytes, outcome: Any, go: Any) -> None:
    import gc

    from procession.shared import pipe

    for connection in list(pipe._connections.values()):
        connection.close()  # what was inherited
    gc.collect()
    outcome.append("ready")
    go.wait(60)
    try:
        pickle.loads(blob)
    except Exception as error:
        outcome.append(type(error).__name__)
