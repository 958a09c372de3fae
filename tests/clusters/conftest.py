"""One cluster of each engine for all tests here, started once."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

import procession
from tests.support.clusters import DaskProcesses, RayNodes, Running, dask_processes, running
from tests.support.leaks import lasting


@pytest.fixture(scope="session")
def clusters() -> Iterator[Running]:
    """The clusters of this run; they end with it."""
    with running() as found:
        yield found


@pytest.fixture(scope="session")
def dask_cluster(clusters: Running) -> DaskProcesses | None:
    """A scheduler and two workers over TCP; nothing where Dask is not installed."""
    return clusters.dask() if importlib.util.find_spec("distributed") else None


@pytest.fixture(scope="session")
def nanny_cluster(clusters: Running) -> DaskProcesses | None:
    """The same with nannies."""
    return clusters.dask(nanny=True) if importlib.util.find_spec("distributed") else None


@pytest.fixture(scope="session")
def ray_cluster(clusters: Running) -> RayNodes | None:
    """Two nodes, to which this program is connected; nothing where Ray is not installed."""
    return clusters.ray() if importlib.util.find_spec("ray") else None


@pytest.fixture(params=["dask", "ray"])
def far(
    request: pytest.FixtureRequest,
    dask_cluster: DaskProcesses | None,
    ray_cluster: RayNodes | None,
) -> dict[str, Any]:
    """A cluster of each engine in turn, as options."""
    cluster = dask_cluster if request.param == "dask" else ray_cluster
    if cluster is None:
        pytest.skip(f"{request.param} is not installed")
    return {"backend": request.param, "address": cluster.address}


@pytest.fixture
def on_cluster(far: dict[str, Any]) -> Iterator[str]:
    """All calls of the test go to a cluster of each engine in turn; gives its name."""
    with procession.options(**far):
        yield far["backend"]


@pytest.fixture
def on_dask(dask_cluster: DaskProcesses) -> Iterator[DaskProcesses]:
    """All calls of the test go to the cluster."""
    with procession.options(backend="dask", address=dask_cluster.address):
        yield dask_cluster


@pytest.fixture
def own_dask(request: pytest.FixtureRequest) -> Iterator[DaskProcesses]:
    """A cluster that the test may break; all its calls go there."""
    with dask_processes() as cluster:
        lasting.update(cluster.pids)
        with procession.options(backend="dask", address=cluster.address):
            yield cluster
        procession.shutdown()
