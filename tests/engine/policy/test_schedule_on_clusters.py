"""The schedule at 1,000 workers, on a fake clock, with what a chunk costs on a cluster."""

from __future__ import annotations

import pytest

from procession.backends.dask_cluster import DaskCluster
from procession.backends.ray_cluster import RayCluster
from procession.engine.policy.schedule import Schedule
from tests.engine.policy.simulation import simulate

WORKERS = 1000


def efficiency(handling: float, items: int, seconds: float) -> float:
    """How much of 1,000 workers' time is the items' own."""
    costs = RayCluster.costs._replace(handling=handling)
    assert costs == DaskCluster.costs._replace(handling=handling)
    schedule = Schedule(window=4096 * WORKERS, costs=costs)
    ran = simulate(schedule, [seconds] * items, WORKERS, handling=handling / 2, round_trip=5e-3)
    return items * seconds / WORKERS / ran.makespan


@pytest.mark.parametrize(
    ("handling", "items", "seconds", "least"),
    [
        (2e-4, 100_000, 0.1, 0.9),
        (2e-4, 1_000_000, 0.01, 0.9),
        (1e-3, 100_000, 0.1, 0.6),
        (1e-3, 1_000_000, 0.01, 0.6),
    ],
)
def test_a_thousand_workers_are_kept_busy(
    handling: float, items: int, seconds: float, least: float
) -> None:
    """The caller is not the bottleneck, whether a chunk costs it 0.2 or 1 ms."""
    assert efficiency(handling, items, seconds) >= least


@pytest.mark.soak
@pytest.mark.parametrize(("handling", "least"), [(2e-4, 0.9), (1e-3, 0.6)])
def test_ten_million_items_of_a_millisecond(handling: float, least: float) -> None:
    """The same for very many short items."""
    assert efficiency(handling, 10_000_000, 1e-3) >= least
