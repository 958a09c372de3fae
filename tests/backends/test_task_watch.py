"""When all workers of a cluster count as gone, by a clock of the test's own."""

from __future__ import annotations

import pytest

from procession import PoolClosed
from procession.backends.cluster.engine_connection import EngineConnection
from procession.backends.cluster.task_watch import GONE_SECONDS, LostWorkers, RunningClock


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def connection() -> EngineConnection:
    """A connection."""
    return EngineConnection("somewhere", owned=True)


@pytest.fixture
def lost(connection: EngineConnection, clock: Clock) -> LostWorkers:
    """What is tested."""
    return LostWorkers(connection, clock)


def test_a_cluster_without_workers_may_get_some(lost: LostWorkers, clock: Clock) -> None:
    """Calls wait for the first workers as long as it takes."""
    for _ in range(3):
        assert lost.error(0) is None
        clock.now += GONE_SECONDS


def test_workers_that_do_not_come_back(lost: LostWorkers, clock: Clock) -> None:
    """Workers that were there, by their number or their word, are waited for only so long."""
    for number in (2, None):
        lost.error(number) if number else lost.heard()
        clock.now += GONE_SECONDS
        assert lost.error(0) is None
        clock.now += 1
        assert "all workers" in str(lost.error(0))
        lost.forget()
        assert lost.error(0) is None


def test_a_call_that_still_sends_is_refused(
    connection: EngineConnection, lost: LostWorkers, clock: Clock
) -> None:
    """A call that was told goes on sending after its first error; another one waits for workers."""
    told, other = Clock(), Clock()
    lost.check(0, told)
    lost.error(2)
    clock.now += GONE_SECONDS + 1
    assert lost.error(0)
    connection.tell([told])
    for _ in range(9):
        clock.now += 1
        with pytest.raises(PoolClosed, match="all workers"):
            lost.check(0, told)
        lost.check(1, told)
        lost.check(0, other)


def test_workers_that_the_cluster_has_sent_away(
    lost: LostWorkers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that ends idle workers itself starts others, which may take it longer."""
    monkeypatch.setattr(EngineConnection, "sent_away", lambda self: True)
    lost.error(2)
    clock.now += GONE_SECONDS + 1
    assert lost.error(0) is None
    monkeypatch.undo()
    clock.now += GONE_SECONDS + 1
    assert lost.error(0) is None


def test_what_is_known_from_before_counts_for_nothing(lost: LostWorkers, clock: Clock) -> None:
    """Workers that a cluster has ended before these calls are not missed: it starts others."""
    assert lost.error(None) is None
    clock.now += GONE_SECONDS + 1
    assert lost.error(0) is None


def test_a_program_that_was_stopped(clock: Clock) -> None:
    """Time in which it did not run, as after Ctrl-Z, does not count as silence of the cluster's."""
    running = RunningClock(clock)
    lost = LostWorkers(EngineConnection("somewhere", owned=True), running)
    lost.error(2)
    clock.now += 100 * GONE_SECONDS
    assert lost.error(0) is None
    for _ in range(2 * round(GONE_SECONDS)):
        clock.now += 0.5
        running()
    assert "all workers" in str(lost.error(0))


def test_a_connection_that_was_lost_is_made_anew(
    connection: EngineConnection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for two seconds, however many are refused meanwhile; never for a call that was told."""
    monkeypatch.setattr(EngineConnection, "usable", False)
    monkeypatch.setattr("procession.backends.cluster.engine_connection.monotonic", clock)
    told, other = Clock(), Clock()
    connection.lost()
    connection.tell([told])
    for _ in range(3):
        clock.now += 0.5
        with pytest.raises(PoolClosed, match="was lost or closed"):
            connection.check_anew(other)
    clock.now += 0.6
    connection.check_anew(other)
    with pytest.raises(PoolClosed, match="was lost or closed"):
        connection.check_anew(told)
