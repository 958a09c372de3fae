"""What happens on Dask when the caller ends, workers come and go, and the network is cut."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import procession
from tests.clusters import functions as f
from tests.support.clusters import DaskProcesses, end_with_far_code
from tests.support.leaks import lasting

pytest.importorskip("distributed")

CALLER = """
import sys
from pathlib import Path
from tests.clusters import functions as f

f.hold_on.with_options(backend="dask", address=sys.argv[1])(range(2), Path(sys.argv[2]))
"""

ADAPTIVE = """
import time
import distributed, procession
from tests.clusters import functions as f

if __name__ == "__main__":
    cluster = distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0")
    cluster.adapt(minimum=0, maximum=2, interval="100ms", wait_count=1)
    with distributed.Client(cluster) as client:
        square = f.square_of_a_millisecond.with_options(backend=client)
        print(sum(square(range(500))))
        while client.scheduler_info()["workers"]:
            time.sleep(0.05)
        print(sum(square(range(500))))
        procession.shutdown()
    cluster.close()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
def test_the_caller_ends(dask_cluster: DaskProcesses, tmp_path: Path, how: signal.Signals) -> None:
    """The code that runs far away ends with its caller, also amid a call in C."""
    program = [sys.executable, "-c", CALLER, dask_cluster.address, str(tmp_path)]
    with subprocess.Popen(program, stderr=subprocess.DEVNULL) as caller:
        end_with_far_code(caller, how, tmp_path)


def test_workers_come_and_go(tmp_path: Path) -> None:
    """An adaptive cluster goes from no worker to two, back to none, and up again."""
    program = [sys.executable, "-W", "ignore", "-c", ADAPTIVE]
    own = {**os.environ, "DASK_TEMPORARY_DIRECTORY": str(tmp_path)}
    ran = subprocess.run(program, capture_output=True, text=True, timeout=120, env=own)
    expected = sum(x * x for x in range(500))
    assert ran.stdout.split() == [str(expected)] * 2, ran.stderr


# -- two machines that can be cut off from each other ------------------------------------------


def ip(*words: str) -> None:
    """Run `ip` of iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def far_machine() -> Iterator[str]:
    """A network namespace with a cable to this machine, which has 10.213.77.1 on it."""
    name, cable = f"procession-{os.getpid()}", f"pr{os.getpid()}"
    if shutil.which("ip") is None or os.geteuid():
        pytest.skip("needs iproute2, and root")
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError:
        pytest.skip("this system lets no one make network namespaces")
    try:
        ip("link", "add", cable, "type", "veth", "peer", "name", "far0", "netns", name)
        ip("addr", "add", "10.213.77.1/24", "dev", cable)
        ip("link", "set", cable, "up")
        ip("-n", name, "addr", "add", "10.213.77.2/24", "dev", "far0")
        for device in ("far0", "lo"):
            ip("-n", name, "link", "set", device, "up")
        yield name
    finally:
        ip("netns", "del", name)


def test_a_cable_is_cut_for_five_seconds(far_machine: str) -> None:
    """What was under way is done when the network is back: every result comes, once."""
    cable = f"pr{os.getpid()}"
    cluster = DaskProcesses(host="10.213.77.1")
    lasting.update(cluster.pids)
    try:
        for _ in range(2):
            cluster.add_worker(inside=("ip", "netns", "exec", far_machine), host="10.213.77.2")
        lasting.update(cluster.pids)
        cluster.wait_for_workers(2)
        with procession.options(backend="dask", address=cluster.address):
            seen: list[int] = []
            for value in f.square_of_a_millisecond.imap_unordered(range(5000)):
                seen.append(value)
                if len(seen) == 500:
                    ip("link", "set", cable, "down")
                    time.sleep(5)  # that is what is tested
                    ip("link", "set", cable, "up")
            assert sorted(seen) == [x * x for x in range(5000)]
            procession.shutdown()
    finally:
        cluster.close()
