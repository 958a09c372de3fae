"""What is special about Dask; that all else is as ever, the conformance suite tells."""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import io
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import procession
from procession import BackendUnavailable, PoolClosed
from procession.contract import End
from tests.clusters import functions as f
from tests.support.clusters import DaskProcesses, dask_processes
from tests.support.leaks import lasting
from tests.support.waiting import wait_until

RESTARTED = r"was restarted \(Client\.restart\)"

distributed: Any = pytest.importorskip("distributed")
FutureCancelledError: Any = importlib.import_module("distributed.client").FutureCancelledError


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


def test_a_connection_that_closes_while_it_sends_is_silent(
    on_dask: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask's own news of that, with a traceback, do not reach the user at a program's end."""
    told, tried = io.StringIO(), threading.Event()
    handler = logging.StreamHandler(told)
    assert f.square(range(3)) == [0, 1, 4]
    sends = [each for each in gc.get_objects() if isinstance(each, distributed.batched.BatchedSend)]
    for each in sends:
        if each.comm is not None and "Client->Scheduler" in str(each.comm):
            monkeypatch.setattr(each.comm, "write", _closed_meanwhile(each.comm, tried))
    logging.getLogger("distributed.batched").addHandler(handler)
    try:
        procession.shutdown()
    finally:
        logging.getLogger("distributed.batched").removeHandler(handler)
    assert tried.is_set()
    assert told.getvalue() == ""


def _closed_meanwhile(comm: Any, tried: threading.Event) -> Any:
    async def write(*arguments: Any, **more: Any) -> None:
        tried.set()
        comm.abort()
        raise distributed.comm.CommClosedError

    return write


UNGUARDED = """
import psutil, procession

@procession.parallel_map(backend="dask", workers=2)
def square(x):
    return x * x

print(square(range(5)))
lines = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
print(len(lines) > 0, any("distributed" in line or "dask" in line for line in lines))
"""


def test_a_script_without_a_guard(tmp_path: Path) -> None:
    """All processes are Procession's own workers, and nothing stays in the temporary folder."""
    script, temporary = tmp_path / "script.py", tmp_path / "temporary"
    script.write_text(UNGUARDED)
    temporary.mkdir()
    own = {**os.environ, "TMPDIR": str(temporary)}
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, env=own)
    assert ran.stdout.splitlines() == ["[0, 1, 4, 9, 16]", "True False"], ran.stderr
    assert os.listdir(temporary) == []


def test_a_large_argument_goes_once_to_each_machine(on_dask: DaskProcesses) -> None:
    """It is one key of Dask's, on both workers, and not a part of each task."""
    with distributed.Client(on_dask.address, set_as_default=False) as other:
        results = f.length.imap(range(50), os.urandom(8_000_000))
        assert next(results) == 8_000_000
        (key,) = [key for key, size in other.nbytes(summary=False).items() if size > 1_000_000]
        assert len(other.who_has()[key]) == 2
        assert set(results) == {8_000_000}


def test_no_cluster_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where no scheduler listens, or something else, is a clear error in time."""
    connecting: Any = importlib.import_module("procession.backends.cluster.dask_connection")
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BackendUnavailable, match=f"no Dask scheduler at '{address}'"):
            f.square.with_options(backend="dask", address=address)(range(3))
    function = f.square.with_options(backend="dask", address="tcp://127.0.0.1:9")
    with pytest.raises(BackendUnavailable, match=r"no Dask scheduler at 'tcp://127.0.0.1:9'"):
        function(range(3))


def test_an_address_that_is_encrypted() -> None:
    """Without certificates the error says where Dask looks for them."""
    function = f.square.with_options(backend="dask", address="tls://127.0.0.1:9")
    with pytest.raises(BackendUnavailable, match=r"no certificates.*distributed\.comm\.tls"):
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


def worker_under(nanny: psutil.Process) -> psutil.Process:
    """The worker that a nanny looks after; it has a tracker of `multiprocessing`'s, too."""
    (worker,) = [each for each in nanny.children() if "spawn_main" in " ".join(each.cmdline())]
    return worker


@pytest.mark.timeout(400)  # a busy machine is long at it
def test_a_worker_and_a_machine_are_killed(tmp_path: Path) -> None:
    """Amid 10,000 items a worker is lost, which its nanny replaces, and then a whole machine: every
    result comes, once. A restart of the cluster is a clear error, and harms no later call."""
    with ThreadPoolExecutor(1) as beside, dask_processes(nanny=True) as cluster:
        lasting.update(cluster.pids)
        kept, lost = (psutil.Process(nanny.pid) for nanny in cluster.workers)
        victims = {2000: [worker_under(kept)], 6000: [lost, worker_under(lost)]}
        square = f.square.with_options(backend="dask", address=cluster.address, chunk=50)
        seen: list[int] = []
        for number, value in enumerate(square.imap_unordered(range(10_000))):
            seen.append(value)
            for victim in victims.get(number, ()):
                victim.kill()
        assert sorted(seen) == [x * x for x in range(10_000)]
        held = f.hold_on.with_options(backend="dask", address=cluster.address)
        with distributed.Client(cluster.address, set_as_default=False) as other:
            waiting = beside.submit(held, range(2), tmp_path)
            wait_until(lambda: any(tmp_path.iterdir()))  # an item is amid its work
            other.restart(wait_for_workers=False)
            with pytest.raises(PoolClosed, match=RESTARTED):
                waiting.result(120)
        assert square(range(3)) == [0, 1, 4]
        procession.shutdown()


LARGE = bytes(2 << 20)


@pytest.mark.parametrize("given", [([LARGE],), ([0], LARGE)], ids=["item", "all"])
def test_workers_are_killed_that_alone_have_something_large(given: Any, tmp_path: Path) -> None:
    """What goes straight to workers, an item or what all items have, is sent again."""
    items, *more = given
    with ThreadPoolExecutor(1) as beside, dask_processes(nanny=True) as cluster:
        lasting.update(cluster.pids)
        meet = f.meet.with_options(backend="dask", address=cluster.address)
        waiting = beside.submit(meet, items, tmp_path, *more)
        wait_until(lambda: any(tmp_path.iterdir()))  # it waits for a second run
        for nanny in cluster.workers:
            worker_under(psutil.Process(nanny.pid)).kill()
        assert waiting.result(120) == [sum(map(len, more))]
        procession.shutdown()


SLOW_GRAPHS = """
import distributed.scheduler as scheduler, os, time
def slowly(*args, inner=scheduler._materialize_graph, **kwargs):
    os.close(os.open({begun!r}, os.O_CREAT))
    while not os.path.exists({restarted!r}):
        time.sleep(0.01)
    return inner(*args, **kwargs)
scheduler._materialize_graph = slowly
"""
AT_WORK = "sum((len(each.tasks) + each._active_graph_updates) for each in \
__import__('distributed').Scheduler._instances)"


@pytest.mark.timeout(400)
def test_a_restart_while_the_scheduler_unpacks_a_task(tmp_path: Path) -> None:
    """Its caller gets the clear error, and it does not run after that, before later calls."""
    begun, restarted = tmp_path / "begun", tmp_path / "restarted"
    with ThreadPoolExecutor(1) as beside, dask_processes(nanny=True) as cluster:
        lasting.update(cluster.pids)
        held = f.hold_on.with_options(backend="dask", address=cluster.address)
        square = f.square.with_options(backend="dask", address=cluster.address)
        assert square(range(3)) == [0, 1, 4]
        with distributed.Client(cluster.address, set_as_default=False) as other:
            slow = SLOW_GRAPHS.format(begun=str(begun), restarted=str(restarted))
            other.run_on_scheduler(exec, slow, {})
            waiting = beside.submit(held, [0, 1], tmp_path)
            wait_until(begun.exists)
            other.restart(wait_for_workers=False)
            restarted.touch()
            with pytest.raises(PoolClosed, match=RESTARTED):
                waiting.result(120)
            wait_until(lambda: not other.run_on_scheduler(eval, AT_WORK, {}))
        assert square(range(3)) == [0, 1, 4]
        procession.shutdown()


def test_all_workers_are_lost_then_the_scheduler(own_dask: DaskProcesses, tmp_path: Path) -> None:
    """One clear error each, and no hang; new workers are used at once, if they have Procession."""
    outcomes = f.square_of_a_millisecond.outcomes(range(20_000))
    assert next(outcomes).value == 0
    for worker in own_dask.workers:
        worker.kill()
    assert "all workers of the Dask cluster" in str(list(outcomes)[-1].error)
    bare = own_dask.add_worker(bare=True)
    with pytest.raises(BackendUnavailable, match="pip install procession"):
        f.square(range(3))
    bare.kill()
    for _ in range(2):
        own_dask.add_worker()
    assert f.meet(range(2), tmp_path) == [0, 0]  # begins when none of them is there
    results = f.square_of_a_millisecond.imap(range(100_000))
    assert next(results) == 0
    own_dask.scheduler.kill()
    with pytest.raises(PoolClosed, match="the connection to Dask's scheduler"):
        list(results)


def waited_for() -> int:
    """The tasks that this program waits for on all clusters."""
    clusters: Any = importlib.import_module("procession.backends.dask_cluster")
    return sum(len(each._tasks) for each in clusters._clusters._open.values())


GONE = [ValueError("Can not use replicate to delete data"), KeyError("tcp://127.0.0.1:1")]


@pytest.mark.parametrize(
    "said", [GONE[:1], GONE[1:], [KeyError(), OSError()]], ids=["all", "one", "both ways"]
)
def test_workers_that_go_while_something_is_sent_to_all(
    on_dask: DaskProcesses, monkeypatch: pytest.MonkeyPatch, said: list[Exception]
) -> None:
    """What Dask says then is not the call's: it is sent again to those that come."""
    scatter, left = distributed.Client.scatter, list(said)

    def gone(*args: Any, **kwargs: Any) -> Any:
        if left:
            raise left.pop()
        return scatter(*args, **kwargs)

    monkeypatch.setattr(distributed.Client, "scatter", gone)
    assert f.length(range(3), bytes(100_000)) == [100_000] * 3
    assert not left


def test_a_restart_while_something_waits_for_workers(
    on_dask: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It drops what waits there, but nothing of the call is there yet: it goes on."""
    originals = {name: getattr(distributed.Client, name) for name in ("scatter", "gather")}
    said = {"scatter": TimeoutError(), "gather": FutureCancelledError("int", "scheduler-restart")}
    for name in originals:

        def once(*args: Any, name: str = name, **kwargs: Any) -> Any:
            if name in said:
                raise said.pop(name)
            return originals[name](*args, **kwargs)

        monkeypatch.setattr(distributed.Client, name, once)
    assert f.length(range(3), bytes(100_000)) == [100_000] * 3
    assert not said


def test_what_cannot_be_sent_is_not_waited_for(
    on_dask: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call fails with what is known, and nothing of it stays."""

    def refused(*_: Any, **__: Any) -> Any:
        raise RuntimeError("not today")

    monkeypatch.setattr(distributed.Client, "scatter", refused)
    with pytest.raises(RuntimeError, match="not today"):
        f.length(range(3), bytes(100_000))
    wait_until(lambda: not waited_for())


def test_a_connection_that_is_lost_while_a_stream_is_read_is_silent(
    on_dask: DaskProcesses, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Dask's thread would print a traceback for the grant of more values that could not be sent."""
    run, said = distributed.Client.run, [OSError("Stream is closed")]

    async def failing(*args: Any, **kwargs: Any) -> Any:
        if said:
            raise said.pop()
        return await run(*args, **kwargs)

    monkeypatch.setattr(distributed.Client, "run", failing)
    assert list(f.count_up(200)) == list(range(200))
    wait_until(lambda: not said)
    assert "Exception in callback" not in caplog.text


def test_a_restart_is_told_though_its_tasks_are_cancelled_then() -> None:
    """Cancelling gives the task's future another reason at once, in Dask's own thread."""
    connecting: Any = importlib.import_module("procession.backends.cluster.dask_connection")
    watching: Any = importlib.import_module("procession.backends.cluster.dask_watch")
    state = SimpleNamespace(exception=FutureCancelledError("key", "scheduler-restart"))

    def cancel(*_: Any, **__: Any) -> None:
        state.exception = FutureCancelledError("key", None)

    loop = SimpleNamespace(add_callback=lambda run: run())
    client = SimpleNamespace(loop=loop, cancel=cancel, status="running")
    watch = watching.DaskWatch(connecting.Connection(client, "here", owned=False), {})
    future = SimpleNamespace(status="cancelled", _state=state)
    ends: list[End] = []
    handle = SimpleNamespace(number=1, future=future)
    watch._look_at([SimpleNamespace(handle=handle, failed=ends.append)])
    assert re.search(RESTARTED, str(ends[0].error))


def test_a_call_connects_anew_once(on_dask: DaskProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that fails, its other chunks are refused at once; they do not each try for seconds."""
    cluster: Any = importlib.import_module("procession.backends.dask_cluster")
    connecting: Any = importlib.import_module("procession.backends.cluster.dask_connection")
    knowing: Any = importlib.import_module("procession.backends.cluster.engine_connection")
    tried: list[str] = []

    def connect(options: Any) -> None:
        tried.append(options.address)
        raise BackendUnavailable("there is none")

    assert f.square(range(3)) == [0, 1, 4]
    monkeypatch.setattr(knowing, "_ENDING_SECONDS", 0.0)
    monkeypatch.setattr(connecting.Connection, "usable", False)
    monkeypatch.setattr(cluster, "connect", connect)
    outcomes = list(f.square.with_options(chunk=1).outcomes(range(9)))
    monkeypatch.undo()
    assert tried == [on_dask.address]
    assert not any(outcome.ok for outcome in outcomes)
    assert f.square(range(3)) == [0, 1, 4]
