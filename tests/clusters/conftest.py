"""One cluster for all tests here, started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import procession
from tests.support.clusters import DaskProcesses, dask_processes
from tests.support.leaks import lasting


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[DaskProcesses]:
    """A scheduler and two workers over TCP."""
    pytest.importorskip("distributed")
    with dask_processes() as cluster:
        lasting.update(cluster.pids)
        yield cluster


@pytest.fixture
def on_dask(dask_cluster: DaskProcesses) -> Iterator[DaskProcesses]:
    """All calls of the test go to the cluster."""
    with procession.options(backend="dask", address=dask_cluster.address):
        yield dask_cluster


@pytest.fixture
def own_dask(request: pytest.FixtureRequest) -> Iterator[DaskProcesses]:
    """A cluster that the test may break; all its calls go there."""
    pytest.importorskip("distributed")
    with dask_processes() as cluster:
        lasting.update(cluster.pids)
        with procession.options(backend="dask", address=cluster.address):
            yield cluster
        procession.shutdown()
