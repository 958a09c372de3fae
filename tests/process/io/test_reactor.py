"""The thread that serves all workers of this process."""

from __future__ import annotations

from procession.process.io.reactor import reactor
from tests.support.waiting import wait_until


def test_it_ends_though_its_last_timer_was_cancelled() -> None:
    """It does not wait for a time at which nothing is to be done any more."""
    timer = reactor.call_later(600, lambda: None)
    wait_until(lambda: reactor._sleeps_until == timer.when)
    timer.cancel()
    wait_until(lambda: not reactor.runs)
