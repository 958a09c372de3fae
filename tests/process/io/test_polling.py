"""Waiting for messages: when it asks, and when it sleeps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from procession.process.io import polling


class Clock:
    """Time that passes by what happens: each wait takes as long as it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Line:
    """A `SpinWait` on a pipe, whose messages come when the test says."""

    def __init__(self, clock: Clock, descriptor: int) -> None:
        self.clock = clock
        self.spin_wait = polling.SpinWait(descriptor)
        self.asked = 0
        self.coming = 0.0
        self.spin_wait.ask = self._ask

    def _ask(self, timeout: float | None) -> list[Any]:
        assert timeout == 0
        self.asked += 1
        self.clock.now += 1e-6
        return [1] if self.clock.now >= self.coming else []

    def message(self, after: float, pause: float = 0.0) -> int:
        """Wait for a message that comes so late; how often it was asked for."""
        self.asked = 0
        self.clock.now += pause
        self.coming = self.clock.now + after

        def receive() -> None:
            self.clock.now = max(self.clock.now, self.coming)

        self.spin_wait.wait(receive)
        return self.asked


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line of a process with two processors."""
    clock = Clock()
    monkeypatch.setattr(polling, "perf_counter", clock)
    monkeypatch.setattr(polling, "usable_cpus", lambda: 2)
    ours, theirs = os.pipe()
    yield Line(clock, ours)
    os.close(ours)
    os.close(theirs)


def in_a_loop(line: Line) -> None:
    """Ten messages, one soon after the other."""
    for _ in range(10):
        line.message(50e-6)


def test_in_a_loop_it_asks(line: Line) -> None:
    """Once messages come fast one after the other, it asks instead of sleeping."""
    assert [line.message(50e-6) for _ in range(3)] == [0, 0, 0]
    in_a_loop(line)
    assert 40 <= line.message(50e-6) <= 60


def test_after_a_pause_it_sleeps(line: Line) -> None:
    """Calls with pauses in between, however short the waits, are waited for asleep."""
    assert not any(line.message(50e-6, pause=0.0005) for _ in range(50))


def test_a_pause_ends_the_loop(line: Line) -> None:
    """The first message after a pause is not asked for, nor the next few."""
    in_a_loop(line)
    assert [line.message(50e-6, pause=0.5), line.message(50e-6)] == [0, 0]


def test_what_takes_long_is_slept_for(line: Line) -> None:
    """A task that takes its time is never asked for."""
    assert not any(line.message(0.0002) for _ in range(50))


def test_asking_in_vain_grows_rare(line: Line) -> None:
    """It asks for an instant at most, and each time in vain makes it sleep for longer."""
    slept: list[int] = []
    for _ in range(6):
        count = 0
        while not line.message(50e-6):
            count += 1
        assert 0 < line.message(0.01) <= 101
        slept.append(count)
    assert slept == [5, 4, 7, 13, 25, 49]


def test_the_end_of_a_loop_is_forgiven(line: Line) -> None:
    """After a long loop it has asked in vain once, and asks again soon in the next one."""
    for _ in range(100):
        line.message(50e-6)
    line.message(1.0)
    assert [bool(line.message(50e-6)) for _ in range(5)] == [False] * 4 + [True]


def test_with_one_processor_it_sleeps(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both sides share the only processor, asking would keep the other from answering."""
    monkeypatch.setattr(polling, "usable_cpus", lambda: 1)
    alone = Line(line.clock, 0)
    in_a_loop(alone)
    assert alone.message(50e-6) == 0


def test_nothing_is_taken_but_by_receiving(line: Line) -> None:
    """What receives is called exactly once for each wait, also when it was asked before."""
    in_a_loop(line)
    calls: list[int] = []
    line.spin_wait.wait(lambda: calls.append(1))
    assert calls == [1]
