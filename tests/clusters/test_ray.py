"""What is special about Ray; that all else is as ever, the conformance suite tells.

Ray connects a process to one cluster only. So what needs another connection runs in a program of
its own.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import procession
from procession import BackendUnavailable, PoolClosed, WorkerDied
from tests.clusters import functions as f
from tests.support.clusters import RayNodes, end_with_far_code, lives, ray_nodes
from tests.support.waiting import wait_for_file

ray: Any = pytest.importorskip("ray")

pytestmark = pytest.mark.usefixtures("ray_cluster")  # before what is left is noted

BEGIN = """
import contextlib, os, signal, socket, sys, threading, time
from pathlib import Path
import procession
from tests.clusters import functions as f

procession.configure(backend="ray", address=sys.argv[1] or None)
"""


def program(text: str, *arguments: object, **more: Any) -> subprocess.Popen[str]:
    """Start a program with arguments, the first of which is the address of a cluster."""
    command = [sys.executable, "-W", "ignore", "-c", BEGIN + text, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)


def output(text: str, *arguments: object) -> str:
    """What a program has printed, once it has ended well."""
    with program(text, *arguments) as running:
        printed, _ = running.communicate()
    assert running.returncode == 0
    return printed


@pytest.fixture
def on_ray(ray_cluster: RayNodes) -> Iterator[RayNodes]:
    """All calls of the test go to the cluster."""
    with procession.options(backend="ray", address=ray_cluster.address):
        yield ray_cluster


# -- connecting --------------------------------------------------------------------------------


def test_calls_right_after_a_shutdown(ray_cluster: RayNodes) -> None:
    """They have a connection of their own, also while Ray still lets go of the last one."""
    printed = output(
        """
import itertools, ray
let_go, ray.shutdown = ray.shutdown, lambda: (time.sleep(0.5), let_go())
unfinished = []
for _ in range(3):
    print(*itertools.islice(f.square_of_a_millisecond.imap(itertools.count()), 4))
    unfinished.append(f.square_of_a_millisecond.imap(itertools.count()))
    next(unfinished[-1])
    procession.shutdown(wait=False)
        """,
        ray_cluster.address,
    )
    assert printed == "0 1 4 9\n" * 3


def test_an_initialised_ray_is_used_and_stays(on_ray: RayNodes) -> None:
    """What the program has initialised is used, with or without its address, and never closed."""
    assert f.square(range(3)) == [0, 1, 4]
    assert f.square.with_options(address=None)(range(3)) == [0, 1, 4]
    assert f.square.with_options(address="auto")(range(3)) == [0, 1, 4]
    procession.shutdown()
    assert ray.is_initialized()
    assert ray.get(ray.put(3)) == 3


def test_another_cluster_at_the_same_time_is_refused(on_ray: RayNodes) -> None:
    """Ray has one connection for each process; the error says what to do."""
    with pytest.raises(BackendUnavailable, match=r"call ray\.shutdown\(\) first"):
        f.square.with_options(address="10.0.0.1:6379")(range(3))


def test_ray_client_is_refused(on_ray: RayNodes) -> None:
    """An address of Ray Client is refused in one line."""
    with pytest.raises(BackendUnavailable, match="is one of Ray Client"):
        f.square.with_options(address="ray://head:10001")(range(3))


OWN = """
handler = signal.getsignal(signal.SIGTERM)
print(f.square(range(3)))
assert signal.getsignal(signal.SIGTERM) is handler
procession.shutdown()
import ray
print(ray.is_initialized())
from procession.backends.cluster import engine_connection, ray_connection
engine_connection.reach.__kwdefaults__["patience"] = 0.5
ray_connection.CONNECT_SECONDS = ray_connection.GREET_SECONDS = 0.5
silent = socket.create_server(("", 0))
lonely = socket.create_server(("127.0.0.1", 0))
def head():
    while True:
        lonely.accept()[0].sendall(bytes(3) + b"\\4" + bytes(5))
threading.Thread(target=head, daemon=True).start()
for port in (9, silent.getsockname()[1], lonely.getsockname()[1]):
    try:
        f.square.with_options(address=f"127.0.0.1:{port}")(range(3))
    except procession.BackendUnavailable as error:
        print(error)
import importlib
wire = importlib.import_module("procession.backends.cluster.wire")
wire.VERSIONS = (wire.VERSIONS[0], "0.0.1")
try:
    f.square(range(3))
except procession.BackendUnavailable as error:
    print(error)
"""


def test_a_connection_of_its_own(ray_cluster: RayNodes) -> None:
    """An address is used, and let go; errors name one where no head answers, and other versions.

    So they do where a head listens at the loopback address alone, where Ray does not look.
    """
    lines = output(OWN, ray_cluster.address).splitlines()
    assert lines[:2] == ["[0, 1, 4]", "False"]
    assert "there is no Ray cluster at '127.0.0.1:9'" in lines[2]
    assert "there is no Ray cluster at '127.0.0.1:" in lines[3]
    assert re.search(r"no Ray cluster at '127\.0\.0\.1:\d+' \(Ray asks at '[^']+'\)", lines[4])
    assert re.search(r"this program runs Procession 0\.0\.1, and this worker runs", lines[5])


LOCAL = """
worker, pid = f.where()()
print(os.getpid() != pid, worker.endswith(f":{pid}"), *f.square(range(3)))
import ray
node = ray._private.worker._global_node
print(*[each.process.pid for some in node.all_processes.values() for each in some])
print(node.get_temp_dir_path())
"""


def test_no_address_is_a_cluster_of_this_machine() -> None:
    """Without an address Ray is started here, and ends with the program, folder and all."""
    procession.shutdown()
    text = LOCAL.replace("f.where()()", "f.where.with_options(workers=2)().result()")
    said, pids, folder = output(text, "").splitlines()[-3:]
    assert said.split() == ["True", "True", "0", "1", "4"]
    assert not any(map(lives, map(int, pids.split())))
    assert "procession-ray-" in folder
    assert not os.path.exists(folder)


# -- faults --------------------------------------------------------------------------------------


def test_closed_streams_end_over_there(on_ray: RayNodes, tmp_path: Path) -> None:
    """A stream that is closed ends its process, whether it waits for a reader or computes."""
    functions: tuple[Any, Any] = f.endless, f.silent
    for function in functions:
        stream = function(tmp_path)
        assert next(stream) == 0
        (pid,) = map(int, os.listdir(tmp_path))
        stream.close()
        while lives(pid):
            time.sleep(0.01)
        (tmp_path / str(pid)).unlink()


def test_a_stream_whose_machine_is_lost_fails(on_ray: RayNodes, tmp_path: Path) -> None:
    """It does not end as one does that has given all its values; it had, and nothing was told."""
    stream = f.endless(tmp_path)
    assert next(stream) == 0
    (pid,) = map(int, os.listdir(tmp_path))
    above = psutil.Process(pid).parents()
    next(each for each in above if each.name().startswith("ray::")).kill()
    with pytest.raises(WorkerDied, match=r"that ran endless\(\) died"):
        list(stream)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
def test_the_caller_ends(ray_cluster: RayNodes, tmp_path: Path, how: signal.Signals) -> None:
    """The code that runs far away ends with its caller, also amid a call in C."""
    text = "f.hold_on(range(2), Path(sys.argv[2]))"
    with program(text, ray_cluster.address, tmp_path, stderr=subprocess.DEVNULL) as caller:
        end_with_far_code(caller, how, tmp_path)


def test_a_large_argument_is_put_once(on_ray: RayNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray has it once on each machine, and not in each task."""
    sizes: list[int] = []
    put = ray.put

    def noting(content: Any) -> Any:
        sizes.append(content.raw().nbytes)
        return put(content)

    monkeypatch.setattr(ray, "put", noting)
    assert set(f.length(range(20), os.urandom(8_000_000))) == {8_000_000}
    assert len(sizes) == 1


def test_a_head_that_does_not_answer(
    on_ray: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call fails also if the head falls silent just as it is asked for the first time."""
    connecting: Any = importlib.import_module("procession.backends.cluster.ray_connection")
    watching: Any = importlib.import_module("procession.backends.cluster.ray_watch")
    assert f.square(range(3)) == [0, 1, 4]
    asked, answer = threading.Event(), threading.Event()

    def answers(self: Any) -> bool:
        asked.set()
        return answer.wait()

    monkeypatch.setattr(watching, "_SILENT_SECONDS", 1.0)
    monkeypatch.setattr(connecting.Connection, "answers", answers)
    call = f.hang.submit(tmp_path / "pid")
    try:
        asked.wait()
        with pytest.raises(PoolClosed, match="the connection to Ray's head"):
            call.result(timeout=30)
    finally:
        monkeypatch.undo()
        answer.set()
        wait_for_file(tmp_path / "pid")
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    procession.shutdown()
    assert f.square(range(3)) == [0, 1, 4]


def test_machines_that_answer_late_are_used(
    on_ray: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that knows of no worker when it begins uses those that it learns of later."""
    connecting: Any = importlib.import_module("procession.backends.cluster.ray_connection")
    asks = connecting._takes_connection
    procession.shutdown()
    monkeypatch.setattr(
        connecting, "_takes_connection", lambda address: os.listdir(tmp_path) and asks(address)
    )
    assert f.meet(range(2), tmp_path) == [0, 0]


LOST = """
seen = []
for number, value in enumerate(f.square_of_a_millisecond.imap_unordered(range(10_000))):
    seen.append(value)
    if number == 2000:
        print("some results", flush=True)
assert sorted(seen) == [x * x for x in range(10_000)]
print("all results", flush=True)
for _ in range(2):
    results = f.square_of_a_millisecond.imap(range(1_000_000))
    print("more results", flush=True)
    try:
        list(results)
    except procession.PoolClosed as error:
        print(error, flush=True)
os._exit(0)
"""


def line_with(running: subprocess.Popen[str], text: str) -> str:
    """The next line that has the text; Ray itself prints to stdout, too."""
    assert running.stdout is not None
    for line in running.stdout:
        if text in line:
            return line
    raise AssertionError(f"no line has {text!r}")


REFUSED = """
try:
    f.square(range(3))
except procession.BackendUnavailable as error:
    print(error)
"""


def test_a_node_is_lost_then_all_others_then_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Amid 10,000 items every result comes, once; without workers or a head one clear error.

    Who lacks the cluster's token is told so.
    """
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret" * 8)
    with ray_nodes(0, 1, 1) as cluster, program(LOST, cluster.address) as running:
        monkeypatch.undo()
        assert "asks for a token" in output(REFUSED, cluster.address)
        line_with(running, "some results")
        cluster.kill(1)
        line_with(running, "all results")
        line_with(running, "more results")
        cluster.kill(2)
        line_with(running, "all workers of the Ray cluster")
        line_with(running, "more results")
        cluster.kill(0)
        line_with(running, "the connection to Ray's head")
