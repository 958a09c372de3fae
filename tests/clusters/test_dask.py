"""What is special about Dask; that all else is as ever, the conformance suite tells."""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import os
import threading
import time
from typing import Any

import pytest

import procession
from procession import BackendUnavailable, PoolClosed
from tests.clusters import functions as f
from tests.support.clusters import DaskProcesses

distributed: Any = pytest.importorskip("distributed")


def test_a_user_s_client_is_used_and_never_closed(dask_cluster: DaskProcesses) -> None:
    """A `distributed.Client`, or its executor, is a backend, and stays open."""
    with distributed.Client(dask_cluster.address, set_as_default=False) as client:
        assert f.square.with_options(backend=client)(range(3)) == [0, 1, 4]
        assert f.square.with_options(backend=client.get_executor())(range(3)) == [0, 1, 4]
        procession.shutdown()
        assert client.status == "running"


def test_no_address_is_a_cluster_of_this_process() -> None:
    """Without an address all runs on this machine, in Procession's own workers."""
    worker, pid = f.where.with_options(backend="dask", workers=2)().result()
    assert pid != os.getpid()
    assert worker.endswith(f":{pid}")


def test_a_retired_backend_lets_its_connection_go(on_dask: DaskProcesses) -> None:
    """When workers from before are not used any more, the old connection does not stay open."""
    registry: Any = importlib.import_module("procession.backends.registry")
    procession.shutdown()  # what earlier tests' calls would go to
    assert f.square(range(3)) == [0, 1, 4]
    registry._retire_all()
    gc.collect()
    deadline = time.monotonic() + 30
    while any(thread.name == "procession-dask" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert f.square(range(3)) == [0, 1, 4]


def test_no_cluster_at_the_address() -> None:
    """An address where no scheduler listens is a clear error."""
    function = f.square.with_options(backend="dask", address="tcp://127.0.0.1:9")
    with pytest.raises(BackendUnavailable, match=r"no Dask scheduler at 'tcp://127.0.0.1:9'"):
        function(range(3))


def test_another_version_is_refused(
    on_dask: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions are compared before anything is sent, and once more over there."""
    connecting: Any = importlib.import_module("procession.backends.cluster.dask_connection")
    procession.shutdown()
    monkeypatch.setattr(connecting, "VERSIONS", ("3.99", procession.__version__))
    with pytest.raises(BackendUnavailable, match=r"runs Python 3\.99, and the Dask worker at"):
        f.square(range(3))
    monkeypatch.undo()
    wire: Any = importlib.import_module("procession.backends.cluster.wire")
    monkeypatch.setattr(wire, "VERSIONS", ("3.99", procession.__version__))
    with pytest.raises(BackendUnavailable, match=r"runs Python 3\.99, and this worker runs"):
        f.square(range(3))
    monkeypatch.undo()
    assert f.square(range(3)) == [0, 1, 4]


def test_a_worker_of_dask_is_killed(own_dask: DaskProcesses) -> None:
    """A machine is lost amid 10,000 items: every result comes, once."""
    seen: list[int] = []
    for number, value in enumerate(f.square_of_a_millisecond.imap_unordered(range(10_000))):
        seen.append(value)
        if number == 2000:
            own_dask.workers[0].kill()
    assert sorted(seen) == [x * x for x in range(10_000)]


def test_all_workers_are_lost_then_the_scheduler(own_dask: DaskProcesses) -> None:
    """One clear error each, and no hang; new workers are used again."""
    results = f.square_of_a_millisecond.imap(range(100_000))
    assert next(results) == 0
    for worker in own_dask.workers:
        worker.kill()
    with pytest.raises(PoolClosed, match="all workers of the Dask cluster"):
        list(results)
    own_dask.add_worker()
    results = f.square_of_a_millisecond.imap(range(100_000))
    assert next(results) == 0
    own_dask.scheduler.kill()
    with pytest.raises(PoolClosed, match="the connection to Dask's scheduler"):
        list(results)
