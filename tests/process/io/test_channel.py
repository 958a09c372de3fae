"""Frames come whole, however the bytes are cut; the parent's side never blocks."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession.process.io.black_box import BlackBox
from procession.process.io.channel import Message, Receiver, Sender, frame, send_all
from procession.process.io.polling import READ, WRITE, _Epoll, _Portable

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected sockets."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary(),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)


@given(
    sent=st.lists(
        st.tuples(plain, st.lists(st.binary(max_size=300), max_size=3)), min_size=1, max_size=5
    ),
    cuts=st.lists(st.integers(1, 40), min_size=1),
)
@settings(max_examples=60, deadline=None)
def test_frames_survive_any_cut(sent: list[tuple[object, list[bytes]]], cuts: list[int]) -> None:
    """Whatever pieces the bytes arrive in, the same messages come out, in order."""
    one, other = socket.socketpair()
    with one, other:
        data = b"".join(b"".join(frame((1, body), segments)) for body, segments in sent)
        receiver, got, at, turn = Receiver(other), [], 0, 0
        while at < len(data):
            piece = data[at : at + cuts[turn % len(cuts)]]
            one.sendall(piece)
            at, turn = at + len(piece), turn + 1
            left = len(piece)
            while left > 0:
                before = _waiting(other)
                got += receiver.read()
                left -= before - _waiting(other)
        assert [(m[1], [bytes(s) for s in segments]) for m, segments in got] == sent
        assert not receiver.amid


def _waiting(sock: socket.socket) -> int:
    import array
    import fcntl
    import termios

    size = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, size)
    return size[0]


def test_segments_arrive_writable(pair: Pair) -> None:
    """A segment has memory of its own, which its receiver may write to."""
    one, other = pair
    send_all(one, frame((1,), [b"abc", b"", bytearray(b"xyz")]))
    ((message, segments),) = Receiver(other).read()
    assert message[0] == 1
    segments[0][0] = 65
    assert [bytes(segment) for segment in segments] == [b"Abc", b"", b"xyz"]


def test_sender_never_blocks(pair: Pair) -> None:
    """What the other side does not read is kept, and sent when it does."""
    one, other = pair
    sender, big = Sender(one), os.urandom(3_000_000)
    assert not sender.send(frame((1, "first"), [big]))
    assert not sender.send(frame((2, "second")))
    receiver = Receiver(other)
    got: list[Message] = []

    def read() -> None:
        while len(got) < 2:
            got.extend(receiver.read())

    reader = threading.Thread(target=read)
    reader.start()
    while not sender.flush():
        pass
    reader.join(30)
    assert [message[1] for message, _ in got] == ["first", "second"]
    assert bytes(got[0][1][0]) == big


def test_end_of_the_other_side(pair: Pair) -> None:
    """A closed channel is an EOFError, after what was sent before."""
    one, other = pair
    send_all(one, frame((7,)))
    one.close()
    receiver = Receiver(other)
    assert [message[0] for message, _ in receiver.read()] == [7]
    with pytest.raises(EOFError):
        receiver.read()


@pytest.mark.parametrize("kind", [_Epoll, _Portable])
def test_poller_reports_once_per_arming(kind: type[_Epoll] | type[_Portable], pair: Pair) -> None:
    """A descriptor is reported once each time it is armed, and not when it is disarmed."""
    one, other = pair
    poller = kind()
    number = other.fileno()
    poller.add(number)
    one.send(b"x")
    assert poller.poll(0) == []
    poller.arm(number, READ)
    assert poller.poll(1) == [number]
    assert poller.poll(0) == []
    poller.arm(number, READ)
    poller.arm(number, 0)
    assert poller.poll(0) == []
    poller.arm(number, READ | WRITE)
    assert poller.poll(1) == [number]
    poller.wake()
    assert poller.poll(10) == []
    poller.remove(number)
    poller.close()


def test_black_box_tells_of_the_present_chunk_only() -> None:
    """What an earlier chunk left in the box is not taken for the present one's."""
    memory = BlackBox.create()
    worker, parent = BlackBox(memory), BlackBox(memory)
    os.close(memory)
    assert parent.running(0) is None
    worker.next_chunk()
    worker.begin(5)
    running = parent.running(1)
    assert running is not None
    assert running.item == 5
    assert parent.running(2) is None
    worker.close()
    parent.close()


def test_black_box_keeps_the_end_of_stderr() -> None:
    """The ring holds the last bytes, whatever was written before."""
    memory = BlackBox.create()
    box = BlackBox(memory)
    os.close(memory)
    for number in range(5000):
        box.remember(f"line {number}\n")
    assert box.tail().endswith("line 4998\nline 4999\n")
    assert len(box.tail()) == 8192
    box.close()
