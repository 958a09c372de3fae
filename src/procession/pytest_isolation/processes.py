"""Processes from outside: which others one has started, and the end of all."""

from __future__ import annotations

from procession.pytest_isolation.unpatched import os, signal
from procession.system.pristine import close_descriptor


def descendants(pid: int) -> list[int]:
    """Children of a process, and their children, wherever they have moved their group to."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        try:
            threads = os.listdir(f"/proc/{one}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{one}/task/{thread}/children", "rb") as file:
                    children = [int(child) for child in file.read().split()]
            except OSError:
                continue
            found.extend(children)
            waiting.extend(children)
    return found


_reaped: dict[int, int] = {}
"""How those ended that had to be reaped to know that they had."""


def has_ended(pid: int) -> bool:
    """Whether a child has ended, or the program has reaped it.

    Raises:
        ChildProcessError: The program has: its number may be another's by now.
    """
    if pid in _reaped:
        return True
    if hasattr(os, "waitid"):  # as long as it is not reaped, its number is its own
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    ended, status = os.waitpid(pid, os.WNOHANG)  # macOS, before Python 3.13
    if ended:
        _reaped[pid] = status
    return bool(ended)


def end_group(pid: int) -> int:
    """Kill what is left of a process's group, and reap the process.

    Returns its exit code, or minus its signal; 0 if the program reaped it.
    """
    try:
        has_ended(pid)
    except ChildProcessError:
        return 0
    status = _reaped.pop(pid, None)
    # Its own first: before it has made its group, there is none of its number.
    for end in (os.kill, os.killpg) if status is None else (os.killpg,):
        try:
            end(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    try:
        status = os.waitpid(pid, 0)[1] if status is None else status
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status)


def watched(pids: list[int]) -> list[int]:
    """Descriptors of processes, which stand for these alone, also when numbers are used again.

    Not of a resource tracker: it ends by itself, and cleans up after the others.
    """
    found: list[int] = []
    if not hasattr(os, "pidfd_open"):
        return found
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"resource_tracker" not in file.read():
                    found.append(os.pidfd_open(pid))
        except OSError:
            continue  # It has ended.
    return found


def end_watched(descriptors: list[int]) -> None:
    """Kill those of the processes that are left, though they moved to a group of their own."""
    for descriptor in descriptors:
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            pass
        close_descriptor(descriptor)
