"""Procession on a cluster beside its bare engine: `python benchmarks/clusters.py [dask] [ray]`.

Dask: a scheduler and two workers of one thread each, as processes of this machine. Ray: a head of
two CPUs. Each workload runs in turn, round after round; the medians are compared. CPU seconds are
those of the client and of the scheduler, per chunk or per task.
"""

from __future__ import annotations

import importlib
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
def dask_cluster() -> Iterator[tuple[str, int]]:
    """The address of a scheduler with two workers, and the scheduler's pid."""
    distributed = importlib.import_module("distributed")
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


def on_dask(count: int) -> None:
    distributed = importlib.import_module("distributed")
    with dask_cluster() as (address, scheduler):
        client = distributed.Client(address, set_as_default=False)
        with procession.options(backend=client, inline="auto"):
            compare_maps(
                lambda function, items: client.gather(client.map(function, items, pure=False)),
                count,
                "<= 0.33",
            )
            call = procession.parallel(nothing)
            compare(
                "one warm call, 50 times",
                lambda: [client.submit(nothing, i, pure=False).result() for i in range(50)],
                lambda: [call.submit(i).result() for i in range(50)],
                "<= 1.3",
            )
            here, there = time.process_time(), cpu(scheduler)
            call.with_options(chunk=1).map(range(1000))
            mine, its = time.process_time() - here, cpu(scheduler) - there
            print(
                f"CPU per chunk: client {mine:.2f} ms (bar 1.6), scheduler {its:.2f} ms (bar 2.8)"
            )
            data = os.urandom(50_000_000)
            before = memory(scheduler)
            procession.parallel(chunk=1)(size).map(range(20), data)
            grown = memory(scheduler) - before
            print(f"50 MB to all items: the scheduler grew by {grown:.0f} MB (bar: 60)")
        procession.shutdown()
        client.close()


def on_ray(count: int) -> None:
    ray = importlib.import_module("ray")
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200_000_000,
            configure_logging=False,
            log_to_driver=False,
            _temp_dir=folder,
        )
        remote = {function: ray.remote(function) for function in (millisecond, tenth, nothing)}
        with procession.options(backend="ray", inline="auto"):
            compare_maps(
                lambda function, items: ray.get([remote[function].remote(i) for i in items]),
                count,
                "<= 0.67",
            )
            call = procession.parallel(nothing)
            compare(
                "one warm call, 50 times",
                lambda: [ray.get(remote[nothing].remote(i)) for i in range(50)],
                lambda: [call.submit(i).result() for i in range(50)],
                "none",
            )
            here = time.process_time()
            call.with_options(chunk=1).map(range(1000))
            print(f"CPU per chunk: client {time.process_time() - here:.2f} ms")
            here = time.process_time()
            ray.get([remote[nothing].remote(i) for i in range(1000)])
            print(f"CPU per bare task: client {time.process_time() - here:.2f} ms")
        procession.shutdown()
        ray.shutdown()


def compare_maps(bare: Callable[[Any, Any], Any], count: int, bar: str) -> None:
    """Short and long items, by the engine's own map and by ours."""
    short, long = procession.parallel_map(millisecond), procession.parallel_map(tenth)
    name = f"{count:,} x 1 ms"
    compare(name, lambda: bare(millisecond, range(count)), lambda: short(range(count)), bar)
    compare("100 x 100 ms", lambda: bare(tenth, range(100)), lambda: long(range(100)), "<= 1.05")


def main() -> None:
    count = 1000 if "--quick" in sys.argv else 10_000  # without what takes minutes
    engines = {"dask": on_dask, "ray": on_ray}
    asked = [name for name in engines if name in sys.argv] or list(engines)
    for name in asked:
        print(f"-- {name}")
        engines[name](count)


if __name__ == "__main__":
    main()
