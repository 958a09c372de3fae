"""When all workers of a cluster count as gone, by a clock of the test's own."""

from __future__ import annotations

import pytest

from procession import PoolClosed
from procession.backends.cluster.engine_connection import GONE_SECONDS, EngineConnection, Gone


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
def gone(clock: Clock) -> Gone:
    """What is tested."""
    return Gone(EngineConnection("somewhere", owned=True), clock)


def test_a_cluster_without_workers_may_get_some(gone: Gone, clock: Clock) -> None:
    """Calls wait for the first workers as long as it takes."""
    for _ in range(3):
        assert gone.error(0) is None
        clock.now += GONE_SECONDS


def test_workers_that_do_not_come_back(gone: Gone, clock: Clock) -> None:
    """Workers that were there, by their number or their word, are waited for only so long."""
    for number in (2, None):
        gone.error(number) if number else gone.heard()
        clock.now += GONE_SECONDS
        assert gone.error(0) is None
        clock.now += 1
        assert "all workers" in str(gone.error(0))
        gone.forget()
        assert gone.error(0) is None


def test_a_call_that_still_sends_is_refused(gone: Gone, clock: Clock) -> None:
    """A call that was told goes on sending after its first error; another one waits for workers."""
    told, other = Clock(), Clock()
    gone.check(0, told)
    gone.error(2)
    clock.now += GONE_SECONDS + 1
    assert gone.error(0)
    gone.told([told])
    for _ in range(9):
        clock.now += 1
        with pytest.raises(PoolClosed, match="all workers"):
            gone.check(0, told)
        gone.check(1, told)
        gone.check(0, other)


def test_workers_that_the_cluster_has_sent_away(
    gone: Gone, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that ends idle workers itself starts others, which may take it longer."""
    monkeypatch.setattr(EngineConnection, "sent_away", lambda self: True)
    gone.error(2)
    clock.now += GONE_SECONDS + 1
    assert gone.error(0) is None
    monkeypatch.undo()
    clock.now += GONE_SECONDS + 1
    assert gone.error(0) is None


def test_what_is_known_from_before_counts_for_nothing(gone: Gone, clock: Clock) -> None:
    """Workers that a cluster has ended before these calls are not missed: it starts others."""
    assert gone.error(None) is None
    clock.now += GONE_SECONDS + 1
    assert gone.error(0) is None
