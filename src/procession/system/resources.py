"""How many CPUs and how much memory there are for this process, and how much memory one takes.

Both are limited by control groups (cgroup v1 and v2). What a process takes for itself is its
private memory (`private_bytes`).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from importlib import import_module

from procession.hints import Any
from procession.system.pristine import time

_LINUX: bool = sys.platform.startswith("linux")

_QUOTA_AGE = 5.0
"""Seconds for which a quota that was read counts as known. Not measured: a quota hardly ever
changes, and reading it takes some ten file operations."""

_quota_read = (-math.inf, math.inf)

OOM_NOTE = (
    "Probably the kernel's out-of-memory killer: it ended a process here just now. Use fewer "
    "workers, or set memory_limit= to learn which item asks for too much."
)


# -- CPUs ----------------------------------------------------------------------------------------


def usable_cpus() -> int:
    """How many CPUs this process may keep busy, at least 1.

        workers = max(1, usable_cpus() - 1)

    The least of three numbers: what the machine has, what the affinity mask allows (``taskset``,
    ``os.sched_setaffinity``), and what the CPU quota pays for. The quota is that of the control
    group, or of any group above it (cgroup v1 and v2; a quota of 1.5 CPUs counts as 2).
    ``PYTHON_CPU_COUNT`` or ``-X cpu_count`` overrides all of it, as it does for
    ``os.process_cpu_count()`` since Python 3.13.
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
        for version, mount, group in _cpu_groups(root)
        for folder in _upwards(mount, group)
    )
    return min(quotas, default=math.inf)


def _cpu_groups(root: str) -> Iterator[tuple[int, str, str]]:
    """Yield (version, mount point, group's path below it) for each hierarchy that limits CPUs."""
    paths: dict[int, str] = {}
    for controllers, path in _groups(root):
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
        mount = os.path.join(root, fields[4].lstrip("/"))
        yield version, mount, _below_mount(paths.get(version, "/"), fields[3])
    if not seen:
        for version, folder in ((2, "sys/fs/cgroup"), (1, "sys/fs/cgroup/cpu")):
            yield version, os.path.join(root, folder), paths.get(version, "/")


def _below_mount(path: str, mount_root: str) -> str:
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
    words = _words(folder, "cpu.max")
    if not words or words[0] == "max":
        return math.inf
    return _ratio(words[0], words[1] if len(words) > 1 else "100000")


def _quota_v1(folder: str) -> float:
    quota, period = _words(folder, "cpu.cfs_quota_us"), _words(folder, "cpu.cfs_period_us")
    return _ratio(quota[0], period[0]) if quota and period else math.inf


def _ratio(quota: str, period: str) -> float:
    try:
        taken, of = int(quota), int(period)
    except ValueError:
        return math.inf
    return taken / of if taken > 0 and of > 0 else math.inf


# -- memory --------------------------------------------------------------------------------------


def meminfo(*fields: str) -> int | None:
    """Bytes of these fields of ``/proc/meminfo`` together; `None` where there are none."""
    found = dict(line.split(":", 1) for line in _lines("/proc/meminfo") if ":" in line)
    try:
        return 1024 * sum(int(found[each].split()[0]) for each in fields)
    except (KeyError, IndexError, ValueError):
        return None


def check_available() -> None:
    """Say so if this system cannot tell how much memory a process has.

    Raises:
        BackendUnavailable: psutil is needed here, and is not installed.
    """
    if _LINUX:
        return
    try:
        import_module("psutil")
    except ImportError as error:
        from procession.errors import BackendUnavailable

        raise BackendUnavailable(
            "memory_limit= needs psutil on this system. Run: pip install psutil, or leave "
            "memory_limit out."
        ) from error


def private_bytes(pid: int) -> int:
    """The private memory of a process, in bytes; 0 if it is gone.

    On Linux the anonymous memory, resident or swapped out: not what files and shared memory back.
    What the process's own children take does not count.
    """
    if not _LINUX:
        psutil: Any = import_module("psutil")
        try:
            info = psutil.Process(pid).memory_info()
        except psutil.Error:
            return 0
        return int(getattr(info, "private", info.rss))
    total = 0
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith((b"RssAnon:", b"VmSwap:")):
                    total += int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return 0
    return total


class OomWatch:
    """Notices that the kernel's out-of-memory killer has struck since the last look."""

    def __init__(self) -> None:
        self._seen = _oom_kills()

    def struck(self) -> bool:
        """Whether it has struck in this process's control group (or, if unknown, anywhere)."""
        seen, self._seen = self._seen, _oom_kills()
        return self._seen > seen


def _oom_kills() -> int:
    """How often the out-of-memory killer has struck, by the first file that tells."""
    for path in _oom_files():
        for line in _lines(path):
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.isdecimal():
                return int(value)
    return 0


def _oom_files() -> Iterator[str]:
    for controllers, path in _groups():
        if controllers == "":
            yield f"/sys/fs/cgroup{path}/memory.events"
            yield "/sys/fs/cgroup/memory.events"
        elif "memory" in controllers.split(","):
            yield f"/sys/fs/cgroup/memory{path}/memory.oom_control"
            yield "/sys/fs/cgroup/memory/memory.oom_control"
    yield "/proc/vmstat"


# -- both ----------------------------------------------------------------------------------------


def _groups(root: str = "/") -> Iterator[tuple[str, str]]:
    """Yield (controllers, path) for each control group of this process; v2 names no controllers."""
    for line in _lines(os.path.join(root, "proc/self/cgroup")):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        yield controllers, path


def _words(folder: str, name: str) -> list[str]:
    lines = _lines(os.path.join(folder, name))
    return lines[0].split() if lines else []


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []
