"""What starts cost is learnt from what happens anyway."""

from __future__ import annotations

import pytest

from procession.engine.policy.placement import Pace, Placement
from procession.start_costs import StartCosts


def worth(costs: StartCosts, seconds: float, *, loaded: bool, copy: bool = False) -> bool:
    """Whether so many seconds of work are worth the start of a pool of two."""
    placement = Placement(2, Pace(), costs=costs, loaded=loaded, copy=copy)
    placement.ran(1, seconds / 100)
    return placement.worth_starting(100)


def test_a_slow_machine_starts_pools_for_more_work() -> None:
    """Where the first modules took three times as long to import, a start takes that, too."""
    usual, slow = StartCosts(), StartCosts()
    slow.imported(3 * 15e-3)

    assert slow.first(copy=True) == pytest.approx(3 * usual.first(copy=True))
    enough = 2.2 * usual.first(copy=True)  # of two processors one is busy with the start
    assert worth(usual, enough, loaded=False, copy=True)
    assert not worth(slow, enough, loaded=False, copy=True)
    assert worth(slow, 3 * enough, loaded=False, copy=True)


def test_a_copy_is_sooner_worth_it() -> None:
    """A fork server that is executed takes half as long again as one that is forked."""
    enough = 2.2 * StartCosts().first(copy=True)
    assert worth(StartCosts(), enough, loaded=False, copy=True)
    assert not worth(StartCosts(), enough, loaded=False, copy=False)


def test_another_pool_costs_what_workers_took() -> None:
    """Measured starts count, but not the imports that a worker makes for its own items."""
    costs = StartCosts()
    before = costs.later
    costs.started(0.02)
    assert costs.later == pytest.approx(0.02)
    costs.started(0.04)
    assert costs.later == pytest.approx(0.03)
    costs.started(60.0)
    assert costs.later < costs.first(copy=False)
    assert before > 0.02
    assert worth(costs, 2.2 * costs.later, loaded=True)


def test_imports_take_what_the_program_has_taken() -> None:
    """As far as it was for imports: a program that has computed for an hour tells little."""
    costs = StartCosts()
    usual = costs.importing(100)
    costs.imported(15e-3, 0.2)
    assert costs.importing(100) == pytest.approx(0.2)
    costs.imported(15e-3, 3600.0)
    assert usual < costs.importing(100) < 1.0
    assert costs.importing(0) == 0.0
