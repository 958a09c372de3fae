"""What crosses between machines, and times of other machines; no cluster is needed for it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import pytest

import procession
from procession import BackendUnavailable
from procession.backends.cluster.cluster_task import Task
from procession.backends.cluster.wire import (
    VERSIONS,
    Clocks,
    Message,
    Order,
    column_of,
    items_of,
    mismatch,
    open_message,
    open_order,
    pack_message,
    pack_order,
)
from procession.contract import Chunk, End
from procession.items import Column, Job, Reply, Results
from procession.pickling.columns import open_value

ORDER = Order(b"", ("caller", 1), "work", 2.5, None, [(0, 1, "a")], None, 0, b"header", (), 0, 7.0)


def test_an_order_arrives_as_it_was() -> None:
    """All that an order says is there again."""
    assert open_order(pack_order(ORDER)) == ORDER


@pytest.mark.parametrize("name", ["of __main__", "of __ma\0in__", "__main__ or __ma\0in__"])
def test_an_order_does_not_name_main(name: str) -> None:
    """Its bytes do not have the word that makes Dask pickle by value, and it arrives as it was."""
    packed = pack_order(ORDER._replace(name=name))
    assert b"__main__" not in packed or "\0" in name
    assert open_order(packed).name == name


def test_a_column_arrives_as_one() -> None:
    """Items that nothing sets apart are sent as they lie in the column, and as nothing else."""
    listener: Any = Heard()
    column = Column(range(2), [7, 8], pickle.dumps((7, 8)), plain=True)
    chunk = Chunk(Job(1, "work"), column, listener)
    assert items_of(chunk) is None
    content = open_order(pack_order(ORDER._replace(items=None, column=column_of(chunk)))).content(
        lambda blob: blob
    )
    assert isinstance(content, Column)
    items = content.items([0, 1])
    assert [(item.index, open_value(item.blob)) for item in items] == [(0, 7), (1, 8)]


def test_results_of_a_column_arrive() -> None:
    """Payloads, and replies of those that have no plain result, are there again."""
    odd = Reply(1, False, b"error")
    results = Results([b"pickle", None, 3.5], 0.5, 0, [(1, odd)], [0.1, 0.2, 0.2])
    ((position, came),) = open_message(pack_message(Message((), [(4, results)]))).results
    assert position == 4
    assert came._replace(size=0) == results
    assert came.size


def test_results_of_a_column_are_joined_and_cut() -> None:
    """What belongs to an item stays with it."""
    odd = Reply(11, False, b"error")
    first = Results([10], 0.5, 4, (), [0.5], [b"log"], 0.6)
    second = Results([None, 12], 0.25, 8, [(0, odd)], [0.125, 0.125], (), 0.4)
    whole = first.then(second)
    assert whole == Results([10, None, 12], 0.75, 12, [(1, odd)], [0.5, 0.125, 0.125], [b"log"], 1)
    rest = whole.part(1, 3)
    assert (rest.payloads, rest.odd, rest.each) == ([None, 12], [(0, odd)], [0.125, 0.125])
    assert (rest.seconds, rest.size) == (0.5, 8)


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.results: list[tuple[int, list[Any]]] = []
        self.replies: list[int] = []

    def replied(self, chunk: Chunk, replies: Sequence[Reply]) -> None:
        """Keep their indexes."""
        self.replies += [reply.index for reply in replies]

    def returned(self, chunk: Chunk, position: int, results: Results) -> None:
        """Keep the payloads."""
        self.results.append((position, results.payloads))


class Backend:
    """As much of a backend as a task asks that is not over."""

    def timed(self, message: Message, replies: Sequence[Reply]) -> Sequence[Reply]:
        """The replies."""
        return replies


def test_a_task_that_ran_twice_counts_once() -> None:
    """What an earlier run has told is left out of what the next run tells, however it is cut."""
    heard: Any = Heard()
    backend: Any = Backend()
    chunk = Chunk(Job(1, "work"), Column(range(6), range(6), b""), heard)
    task = Task(backend, backend, chunk, 1, (), b"")
    for position, payloads in ((0, [0, 1]), (3, [3]), (0, [0, 1, 2, 3, 4]), (4, [4, 5])):
        task.arrived(pack_message(Message((), [(position, Results(payloads))])))
    assert heard.results == [(0, [0, 1]), (3, [3]), (2, [2]), (4, [4]), (5, [5])]
    task.arrived(pack_message(Message([Reply(5, True, b"")])))
    assert heard.replies == []


def test_an_order_of_another_python_is_not_opened() -> None:
    """Versions are compared before anything is unpickled, which could do worse than fail."""
    packed = pack_order(ORDER).replace(VERSIONS[0].encode(), b"2.7", 1)
    with pytest.raises(
        BackendUnavailable, match=r"runs Python 2\.7, and this worker runs Python 3"
    ):
        open_order(packed.partition(b"\n")[0] + b"\nthis is no pickle")


def test_the_message_names_both_versions() -> None:
    """A mismatch says what runs where, and what to do; equal versions are no mismatch."""
    assert not mismatch(VERSIONS, VERSIONS, "the worker")
    text = mismatch(VERSIONS, (VERSIONS[0], "0.0.1"), "the worker")
    assert f"runs Procession {procession.__version__}, and the worker runs Procession 0.0.1" in text


def test_a_message_arrives_with_errors_and_buffers() -> None:
    """The end's error is rebuilt; large buffers of a result can be written to."""
    reply = Reply(3, True, b"pickle", [memoryview(b"large")])
    sent = Message([reply], (), End("refused", error=ValueError("no")), "far", (1.0, 2.0))
    came = open_message(pack_message(sent))
    assert came.end is not None
    assert repr(came.end.error) == "ValueError('no')"
    (buffer,) = came.replies[0].buffers
    buffer[0] = 76
    assert bytes(buffer) == b"Large"


def test_times_of_another_machine() -> None:
    """A clock that is 1,000 s ahead is set right, to within what a message takes."""
    clocks = Clocks()
    reply = Reply(0, True, 1, timing=(1005.05, 0.9, 12, ""))
    message = Message([reply], (), None, "far", (1005.01, 1006.0), sent=5.0)
    (here,) = clocks.here(message, [reply], now=6.01)
    assert here.timing is not None
    begin, seconds, pid, place = here.timing
    assert 5.0 <= begin <= 6.01 - seconds
    assert (seconds, pid, place) == (0.9, 12, "far")


def test_the_closest_bounds_are_kept() -> None:
    """A slow message tells less than a quick one before it, and changes nothing."""
    clocks = Clocks()
    quick = Message([], (), None, "far", (1000.001, 1000.5), sent=0.0)
    clocks.here(quick, [], now=0.501)
    reply = Reply(0, True, 1, timing=(1020.0, 0.1, 12, ""))
    slow = Message([reply], (), None, "far", (1012.0, 1021.0), sent=10.0)
    (here,) = clocks.here(slow, [reply], now=40.0)
    assert here.timing is not None
    assert here.timing[0] == pytest.approx(20.0, abs=0.002)
