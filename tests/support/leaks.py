"""What a test run holds of the machine, and what of it was left behind.

A `Snapshot` lists what this process tree holds: processes, descriptors, entries in /dev/shm (named
semaphores are there too), temporary files, our threads, and futures that nobody has settled. Taking
one costs well under a millisecond, so it is taken after every test. Whatever is new is remembered
with the test that first showed it; pools stay warm between tests on purpose, so the verdict falls
when they have been shut down, at the end of each module.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

PATIENCE = 10.0
"""Seconds that processes get to end after a shutdown; guessed, generous for a busy machine."""

SHARED_MEMORY = Path("/dev/shm")
LINUX = sys.platform.startswith("linux")


class Held(NamedTuple):
    """One thing that can leak.

    Attributes:
        kind: ``"process"``, ``"descriptor"``, ``"shared memory"``, ``"temporary file"``,
            ``"thread"`` or ``"future"``.
        name: What tells it from others of its kind, now and later (a pid alone is used again).
    """

    kind: str
    name: str


Snapshot = frozenset[Held]


def snapshot() -> Snapshot:
    """Everything that this process and its descendants hold right now."""
    return frozenset(
        (
            *_processes(),
            *_descriptors(),
            *_shared_memory(),
            *_temporary(),
            *_threads(),
            *_futures(),
        )
    )


def left_behind(before: Snapshot, patience: float = PATIENCE) -> Snapshot:
    """What is held beyond `before`, after waiting up to `patience` seconds for it to go."""
    deadline = time.monotonic() + patience
    collect = 0.0
    while True:
        new = frozenset(thing for thing in snapshot() - before if not _belongs_to_others(thing))
        if not new or time.monotonic() > deadline:
            return new
        if time.monotonic() > collect:
            gc.collect()  # and again: a thread that ends now may be the last to hold a cycle
            collect = time.monotonic() + 1.0
        time.sleep(0.01)


def describe(thing: Held) -> str:
    """The thing with what helps to find where it came from, such as a process's command."""
    if thing.kind == "process":
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(int(thing.name.split()[0]))
            return f"process {process.pid} ({process.status()}): {' '.join(process.cmdline())}"
    return f"{thing.kind} {thing.name}"


# --------------------------------------------------------------------------------- processes


def _processes() -> Iterator[Held]:
    helpers = _helpers()
    for pid, born in _descendants(os.getpid(), helpers):
        yield Held("process", f"{pid} born {born}")


def _descendants(pid: int, skip: set[int]) -> Iterator[tuple[int, str]]:
    for child in _children(pid):
        if child in skip:
            continue
        born = _born(child)
        if born is not None:
            yield child, born
            yield from _descendants(child, skip)


def _children(pid: int) -> list[int]:
    """Direct children, by the kernel's own list of each thread's, or by asking every process."""
    if not LINUX:
        return [child.pid for child in psutil.Process(pid).children()]
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found.extend(map(int, file.read().split()))
    except FileNotFoundError:
        if pid == os.getpid() and not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
            return [child.pid for child in psutil.Process(pid).children()]
    except ProcessLookupError:
        pass
    return found


def _born(pid: int) -> str | None:
    """When a process started, in the kernel's ticks, so that a reused pid is another process."""
    if not LINUX:
        with contextlib.suppress(psutil.Error):
            return str(psutil.Process(pid).create_time())
        return None
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return None


lasting: set[int] = set()
"""Processes that last for the whole run on purpose, with all that they start: clusters."""

lasting_files: set[str] = set()
"""Names of theirs in the temporary folder."""


def _helpers() -> set[int]:
    """Processes that live until the interpreter's end on purpose, and are not ours to end."""
    pids: set[int] = set(lasting)
    for module, attribute, field in (
        ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
        ("loky.backend.resource_tracker", "_resource_tracker", "_pid"),
        ("joblib.externals.loky.backend.resource_tracker", "_resource_tracker", "_pid"),
    ):
        pid = getattr(getattr(sys.modules.get(module), attribute, None), field, None)
        if isinstance(pid, int):
            pids.add(pid)
    return pids


def orphans(marker: str) -> list[str]:
    """Descendants that outlived whoever started them, so that no list of children has them.

    They are known by their environment: those that were executed carry `marker` (a ``NAME=value``
    that this process put into its own), those that were only forked carry exactly ours.
    """
    if not LINUX:
        return []
    own = _environment(os.getpid())
    tree = {os.getpid(), *(pid for pid, _ in _descendants(os.getpid(), set()))}
    found = []
    for pid in psutil.pids():
        environment = _environment(pid)
        if pid in tree or not environment:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            forked = (
                environment == own
                and os.getsid(pid) == os.getsid(0)
                and process.create_time() > psutil.Process().create_time()
                and process.ppid() != os.getppid()  # not a sibling: another worker of xdist
                and _environment(process.ppid()) != own
            )
            if forked or os.fsencode(marker) in environment.split(b"\0"):
                found.append(f"process {pid} ({process.status()}): {' '.join(process.cmdline())}")
    return found


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


# ------------------------------------------------------------------------------- descriptors


def _descriptors() -> Iterator[Held]:
    helpers = _helper_descriptors()
    others = _network_sockets() if lasting_sockets else frozenset()
    folder = "/proc/self/fd" if LINUX else "/dev/fd"
    for entry in os.listdir(folder):
        descriptor = int(entry)
        if descriptor in helpers or descriptor <= 2:  # pytest's capturing swaps 0, 1 and 2
            continue
        try:
            target = os.readlink(f"{folder}/{entry}") if LINUX else str(os.fstat(descriptor).st_ino)
        except OSError:
            continue  # the one that listed the folder
        if target not in ("/dev/urandom", "/dev/null") and target not in others:
            yield Held("descriptor", f"{descriptor} -> {target}")


lasting_sockets: list[str] = []
"""Whose sockets of the network come and go while the run lasts: a cluster's that it is connected
to. Procession has none of its own."""


def _network_sockets() -> frozenset[str]:
    """The TCP sockets of this machine, as a descriptor's link names them."""
    found: set[str] = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as lines:
            found.update(f"socket:[{line.split()[9]}]" for line in list(lines)[1:])
    return frozenset(found)


def _helper_descriptors() -> set[int]:
    descriptors: set[int] = set()
    for module, attribute, field in (
        ("multiprocessing.resource_tracker", "_resource_tracker", "_fd"),
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_alive_fd"),
        ("loky.backend.resource_tracker", "_resource_tracker", "_fd"),
        ("joblib.externals.loky.backend.resource_tracker", "_resource_tracker", "_fd"),
    ):
        descriptor = getattr(getattr(sys.modules.get(module), attribute, None), field, None)
        if isinstance(descriptor, int):
            descriptors.add(descriptor)
    status = sys.modules.get("procession.system.identity")
    if status is not None:
        descriptors.add(status._kept)  # kept open on purpose
    return descriptors


# ------------------------------------------------------------------- shared memory, files, threads


def _shared_memory() -> Iterator[Held]:
    with contextlib.suppress(OSError):
        for name in os.listdir(SHARED_MEMORY):
            if "PYTEST_XDIST_WORKER" in os.environ and _is_a_neighbour_s(name):
                continue
            yield Held("shared memory", name)


def _is_a_neighbour_s(name: str) -> bool:
    """Whether it may be of a program that another process of xdist runs, or has killed."""
    if name.startswith("sem.mp-"):
        return True
    others = ("sem.loky-", "joblib_memmapping_folder_")
    return name.startswith(others) and f"{os.getpid()}" not in re.split("[-_]", name)


def _belongs_to_others(thing: Held) -> bool:
    """Whether a name in /dev/shm is some other program's, which may run at the same time."""
    if thing.kind != "shared memory":
        return False
    ours = {os.getpid(), *(pid for pid, _ in _descendants(os.getpid(), set()))}
    for digits in re.findall(r"\d+", thing.name):
        if len(digits) < 10 and int(digits) not in ours and psutil.pid_exists(int(digits)):
            return True
    if ours.isdisjoint(map(int, re.findall(r"\d+", thing.name))):
        return any(_maps(pid, thing.name) for pid in psutil.pids() if pid not in ours)
    return False


def _maps(pid: int, name: str) -> bool:
    try:
        return f"{SHARED_MEMORY}/{name}" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def _temporary() -> Iterator[Held]:
    """Entries of the temporary folder, which the conftest makes private to this run."""
    own = os.path.basename(_multiprocessing_folder())
    for name in os.listdir(tempfile.gettempdir()):
        # Programs that a test kills leave multiprocessing's folder behind; ours has another name.
        if name != own and name not in lasting_files and not name.startswith("pymp-"):
            yield Held("temporary file", name)


def _multiprocessing_folder() -> str:
    """Where `multiprocessing` keeps its sockets; it removes the folder itself, at exit."""
    process = sys.modules.get("multiprocessing.process")
    configuration = getattr(getattr(process, "_current_process", None), "_config", {})
    return str(configuration.get("tempdir") or "")


def _threads() -> Iterator[Held]:
    for thread in threading.enumerate():
        if thread.name.startswith("procession"):
            yield Held("thread", f"{thread.name} {thread.ident}")


def _futures() -> Iterator[Held]:
    """Those that stand for work of Procession's and are not settled: who waits would hang."""
    after_fork = sys.modules.get("procession.system.after_fork")
    for future in tuple(getattr(after_fork, "outstanding", ())):
        yield Held("future", f"of {getattr(future._work, 'name', '?')}() {id(future)}")
