"""How many CPUs this process may use: affinity, container quotas, and what the user says."""

import math
import os
import sys
from collections.abc import Iterator

from procession.system.pristine import time

__all__ = ["cpu_quota", "usable_cpus"]

_QUOTA_AGE = 5.0
"""Seconds for which a quota that was read counts as known. Not measured: a quota hardly ever
changes, and reading it takes some ten file operations."""

_quota_read = (-math.inf, math.inf)


def usable_cpus() -> int:
    """How many CPUs this process may keep busy, at least 1.

    The least of what the machine has, what the affinity mask allows (``taskset``,
    ``os.sched_setaffinity``) and what the CPU quota of the control group, or of any group above it,
    pays for (cgroup v1 and v2; a quota of 1.5 CPUs counts as 2). ``PYTHON_CPU_COUNT`` or
    ``-X cpu_count`` overrides all of it, as it does for ``os.process_cpu_count()`` since
    Python 3.13.
    """
    override = _override()
    if override is not None:
        return override
    return max(1, math.ceil(min(_affinity(), _recent_quota())))


def _override() -> int | None:
    text = sys._xoptions.get("cpu_count")
    if text is None and not sys.flags.ignore_environment:
        text = os.environ.get("PYTHON_CPU_COUNT")
    if isinstance(text, str) and text.isdecimal() and int(text) >= 1:
        return int(text)
    return None


def _affinity() -> int:
    if sys.platform == "linux":
        try:
            return len(os.sched_getaffinity(0))
        except OSError:
            pass  # A machine with more CPUs than the C library's mask holds.
    return os.cpu_count() or 1


def _recent_quota() -> float:
    global _quota_read
    read, quota = _quota_read
    now = time.monotonic()
    if now - read > _QUOTA_AGE:
        quota = cpu_quota()
        _quota_read = (now, quota)
    return quota


def cpu_quota(root: str = "/") -> float:
    """The CPU time per second that the control groups of this process allow, in CPUs.

    Args:
        root: Where ``proc`` and ``sys`` are found; tests give a tree of their own.

    Returns:
        The least quota of the process's own group and all groups above it that can be seen from
        here; infinity if there is none.
    """
    if sys.platform != "linux" and root == "/":
        return math.inf
    quotas = (
        _quota_v2(folder) if version == 2 else _quota_v1(folder)
        for version, mount, group in _groups(root)
        for folder in _upwards(mount, group)
    )
    return min(quotas, default=math.inf)


def _groups(root: str) -> Iterator[tuple[int, str, str]]:
    """Yield (version, mount point, group's path below it) for each hierarchy that limits CPUs."""
    paths: dict[int, str] = {}
    for line in _lines(os.path.join(root, "proc/self/cgroup")):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            paths[2] = path
        elif "cpu" in controllers.split(","):
            paths[1] = path
    seen = False
    for line in _lines(os.path.join(root, "proc/self/mountinfo")):
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        version = 2 if kind[0] == "cgroup2" else 1 if kind[0] == "cgroup" else 0
        if version == 0 or (version == 1 and "cpu" not in kind[2].split(",")):
            continue
        seen = True
        yield version, _below(root, fields[4]), _strip(paths.get(version, "/"), fields[3])
    if not seen:
        for version, folder in ((2, "sys/fs/cgroup"), (1, "sys/fs/cgroup/cpu")):
            yield version, os.path.join(root, folder), paths.get(version, "/")


def _strip(path: str, mount_root: str) -> str:
    """The group's path as seen below the mount: a container often mounts its own group only."""
    if mount_root != "/" and (path == mount_root or path.startswith(mount_root + "/")):
        return path[len(mount_root) :]
    return path


def _upwards(mount: str, group: str) -> Iterator[str]:
    """Yield the group's folder and each one above it, up to the mount point."""
    parts = [part for part in group.split("/") if part]
    if ".." in parts:  # The group lies outside of what this namespace shows.
        parts = []
    for depth in range(len(parts), -1, -1):
        yield os.path.join(mount, *parts[:depth])


def _quota_v2(folder: str) -> float:
    words = _words(os.path.join(folder, "cpu.max"))
    if not words or words[0] == "max":
        return math.inf
    return _ratio(words[0], words[1] if len(words) > 1 else "100000")


def _quota_v1(folder: str) -> float:
    quota = _words(os.path.join(folder, "cpu.cfs_quota_us"))
    period = _words(os.path.join(folder, "cpu.cfs_period_us"))
    return _ratio(quota[0], period[0]) if quota and period else math.inf


def _ratio(quota: str, period: str) -> float:
    try:
        taken, of = int(quota), int(period)
    except ValueError:
        return math.inf
    return taken / of if taken > 0 and of > 0 else math.inf


def _below(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def _words(path: str) -> list[str]:
    lines = _lines(path)
    return lines[0].split() if lines else []


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []
