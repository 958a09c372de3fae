"""`procession.stats`: what pools have done and do, in numbers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import Pool, isolated, parallel
from procession.shared import Event

BACKENDS = ["process", "loky", "stdlib", "thread"]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No pool is there from before."""
    procession.shutdown()
    yield
    procession.shutdown()


def half(x: int) -> float:
    """Fails for 0."""
    return 1 / x


def die(x: int) -> int:
    """Ends its worker at 3."""
    if x == 3:
        os._exit(1)
    return x


def wait_for(event: Any) -> None:
    """Busy until then."""
    event.wait(60)


def once(path: Path) -> str:
    """Fails the first time."""
    if path.exists():
        return "again"
    path.touch()
    raise ConnectionError


def only() -> dict[str, int]:
    """The numbers of the one pool that there is."""
    (numbers,) = procession.stats().values()
    return numbers


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_and_failures(backend: Any) -> None:
    """Items of maps and single calls count alike, those that failed apart."""
    f = parallel(workers=2, backend=backend, inline=False)(half)
    assert f.map([1, 2, 3, 4]) == [1.0, 0.5, 1 / 3, 0.25]
    assert len(list(f.outcomes([0, 1]))) == 2
    assert f.submit(1).result() == 1.0
    assert isinstance(f.submit(0).exception(), ZeroDivisionError)
    numbers = only()
    assert [*procession.stats()] == [f"{backend}[2]"]
    assert (numbers["done"], numbers["failed"]) == (6, 2)
    assert (numbers["died"], numbers["retried"], numbers["waiting"]) == (0, 0, 0)
    assert numbers["started"] >= 1


def test_bytes_each_way() -> None:
    """What items and results weigh is counted, large buffers included."""
    f = parallel(workers=1, inline=False)(bytes.upper)
    f.map([b"x" * 100_000] * 3)
    numbers = only()
    assert 300_000 <= numbers["bytes_out"] < 310_000
    assert 300_000 <= numbers["bytes_back"] < 310_000


@pytest.mark.parametrize("single", [True, False])
def test_deaths_and_retries(single: bool, tmp_path: Path) -> None:
    """A worker that died, and an attempt that was followed by another, are counted."""
    f = parallel(workers=1, chunk=1, inline=False)(die)
    if single:
        f.submit(3).exception()
    else:
        list(f.outcomes([1, 3, 5]))
    again = parallel(workers=1, retries=1, retry_on=ConnectionError)(once)
    path = tmp_path / "seen"
    assert (again.submit(path).result() if single else again.map([path])[0]) == "again"
    numbers = only()
    assert (numbers["died"], numbers["failed"], numbers["retried"]) == (1, 1, 1)
    assert numbers["done"] == (1 if single else 3)
    assert numbers["started"] == 2


@pytest.mark.parametrize("backend", ["loky", "stdlib"])
def test_what_runs_apart_counts(backend: Any) -> None:
    """Items that an executor's death made suspects run in one of their own, for the same pool."""
    f = parallel(workers=2, chunk=1, inline=False, backend=backend)(die)
    assert [each.ok for each in f.outcomes([1, 3, 5, 7])] == [True, False, True, True]
    numbers = only()
    assert (numbers["done"], numbers["failed"]) == (3, 1)
    assert numbers["died"] >= 1


@pytest.mark.parametrize("make", [parallel, isolated])
def test_what_is_busy(make: Callable[..., Any]) -> None:
    """Workers with work, and calls that wait, are seen while they are."""
    event = Event()
    f = make(workers=1)(wait_for)
    futures = [f.submit(event) for _ in range(3)]
    while only()["busy"] < 1:
        threading.Event().wait(0.01)
    numbers = only()
    event.set()
    for future in futures:
        future.result()
    assert (numbers["busy"], numbers["waiting"]) == (1, 2)
    assert only()["busy"] == 0


def test_pools_of_one_name() -> None:
    """Pools that differ, and those of `Pool` objects, have entries of their own until they end."""
    parallel(workers=1, inline=False)(half).map([1])
    with Pool(1) as pool:
        assert pool.submit(half, 2).result() == 0.5
        assert [*procession.stats()] == ["process[1]", "process[1]#2"]
        assert procession.stats()["process[1]#2"]["done"] == 1
    assert [*procession.stats()] == ["process[1]"]


def test_nothing_yet() -> None:
    """Without a pool there is nothing to tell."""
    assert procession.stats() == {}


def test_prometheus() -> None:
    """A collector for Prometheus is a few lines."""
    client = pytest.importorskip("prometheus_client")
    from prometheus_client.core import GaugeMetricFamily

    class Pools:
        def collect(self) -> Iterator[Any]:
            for pool, numbers in procession.stats().items():
                for name, value in numbers.items():
                    metric = GaugeMetricFamily(f"procession_{name}", name, labels=["pool"])
                    metric.add_metric([pool], value)
                    yield metric

    registry = client.CollectorRegistry()
    registry.register(Pools())
    parallel(workers=1, inline=False)(half).map([1, 2])
    text = client.generate_latest(registry).decode()
    assert 'procession_done{pool="process[1]"} 2.0' in text
