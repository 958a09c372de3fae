"""The schedule at 1,000 workers, on a fake clock, with what a chunk costs on a cluster."""

from __future__ import annotations

import pytest

from procession.backends.dask_cluster import DaskCluster
from procession.backends.ray_cluster import RayCluster
from procession.contract import Costs
from procession.engine.policy.schedule import Schedule
from tests.engine.policy.simulation import Equal, simulate

WORKERS = 1000
ROUND_TRIP = 5e-3
ENGINES = {"dask": DaskCluster.costs, "ray": RayCluster.costs}

MAPS = {
    "10,000,000 x 1 ms": Equal(10_000_000, 1e-3),
    "100,000 x 100 ms": Equal(100_000, 0.1),
    "100,000 x 1 s": Equal(100_000, 1.0),
}


def efficiency(costs: Costs, items: Equal, window: int | None = None) -> float:
    """How much of 1,000 workers' time is the items' own."""
    schedule = Schedule(window=window, costs=costs)
    ran = simulate(schedule, items, WORKERS, handling=costs.handling / 2, round_trip=ROUND_TRIP)
    return items.total / WORKERS / ran.makespan


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(("handling", "least"), [(2e-4, 0.9), (1e-3, 0.6)])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_thousand_workers_are_kept_busy(
    engine: str, handling: float, least: float, name: str
) -> None:
    """The caller is not the bottleneck, whether a chunk costs it 0.2 or 1 ms."""
    costs = ENGINES[engine]._replace(handling=handling)
    assert efficiency(costs, MAPS[name]) >= least


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("engine", ENGINES)
def test_with_each_engine_s_own_costs(engine: str, name: str) -> None:
    """The same with what a chunk costs there, as it was measured."""
    assert efficiency(ENGINES[engine], MAPS[name]) >= 0.6


def table() -> str:
    """The table of docs/guides/beyond-one-machine.md."""
    lines = [
        f"| a chunk costs the caller | {' | '.join(name.replace('x', '×') for name in MAPS)} |"
    ]
    lines.append("|---" * (1 + len(MAPS)) + "|")
    rows = {"0.2 ms": ENGINES["dask"]._replace(handling=2e-4)}
    for name, costs in ENGINES.items():
        rows[f"{costs.handling * 1e3:.1f} ms ({name.capitalize()})"] = costs
    for name, costs in rows.items():
        cells = " | ".join(f"{efficiency(costs, items):.2f}" for items in MAPS.values())
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
