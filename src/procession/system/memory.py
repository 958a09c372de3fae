"""How much private memory a process has, and whether the kernel ended one for want of it."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from procession.errors import BackendUnavailable

__all__ = ["OOM_NOTE", "OomWatch", "check_available", "private_bytes"]

_LINUX: bool = sys.platform.startswith("linux")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def check_available() -> None:
    """Say so if this system cannot tell how much memory a process has.

    Raises:
        BackendUnavailable: psutil is needed here, and is not installed.
    """
    if _LINUX:
        return
    try:
        importlib.import_module("psutil")
    except ImportError as error:
        raise BackendUnavailable(
            "memory_limit= needs psutil on this system. Run: pip install psutil, or leave "
            "memory_limit out."
        ) from error


def private_bytes(pid: int) -> int:
    """The private memory of a process, in bytes; 0 if it is gone.

    On Linux the anonymous resident memory: what is resident, less what files and shared memory
    back. What the process's own children take does not count.
    """
    if _LINUX:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                fields = file.read().split()
        except OSError:
            return 0
        return (int(fields[1]) - int(fields[2])) * _PAGE if len(fields) > 2 else 0
    psutil: Any = importlib.import_module("psutil")

    try:
        info = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return int(getattr(info, "private", info.rss))


class OomWatch:
    """Notices that the kernel's out-of-memory killer has struck since the last look."""

    def __init__(self) -> None:
        self._seen = _kills()

    def struck(self) -> bool:
        """Whether it has struck in this process's control group (or, if unknown, anywhere)."""
        seen, self._seen = self._seen, _kills()
        return self._seen > seen


OOM_NOTE = (
    "Probably the kernel's out-of-memory killer: it ended a process here just now. Use fewer "
    "workers, or set memory_limit= to learn which item asks for too much."
)


def _kills() -> int:
    """How often the out-of-memory killer has struck, by the first file that tells."""
    for path, key in _sources():
        try:
            with open(path, encoding="utf-8") as file:
                for line in file:
                    name, _, value = line.partition(" ")
                    if name == key:
                        return int(value)
        except (OSError, ValueError):
            continue
    return 0


def _sources() -> list[tuple[str, str]]:
    sources: list[tuple[str, str]] = []
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            groups = [line.strip().split(":", 2) for line in file]
    except OSError:
        groups = []
    for number, controllers, path in (group for group in groups if len(group) == 3):
        if number == "0":
            sources.append((f"/sys/fs/cgroup{path}/memory.events", "oom_kill"))
            sources.append(("/sys/fs/cgroup/memory.events", "oom_kill"))
        elif "memory" in controllers.split(","):
            sources.append((f"/sys/fs/cgroup/memory{path}/memory.oom_control", "oom_kill"))
            sources.append(("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"))
    sources.append(("/proc/vmstat", "oom_kill"))
    return sources
