"""A machine that is another one: its network, clock, name and processes are its own.

Two workers of Dask's run in Linux' namespaces, at the other end of a cable that can be cut.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

import procession
from procession import NotPicklable
from procession.backends.cluster.far_pools import FarPools, Shape
from tests.clusters import functions as f
from tests.support.clusters import DaskProcesses
from tests.support.leaks import lasting

pytest.importorskip("distributed")

NAME = "farmachine"
AHEAD = 100_000
"""Seconds that its clock is ahead of ours."""

CABLE = f"pr{os.getpid()}"


def ip(*words: str) -> None:
    """Run `ip` of iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def inside(namespace: str) -> tuple[str, ...]:
    """What starts a program over there."""
    clock = ("--time", "--monotonic", str(AHEAD))
    others = ("--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
    name = ("sh", "-c", f'hostname {NAME} && exec "$@"', "sh")
    return ("ip", "netns", "exec", namespace, "unshare", *clock, *others, *name)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A network of its own, with a cable to this machine, which has 10.213.77.1 on it."""
    name = f"procession-{os.getpid()}"
    if not (shutil.which("ip") and shutil.which("unshare")) or os.geteuid():
        pytest.skip("needs iproute2, util-linux, and root")
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError:
        pytest.skip("this system lets no one make network namespaces")
    try:
        if subprocess.run([*inside(name), "true"], capture_output=True, check=False).returncode:
            pytest.skip("this system lets no one make namespaces for clocks and names")
        ip("link", "add", CABLE, "type", "veth", "peer", "name", "far0", "netns", name)
        ip("addr", "add", "10.213.77.1/24", "dev", CABLE)
        ip("link", "set", CABLE, "up")
        ip("-n", name, "addr", "add", "10.213.77.2/24", "dev", "far0")
        for device in ("far0", "lo"):
            ip("-n", name, "link", "set", device, "up")
        yield name
    finally:
        ip("netns", "del", name)


@pytest.fixture(scope="module")
def far_workers(namespace: str) -> Iterator[str]:
    """The address of a scheduler here, whose two workers are over there."""
    cluster = DaskProcesses(host="10.213.77.1")
    lasting.update(cluster.pids)
    try:
        for _ in range(2):
            cluster.add_worker(inside=inside(namespace), host="10.213.77.2")
        lasting.update(cluster.pids)
        cluster.wait_for_workers(2)
        yield cluster.address
        procession.shutdown()
    finally:
        for worker in cluster.workers:
            worker.kill()
        cluster.close()


@pytest.fixture
def far_machine(far_workers: str) -> Iterator[None]:
    """All calls of the test go there."""
    with procession.options(backend="dask", address=far_workers):
        yield


pytestmark = pytest.mark.usefixtures("far_machine")


def test_its_name_is_told() -> None:
    """`current_task().worker` and errors name the machine."""
    worker, pid = f.where().result()
    assert worker == f"{NAME}:{pid}"
    with pytest.raises(ZeroDivisionError) as caught:
        f.fail([7])
    assert NAME in " ".join(caught.value.__notes__)


def test_times_are_those_of_this_machine_s_clock() -> None:
    """A profile shows when items ran and workers started by the clock of the caller."""
    with procession.profile() as seen:
        f.square_of_a_millisecond.with_options(max_tasks_per_worker=10_000)(range(200))
    (call,) = seen.calls
    assert call.ended is not None
    blocks = [block for track in call.tracks.values() for block in track.blocks]
    assert sum(block.items for block in blocks) == 200
    assert all(call.began <= block.start <= block.stop <= call.ended for block in blocks)
    assert seen.starts
    for began, ended in seen.starts.values():
        assert began < ended < call.ended
        assert ended > call.began


@pytest.mark.parametrize("what", ["Lock", "Queue", "Dict"])
def test_what_is_shared_over_there_stays_there(what: str) -> None:
    """Memory of that machine is refused as a result, and says so."""
    with pytest.raises(NotPicklable, match="memory of this machine"):
        f.give([what])


def test_what_is_put_over_there_comes_as_it_is() -> None:
    """The result of an item may be something that it has put."""
    assert f.give(["put"]) == [["put"]]


def test_the_cable_is_cut_for_five_seconds() -> None:
    """What was under way is done when the network is back: every result comes, once."""
    seen: list[int] = []
    for value in f.square_of_a_millisecond.imap_unordered(range(5000)):
        seen.append(value)
        if len(seen) == 500:
            ip("link", "set", CABLE, "down")
            time.sleep(5)  # that is what is tested
            ip("link", "set", CABLE, "up")
    assert sorted(seen) == [x * x for x in range(5000)]


def test_a_cluster_that_ends_late_leaves_the_next_one_its_pools() -> None:
    """Pools of this process end with the last of its clusters."""
    pools = FarPools()
    pools.begin()
    pools.begin()
    pool = pools.pool(Shape().pack(), 1)
    pools.close()
    assert pools.pool(Shape().pack(), 1) is pool
    pools.close()
    assert pools.pool(Shape().pack(), 1) is not pool
