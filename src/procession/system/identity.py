"""What the kernel allows this process: user, groups, root, limits, CPUs; its folder and variables.

A program gives such things up (``os.setuid``, ``resource.setrlimit``, ``os.nice`` …), and workers
that were started before have them still. So they are looked at when a call is made, and workers
that differ are used no more. (`glance` is for calls that follow each other closely.) Niceness and
processors belong to a thread: the main one's count.
"""

from __future__ import annotations

import sys

from procession.hints import Any
from procession.system import NamedTuple, after_fork, cpython, owned_descriptors
from procession.system.posix import os
from procession.system.pristine import monotonic

# -- what the kernel says of it ------------------------------------------------------------------

_PATH = "/proc/self/status"
_SIZE = 4096
_AGE = 0.001
"""Seconds for which it is not read again, as that takes some 5 µs, and 40 after a pause."""

_kept = -1
_known: tuple[float, bytes] = (-1.0, b"")
_mark = b""
"""The line that names this process."""


def own_status() -> bytes:
    """The text of ``/proc/self/status``, the same for a millisecond; empty where there is none.

    The file is kept open: to open it takes two thirds of the time of a look. Its text names the
    process that it is of. So a descriptor that the program has closed, and whose number is another
    file's by now, is noticed, and so is a fork.
    """
    global _known
    when, text = _known
    now = monotonic()
    if now - when > _AGE:
        text = _read()
        _known = now, text
    return text


def _read() -> bytes:
    try:
        text = os.pread(_kept, _SIZE, 0)
    except (OSError, AttributeError):
        return _open()
    return text if _mark in text and text.startswith(b"Name:") else _open()


def _open() -> bytes:
    """Open it, in place of the one that is not ours any more."""
    global _kept, _mark
    try:
        with owned_descriptors.forking:
            _kept = os.open(_PATH, os.O_RDONLY | os.O_CLOEXEC)
            owned_descriptors.own(_kept)
        text = os.pread(_kept, _SIZE, 0)
    except (OSError, AttributeError):
        return b""
    at = text.find(b"\nPid:")
    _mark = text[at : text.find(b"\n", at + 1) + 1]
    return text


_token = os.urandom(16).hex()


def process_token() -> str:
    """A text that no other process has, on no machine; a forked child has another one."""
    return _token


def _forget() -> None:
    global _kept, _known, _token
    _kept, _known, _token = -1, (-1.0, b""), os.urandom(16).hex()


after_fork.renew_in_child(_forget)

# -- what it allows ------------------------------------------------------------------------------

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


# -- its environment -----------------------------------------------------------------------------

_last: tuple[Any, dict[str, str]] = None, {}


def variables() -> dict[str, str]:
    """The environment's variables, read again only after one has changed; not to be changed.

    `os.environ` decodes each of them whenever it is read, and a start takes several looks.
    """
    global _last
    now = cpython.environment
    seen, found = _last
    if now is None or now != seen:
        seen = None if now is None else dict(now)  # first: another thread may change one meanwhile
        found = dict(os.environ)
        _last = seen, found
    return found
