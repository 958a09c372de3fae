"""Dask with Procession beside bare Dask, on one cluster: `python benchmarks/clusters.py`.

A scheduler and two workers of one thread each, as processes of this machine. Each workload runs in
turn, round after round; the medians are compared. CPU seconds are those of the client and of the
scheduler, per chunk or per task.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import distributed

import procession

ROUNDS = 3


def millisecond(x: int) -> int:
    time.sleep(0.001)
    return x


def tenth(x: int) -> int:
    time.sleep(0.1)
    return x


def nothing(x: int) -> int:
    return x


def size(index: int, data: bytes) -> int:
    return len(data) + index


@contextmanager
def cluster() -> Iterator[tuple[str, int]]:
    """The address of a scheduler with two workers, and the scheduler's pid."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "scheduler.json")
        started = [_start("dask_scheduler", "--port", "0", "--scheduler-file", str(file))]
        while not file.exists():
            time.sleep(0.05)
        worker = ("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny")
        started += [_start(*worker) for _ in range(2)]
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2)
            address = client.scheduler.address
        try:
            yield address, started[0].pid
        finally:
            for each in started:
                each.terminate()
                each.wait()


def _start(what: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.{what}", *arguments, "--no-dashboard"]
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": here},
    )


def cpu(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MB that a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def compare(name: str, bare: Callable[[], Any], ours: Callable[[], Any], bar: str) -> None:
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    bare(), ours()
    for _ in range(ROUNDS):
        for which, run in (("bare", bare), ("ours", ours)):
            begin = time.perf_counter()
            run()
            times[which].append(time.perf_counter() - begin)
    them, us = (statistics.median(times[which]) for which in ("bare", "ours"))
    print(f"{name:24} bare {them:7.3f} s  ours {us:7.3f} s  ours/bare {us / them:5.2f}  bar: {bar}")


def main() -> None:
    quick = "--quick" in sys.argv  # without what takes minutes
    with cluster() as (address, scheduler):
        client = distributed.Client(address, set_as_default=False)
        with procession.options(backend=client, inline="auto"):
            short, long, call, common = (
                procession.parallel_map(function)
                for function in (millisecond, tenth, nothing, size)
            )
            count = 1000 if quick else 10_000
            compare(
                f"{count:,} x 1 ms",
                lambda: client.gather(client.map(millisecond, range(count), pure=False)),
                lambda: short(range(count)),
                "<= 0.33",
            )
            compare(
                "100 x 100 ms",
                lambda: client.gather(client.map(tenth, range(100), pure=False)),
                lambda: long(range(100)),
                "<= 1.05",
            )
            compare(
                "one warm call, 50 times",
                lambda: [client.submit(nothing, i, pure=False).result() for i in range(50)],
                lambda: [call.submit(i).result() for i in range(50)],
                "<= 1.3",
            )
            before, here, there = memory(scheduler), time.process_time(), cpu(scheduler)
            call.with_options(chunk=1)(range(1000))
            mine, its = time.process_time() - here, cpu(scheduler) - there
            print(
                f"CPU per chunk: client {mine:.2f} ms (bar 1.6), scheduler {its:.2f} ms (bar 2.8)"
            )
            data = os.urandom(50_000_000)
            before = memory(scheduler)
            common.with_options(chunk=1)(range(20), data)
            grown = memory(scheduler) - before
            print(f"50 MB to all items: the scheduler grew by {grown:.0f} MB (bar: 60)")
        procession.shutdown()
        client.close()


if __name__ == "__main__":
    main()
