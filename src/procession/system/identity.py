"""What the kernel allows this process: user, groups, root, limits, CPUs; and its folder.

A program gives such things up (``os.setuid``, ``resource.setrlimit``, ``os.nice`` …), and workers
that were started before have them still. So they are looked at when a call is made, and workers
that differ are used no more. (`glance` is for calls that follow each other closely.) Niceness and
processors belong to a thread: the main one's count.
"""

from __future__ import annotations

import sys

from procession.hints import Any
from procession.system import NamedTuple
from procession.system.own_status import own_status
from procession.system.posix import os

__all__ = [
    "Identity",
    "adopt",
    "credentials",
    "glance",
    "identity",
    "read_umask",
    "who",
    "working_folder",
]

_IGNORED = frozenset({"RLIMIT_OFILE"})  # another name of RLIMIT_NOFILE


class Identity(NamedTuple):
    """What a process may do."""

    credentials: tuple[Any, ...]
    """Users and groups, and its root folder: only what is executed anew takes these over."""
    limits: tuple[tuple[int, int], ...]
    nice: int
    cpus: frozenset[int]


def who() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Users and groups alone, which takes one or two microseconds."""
    if not hasattr(os, "getresuid"):
        return (), ()
    return os.getresuid(), os.getresgid()


def credentials() -> tuple[Any, ...]:
    """What cannot be changed by a process that was started with less, or should not be."""
    groups = tuple(os.getgroups()) if hasattr(os, "getgroups") else ()
    try:
        root = os.stat("/")
    except OSError:  # a chroot into a folder that it may not enter
        return *who(), groups, None
    return *who(), groups, (root.st_dev, root.st_ino)


def identity() -> Identity:
    """This process's."""
    pid = os.getpid()
    return Identity(credentials(), _limits(), _nice(pid), _cpus(pid))


def glance() -> bytes:
    """What differs once users, groups or processors do, at little cost."""
    text = own_status()
    begin, groups, cpus = text.find(b"\nUid:"), text.find(b"\nGroups:"), text.find(b"\nCpus_al")
    users = text[begin : text.find(b"\n", groups + 1)]
    return users + text[cpus : text.find(b"\n", cpus + 1)]


def read_umask(status: bytes | None = None) -> int | None:
    """The umask; `None` where to ask is to change it, which other threads would see.

    Args:
        status: What `own_status` has given, if it was asked.
    """
    text = own_status() if status is None else status
    found = text.find(b"Umask:")
    return int(text[found + 6 : text.find(b"\n", found)], 8) if found >= 0 else None


def adopt(given: Identity) -> None:
    """In a new worker: take over what its caller has, as far as it may.

    What starts it is a thread, or a server from before, with limits of its own.
    """
    for number, limits in zip(_numbers(), given.limits, strict=False):
        _limit(number, limits)
    if given.nice != _nice(0):
        try:
            os.setpriority(os.PRIO_PROCESS, 0, given.nice)
        except OSError:
            pass  # nicer than the main thread is the one that started it, and may not go back
    if given.cpus and given.cpus != _cpus(0):
        try:
            os.sched_setaffinity(0, given.cpus)
        except OSError:
            pass  # they have been taken away meanwhile


def _limit(number: int, limits: tuple[int, int]) -> None:
    from procession.system.posix import resource

    soft, hard = resource.getrlimit(number)
    if (soft, hard) == limits:
        return
    try:
        resource.setrlimit(number, limits)
    except (OSError, ValueError):
        try:
            resource.setrlimit(number, (limits[0], hard))
        except (OSError, ValueError):
            pass  # only who may can raise it


_found: tuple[int, ...] | None = None


def _numbers() -> tuple[int, ...]:
    global _found
    if _found is None:
        try:
            from procession.system.posix import resource
        except ImportError:
            _found = ()
        else:
            names = [each for each in dir(resource) if each.startswith("RLIMIT_")]
            _found = tuple([getattr(resource, each) for each in names if each not in _IGNORED])
    return _found


def _limits() -> tuple[tuple[int, int], ...]:
    numbers = _numbers()
    return tuple(map(sys.modules["resource"].getrlimit, numbers)) if numbers else ()


def _nice(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid) if hasattr(os, "getpriority") else 0


def _cpus(pid: int) -> frozenset[int]:
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    try:
        return frozenset(os.sched_getaffinity(pid))
    except OSError:
        return frozenset()  # more processors than the C library's mask holds


def working_folder() -> str:
    """Where this process works; empty if that was removed, as nothing is found there any more."""
    try:
        return os.getcwd()
    except OSError:
        return ""
