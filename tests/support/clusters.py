"""Clusters of their own for tests: a scheduler and workers as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["DaskProcesses", "asked_for", "dask_processes"]

WORKERS = 2


def asked_for() -> tuple[str, ...]:
    """The places on clusters that this run is to test, such as ``dask``; usually none."""
    return tuple(os.environ.get("PROCESSION_TEST_CLUSTERS", "").split())


class DaskProcesses:
    """A scheduler of Dask's, and workers with one thread each, over TCP.

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
            "--scheduler-file", file,
        )  # fmt: skip
        self.address = self._address(file)

    def _start(
        self, what: str, *arguments: str, inside: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        log = open(os.path.join(self._folder.name, f"{what}.log"), "ab")  # noqa: SIM115
        with log:
            return subprocess.Popen(
                [*inside, self._python, "-m", f"distributed.cli.{what}", *arguments],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": os.getcwd(),
                    "DASK_TEMPORARY_DIRECTORY": self._folder.name,
                },
            )

    def _address(self, file: str) -> str:
        import json
        import time

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
        self, *arguments: str, inside: Sequence[str] = (), host: str = "127.0.0.1"
    ) -> subprocess.Popen[bytes]:
        """Start one more worker; `inside` is what starts it elsewhere."""
        nanny = "--nanny" if self._nanny else "--no-nanny"
        worker = self._start(
            "dask_worker", self.address, nanny, "--nthreads", "1", "--no-dashboard",
            "--host", host, *arguments, inside=inside,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def wait_for_workers(self, count: int) -> None:
        """Return when so many workers are there."""
        import importlib

        distributed: Any = importlib.import_module("distributed")
        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

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
                process.kill()
                process.wait()
        self._folder.cleanup()


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
