"""Counting CPUs, on trees of files as Linux shows them."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import pytest

from procession.system import resources
from procession.system.resources import cpu_quota, usable_cpus

V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = "31 23 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def tree(root: Path, files: dict[str, str]) -> str:
    """A root folder with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        pytest.param({}, math.inf, id="nothing to read"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/app\n",
                "proc/self/mountinfo": V2.format(root="/"),
                "sys/fs/cgroup/app/cpu.max": "250000 100000\n",
            },
            2.5,
            id="v2",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/app\n",
                "proc/self/mountinfo": V2.format(root="/"),
                "sys/fs/cgroup/app/cpu.max": "max 100000\n",
            },
            math.inf,
            id="v2 without a limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/pods/pod1/box\n",
                "proc/self/mountinfo": V2.format(root="/"),
                "sys/fs/cgroup/pods/pod1/box/cpu.max": "max 100000\n",
                "sys/fs/cgroup/pods/pod1/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/pods/cpu.max": "1600000 100000\n",
            },
            3.0,
            id="v2, the limit is on a group above",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/docker/abc\n",
                "proc/self/mountinfo": V2.format(root="/docker/abc"),
                "sys/fs/cgroup/cpu.max": "200000 100000\n",
            },
            2.0,
            id="v2 in a container that mounts its own group",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/../../other\n",
                "proc/self/mountinfo": V2.format(root="/"),
                "sys/fs/cgroup/cpu.max": "150000 100000\n",
            },
            1.5,
            id="v2, the group is outside of the namespace",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/app/box\n",
                "proc/self/mountinfo": V1_MEMORY + V1.format(root="/"),
                "sys/fs/cgroup/cpu,cpuacct/app/box/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/app/box/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/m/cpu.cfs_quota_us": "1\n",
                "sys/fs/cgroup/memory/m/cpu.cfs_period_us": "100000\n",
            },
            0.5,
            id="v1, nested, -1 means no limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/app\n0::/app\n",
                "proc/self/mountinfo": V1.format(root="/")
                + "33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
                "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us": "100000\n",
            },
            4.0,
            id="v1 and v2 side by side",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cpu.max": "100000 100000\n",
            },
            1.0,
            id="no mountinfo",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/\n",
                "proc/self/mountinfo": V2.format(root="/") + "broken line\n",
                "sys/fs/cgroup/cpu.max": "what is this\n",
            },
            math.inf,
            id="text that makes no sense",
        ),
    ],
)
def test_quota(tmp_path: Path, files: dict[str, str], quota: float) -> None:
    """The least quota of the group and those above it counts, in either version."""
    assert cpu_quota(tree(tmp_path, files)) == quota


@pytest.mark.parametrize(("quota", "expected"), [(math.inf, 6), (2.5, 3), (0.2, 1), (64.0, 6)])
def test_usable_cpus(monkeypatch: pytest.MonkeyPatch, quota: float, expected: int) -> None:
    """Affinity and quota both bind; a part of a CPU counts as one."""
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    monkeypatch.setattr(resources, "_affinity", lambda: 6)
    monkeypatch.setattr(resources, "_recent_quota", lambda: quota)
    assert usable_cpus() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="affinity masks are Linux's")
def test_affinity_binds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is pinned to one CPU uses one."""
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(("text", "overrides"), [("16", True), ("default", False), ("0", False)])
def test_python_cpu_count(monkeypatch: pytest.MonkeyPatch, text: str, overrides: bool) -> None:
    """PYTHON_CPU_COUNT overrides everything, on every version; nonsense does not."""
    monkeypatch.setattr(resources, "_affinity", lambda: 2)
    monkeypatch.setenv("PYTHON_CPU_COUNT", text)
    assert (usable_cpus() == 16) is overrides


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells it")
def test_the_memory_that_is_free() -> None:
    """Fields are bytes and added up; one that is not there makes it unknown."""
    free, swap = resources.meminfo("MemFree"), resources.meminfo("SwapTotal")
    assert free is not None
    assert swap is not None
    total = resources.meminfo("MemTotal")
    assert total is not None
    assert 2**20 < free < total
    assert resources.meminfo("MemTotal", "SwapTotal") == total + swap
    assert resources.meminfo("MemTotal", "Nowhere") is None
