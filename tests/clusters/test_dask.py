"""What is special about Dask; that all else is as ever, the conformance suite tells."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.machinery
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import BackendUnavailable, NotPicklable, PoolClosed, WorkerDied, shared
from tests.clusters import functions as f
from tests.support.clusters import DaskProcesses

distributed: Any = pytest.importorskip("distributed")


class Finder:
    """Finds modules in a folder that no path names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module, if it is there."""
        return importlib.machinery.PathFinder.find_spec(name, [str(self._folder)])


def lives(pid: int) -> bool:
    """Whether a process is there."""
    return os.path.exists(f"/proc/{pid}/stat")


def wait_for(path: Path) -> str:
    """The text of a file, once it is there."""
    while not path.exists():
        time.sleep(0.01)
    return path.read_text()


def wait_for_end(pid: int) -> None:
    """Return when a process has gone; a test's time limit ends a wait in vain."""
    while lives(pid):
        time.sleep(0.01)


def test_all_verbs(on_dask: DaskProcesses) -> None:
    """Maps, calls, streams and coroutines give over there what they give here."""
    assert f.square(range(5)) == [0, 1, 4, 9, 16]
    assert sorted(f.square.imap_unordered(range(5))) == [0, 1, 4, 9, 16]
    assert [o.value for o in f.square.outcomes(range(3))] == [0, 1, 4]
    assert f.square.submit(3).result() == 9
    assert list(f.count_up(200)) == list(range(200))
    assert asyncio.run(f.add(2, 3)) == 5
    assert all(f.use_connection(range(4)))


def test_the_worker_is_named_by_its_machine(on_dask: DaskProcesses) -> None:
    """`current_task().worker` is host and pid; the process is none of this program's."""
    worker, pid = f.where().result()
    host, _, number = worker.rpartition(":")
    assert host
    assert number == str(pid) != str(os.getpid())


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


def test_what_was_put_goes_once(on_dask: DaskProcesses) -> None:
    """`shared.put` crosses, as an argument for all items or inside of one."""
    values = shared.put(list(range(50_000)))
    assert f.pick(range(4), values) == [0, 1, 2, 3]
    assert f.hold([values, 1]) == ["list", "int"]


@pytest.mark.parametrize(
    "make", [shared.Lock, shared.Queue, shared.Dict], ids=["lock", "queue", "dict"]
)
def test_what_is_shared_cannot_cross(on_dask: DaskProcesses, make: Any) -> None:
    """Memory of this machine is refused, though on one machine it would seem to work."""
    with pytest.raises(NotPicklable, match=r"memory of this machine"):
        f.hold([make()])
    with pytest.raises(NotPicklable, match=r"memory of this machine"):
        f.pick(range(3), make())


def test_a_death_is_blamed(on_dask: DaskProcesses) -> None:
    """An item that kills its process fails alone; the error names item and machine."""
    outcomes = list(f.kill_itself.outcomes(range(6)))
    assert [o.ok for o in outcomes] == [True, True, True, False, True, True]
    error = outcomes[3].error
    assert isinstance(error, WorkerDied)
    assert (error.index, error.signal) == (3, "SIGKILL")
    assert "item 3, on " in str(error)


def test_large_results_come_home(on_dask: DaskProcesses) -> None:
    """What is too large for a message comes as the task's result."""
    sizes = [10, 3_000_000, 200_000]
    assert list(map(len, f.size_of(sizes))) == sizes


def test_large_items_go_there(on_dask: DaskProcesses) -> None:
    """Items above Dask's own limit for a task cross without a warning."""
    assert f.hold([bytes(20_000_000), "a"]) == ["bytes", "str"]


def test_the_seed_is_the_same_everywhere(on_dask: DaskProcesses) -> None:
    """The same seed gives the numbers that it gives on one machine."""
    far = f.draw.with_options(seed=7)(range(5))
    assert far == f.draw.with_options(seed=7, backend="process")(range(5))


def test_logs_and_variables(on_dask: DaskProcesses, caplog: pytest.LogCaptureFixture) -> None:
    """A record comes home; a context variable goes there."""
    f.COLOUR.set("red")
    with caplog.at_level(logging.WARNING, "far"):
        assert f.look().result() == "red"
    assert "said over there" in caplog.text


def test_a_module_that_is_not_there(
    on_dask: DaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the module, the machine, and how to send it."""
    (tmp_path / "only_here_module.py").write_text("class Thing:\n    pass\n")
    # Not by sys.path, which workers are told: "another machine" is this one, and would find it.
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder(tmp_path)])
    thing = importlib.import_module("only_here_module").Thing()
    with pytest.raises(Exception, match="only_here_module") as caught:
        f.hold([thing])
    notes = " ".join(caught.value.__notes__)
    assert "The module 'only_here_module' is not installed on" in notes
    assert "client.upload_file" in notes
    del sys.modules["only_here_module"]


def test_a_cancelled_call_ends_over_there(on_dask: DaskProcesses, tmp_path: Path) -> None:
    """`cancel` kills the process that runs the call, and says so truly."""
    call = f.hang(tmp_path / "pid")
    pid = int(wait_for(tmp_path / "pid"))
    assert call.cancel()
    wait_for_end(pid)


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
