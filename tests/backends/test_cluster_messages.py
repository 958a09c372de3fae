"""What crosses between machines, and times of other machines; no cluster is needed for it."""

from __future__ import annotations

import pytest

import procession
from procession import BackendUnavailable
from procession.backends.cluster.clocks import Clocks
from procession.backends.cluster.wire import (
    VERSIONS,
    Message,
    Order,
    mismatch,
    open_message,
    open_order,
    pack_message,
    pack_order,
)
from procession.contract import End, Reply

ORDER = Order(b"", ("caller", 1), "work", 2.5, None, [(0, 1, "a")], 0, b"header", (), 0, 7.0)


def test_an_order_arrives_as_it_was() -> None:
    """All that an order says is there again."""
    assert open_order(pack_order(ORDER)) == ORDER


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
    sent = Message([reply], End("refused", error=ValueError("no")), "far", (1.0, 2.0))
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
    message = Message([reply], None, "far", (1005.01, 1006.0), sent=5.0)
    (here,) = clocks.here(message, [reply], now=6.01)
    assert here.timing is not None
    begin, seconds, pid, place = here.timing
    assert 5.0 <= begin <= 6.01 - seconds
    assert (seconds, pid, place) == (0.9, 12, "far")


def test_the_closest_bounds_are_kept() -> None:
    """A slow message tells less than a quick one before it, and changes nothing."""
    clocks = Clocks()
    quick = Message([], None, "far", (1000.001, 1000.5), sent=0.0)
    clocks.here(quick, [], now=0.501)
    reply = Reply(0, True, 1, timing=(1020.0, 0.1, 12, ""))
    slow = Message([reply], None, "far", (1012.0, 1021.0), sent=10.0)
    (here,) = clocks.here(slow, [reply], now=40.0)
    assert here.timing is not None
    assert here.timing[0] == pytest.approx(20.0, abs=0.002)
