"""Clusters of their own for tests: a scheduler and workers as processes of this machine."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.support.asked import asked_for
from tests.support.leaks import lasting, lasting_files, lasting_sockets

__all__ = [
    "DaskProcesses",
    "RayNodes",
    "Running",
    "dask_processes",
    "end_with_far_code",
    "lives",
    "ray_nodes",
    "running",
]

WORKERS = 2

_TIED = "import ctypes; ctypes.CDLL(None).prctl(1, 9)"
"""Linux ends it with the thread that has started it (PR_SET_PDEATHSIG, SIGKILL): a run of tests may
be ended by its time limit, and closes nothing then."""

_USUAL = f"{_TIED}; import runpy; runpy.run_module('distributed.cli.{{0}}', run_name='__main__')"
_BARE = f"import sys; sys.modules.update(procession=None, tests=None); {_USUAL}"

_UNWATCHED = {
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
"""Dask's processes watch themselves for its dashboard, which takes 3 % of a processor each."""

if asked_for():  # before this process imports Dask, which reads it then
    os.environ.update(_UNWATCHED)


class DaskProcesses:
    """A scheduler of Dask's, and workers with one thread each, over TCP.

    The scheduler can import neither Procession nor these tests.

    Attributes:
        address: The scheduler's address.
        scheduler: Its process.
        workers: Those of the workers.
    """

    def __init__(
        self, *, nanny: bool = False, python: str = sys.executable, host: str = "127.0.0.1"
    ) -> None:
        self._nanny = nanny
        self._python = python
        self._folder = tempfile.TemporaryDirectory(prefix="dask-")
        self.workers: list[subprocess.Popen[bytes]] = []
        file = os.path.join(self._folder.name, "scheduler.json")
        self.scheduler = self._start(
            "dask_scheduler", "--port", "0", "--host", host, "--no-dashboard",
            "--scheduler-file", file, bare=True,
        )  # fmt: skip
        self.address = self._address(file)

    def _start(
        self, what: str, *arguments: str, inside: Sequence[str] = (), bare: bool = False
    ) -> subprocess.Popen[bytes]:
        log = open(os.path.join(self._folder.name, f"{what}.log"), "ab")  # noqa: SIM115
        program = _BARE if bare else _USUAL
        with log:
            return subprocess.Popen(
                [*inside, self._python, "-c", program.format(what), *arguments],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": os.getcwd(),
                    "DASK_TEMPORARY_DIRECTORY": self._folder.name,
                },
            )

    def _address(self, file: str) -> str:
        while True:
            with contextlib.suppress(OSError, ValueError), open(file) as found:
                address: str = json.load(found)["address"]
                return address
            if self.scheduler.poll() is not None:
                raise AssertionError(self.log("dask_scheduler"))
            time.sleep(0.05)

    def log(self, what: str) -> str:
        """What the scheduler or the workers have said."""
        with open(os.path.join(self._folder.name, f"{what}.log")) as file:
            return file.read()

    def add_worker(
        self,
        *arguments: str,
        inside: Sequence[str] = (),
        host: str = "127.0.0.1",
        bare: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start one more worker; `inside` starts it elsewhere; a `bare` one lacks Procession."""
        nanny = "--nanny" if self._nanny else "--no-nanny"
        worker = self._start(
            "dask_worker", self.address, nanny, "--nthreads", "1", "--no-dashboard",
            "--host", host, *arguments, inside=inside, bare=bare,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def wait_for_workers(self, count: int) -> None:
        """Return when so many workers are there."""
        distributed: Any = importlib.import_module("distributed")
        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    @property
    def folder(self) -> str:
        """Where they keep their files."""
        return self._folder.name

    @property
    def pids(self) -> list[int]:
        """Of the scheduler and the workers."""
        return [process.pid for process in (self.scheduler, *self.workers)]

    def close(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.scheduler):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (*self.workers, self.scheduler):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                _kill_all(psutil.Process(process.pid))
                process.wait()
        self._folder.cleanup()


def _kill_all(process: psutil.Process) -> None:
    """Kill a process and its children, but for the tracker that removes their semaphores then."""
    for each in (*process.children(recursive=True), process):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "resource_tracker" not in " ".join(each.cmdline()):
                each.kill()


@contextlib.contextmanager
def dask_processes(
    *, nanny: bool = False, workers: int = WORKERS, options: Sequence[str] = ()
) -> Iterator[DaskProcesses]:
    """A cluster of Dask's that lasts as long as a ``with`` block."""
    cluster = DaskProcesses(nanny=nanny)
    try:
        for _ in range(workers):
            cluster.add_worker(*options)
        if workers:
            cluster.wait_for_workers(workers)
        yield cluster
    finally:
        cluster.close()


class RayNodes:
    """Nodes of Ray's on this machine; see `tests.support.ray_nodes`.

    Args:
        cpus: Of each node, the head first.

    Attributes:
        address: The head's address.
        nodes: The pids of each node's processes, by what they are.
    """

    def __init__(self, *cpus: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.ray_nodes", *map(str, cpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        with self._process.stdout as said:
            line = said.readline()
        if not line:
            self.close()
            raise AssertionError("the nodes did not start")
        told = json.loads(line)
        self.address: str = told["address"]
        self.nodes: list[dict[str, list[int]]] = told["nodes"]

    @property
    def pids(self) -> list[int]:
        """Of the program that has started them, and so of them all."""
        return [self._process.pid]

    def kill(self, node: int) -> None:
        """Kill all processes of a node, with all that they have started."""
        found = [psutil.Process(pid) for pids in self.nodes[node].values() for pid in pids]
        for process in [*found, *(child for each in found for child in each.children(True))]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def close(self) -> None:
        """End all nodes."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


@contextlib.contextmanager
def ray_nodes(*cpus: int) -> Iterator[RayNodes]:
    """A cluster of Ray's that lasts as long as a ``with`` block."""
    nodes = RayNodes(*cpus)
    lasting.update(nodes.pids)
    try:
        yield nodes
    finally:
        nodes.close()


class Running:
    """The clusters of this run, each started once, and ended with the last who wants one."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._found: dict[str, Any] = {}
        self.users = 0

    def dask(self, *, nanny: bool = False) -> DaskProcesses:
        """A scheduler and two workers."""
        name = f"dask-{nanny}"
        if name not in self._found:
            cluster = self._stack.enter_context(dask_processes(nanny=nanny))
            lasting.update(cluster.pids)
            lasting_files.add(os.path.basename(cluster.folder))
            self._found[name] = cluster
        found: DaskProcesses = self._found[name]
        return found

    def ray(self) -> RayNodes:
        """Two nodes with a processor each. This program connects to them itself, so that Ray's
        workers stay warm between tests."""
        if "ray" not in self._found:
            cluster = self._stack.enter_context(ray_nodes(*[1] * WORKERS))
            ray: Any = importlib.import_module("ray")
            ray.init(address=cluster.address, configure_logging=False, log_to_driver=False)
            self._stack.callback(ray.shutdown)
            lasting_sockets.append("ray")
            self._found["ray"] = cluster
        found: RayNodes = self._found["ray"]
        return found

    def address(self, place: str) -> str | None:
        """Of the cluster that a place is; `None` for one that Procession starts itself."""
        if place == "ray":
            return self.ray().address
        return None if place == "dask-local" else self.dask(nanny=place == "dask-nanny").address

    def close(self) -> None:
        """End them."""
        self._found.clear()
        self._stack.close()


_running = Running()


@contextlib.contextmanager
def running() -> Iterator[Running]:
    """The clusters of this run, within a ``with`` block that lasts as long as one is wanted."""
    _running.users += 1
    try:
        yield _running
    finally:
        _running.users -= 1
        if not _running.users:
            _running.close()


def lives(pid: int) -> bool:
    """Whether a process is there, and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end_with_far_code(caller: subprocess.Popen[Any], how: signal.Signals, folder: Path) -> None:
    """End a program once its two items run, each named by a file in the folder; await their end."""
    while len(os.listdir(folder)) < 2:
        time.sleep(0.01)
    caller.send_signal(how)
    for pid in map(int, os.listdir(folder)):
        while lives(pid):
            time.sleep(0.01)
