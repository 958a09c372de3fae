"""What large data costs: arrays in, arrays out, one array for all, beside the pools of others.

    python benchmarks/large_data.py [--rounds 5] [--megabytes 40] [--only in,out,...]

Two workers everywhere; the contestants take turns in every round; printed are medians. The bars are
in docs/guides/large-data.md. Memory is the peak of the whole process tree, shared memory counted
once, above what it was before. Others that are not installed are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool
from typing import Any

import numpy as np

from procession import parallel

Map = Callable[[Callable[[Any], Any], list[Any]], list[Any]]
Row = tuple[str, float]

WORKERS = 2


def touch(array: Any) -> float:
    return float(array[0])


def total(array: Any) -> float:
    return float(array.sum())


def make(size: int) -> Any:
    return np.ones(size)


def element(index: int, array: Any) -> float:
    return float(array[index])


def first(array: Any) -> Any:
    return array[0]


@contextlib.contextmanager
def contestants() -> Iterator[dict[str, Map]]:
    """A map for each pool that is installed, its workers kept warm."""
    with contextlib.ExitStack() as stack:
        ours = {f: parallel(workers=WORKERS, backend="process", inline=False)(f) for f in WORK}
        maps: dict[str, Map] = {"procession": lambda f, items: ours[f].map(items)}
        with contextlib.suppress(ImportError):
            import joblib

            jobs = stack.enter_context(joblib.Parallel(WORKERS))
            maps["joblib"] = lambda f, items: list(jobs(joblib.delayed(f)(each) for each in items))
        with contextlib.suppress(ImportError):
            import loky

            others = loky.get_reusable_executor(WORKERS)
            maps["loky"] = lambda f, items: list(others.map(f, items))
        executor = stack.enter_context(ProcessPoolExecutor(WORKERS))
        maps["ProcessPoolExecutor"] = lambda f, items: list(executor.map(f, items))
        pool = stack.enter_context(Pool(WORKERS))
        maps["mp.Pool"] = lambda f, items: pool.map(f, items, 1)
        with contextlib.suppress(ImportError):
            import mpire

            keeping = stack.enter_context(mpire.WorkerPool(WORKERS, keep_alive=True))
            maps["mpire"] = lambda f, items: keeping.map(f, [(each,) for each in items])
        with contextlib.suppress(ImportError):
            import ray

            ray.init(num_cpus=WORKERS, log_to_driver=False)
            stack.callback(ray.shutdown)
            tasks = {f: ray.remote(f) for f in WORK}
            maps["Ray"] = lambda f, items: ray.get([tasks[f].remote(each) for each in items])
        yield maps


WORK = (touch, total, make, first)


def interleaved(
    tries: dict[str, Callable[..., object]],
    rounds: int,
    given: Callable[[], tuple[Any, ...]] = tuple,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Row]:
    """Median milliseconds of each, after one warm-up; `given` makes the arguments, untimed."""
    times: dict[str, list[float]] = {name: [] for name in tries}
    for turn in range(rounds + 1):
        for name, attempt in tries.items():
            arguments = given()
            begin = clock()
            attempt(*arguments)
            if turn:
                times[name].append(clock() - begin)
    return [(name, 1000 * statistics.median(each)) for name, each in times.items()]


def show(title: str, rows: list[Row], unit: str = "ms") -> None:
    """One table; everything relative to its first line."""
    print(f"\n{title}")
    for name, value in rows:
        print(f"  {name:22}{value:10.1f} {unit}{value / rows[0][1]:10.2f}x")


def arrays_in(maps: dict[str, Map], options: argparse.Namespace) -> None:
    """Eight arrays to the workers, of which one element, or all, is read."""
    originals = [np.full(options.megabytes * 125_000, float(index)) for index in range(8)]
    target = np.ones_like(originals[0])

    def fresh() -> tuple[Any, ...]:
        # joblib sends an array that it has seen before no more, even if it was changed.
        return ([each.copy() for each in originals],)

    def copy(arrays: list[Any]) -> None:
        for each in arrays:
            np.copyto(target, each)

    for function in (touch, total):
        tries: dict[str, Callable[..., object]] = {"one copy in here": copy}
        for name, run in maps.items():
            tries[name] = lambda arrays, run=run, function=function: run(function, arrays)
        rows = interleaved(tries, options.rounds, fresh)
        show(f"8 x {options.megabytes} MB in, {function.__name__}", rows)


def arrays_out(maps: dict[str, Map], options: argparse.Namespace) -> None:
    """Eight arrays from the workers."""
    sizes = [options.megabytes * 125_000] * 8
    tries: dict[str, Callable[..., object]] = {
        name: lambda run=run: run(make, sizes) for name, run in maps.items()
    }
    show(f"8 x {options.megabytes} MB out", interleaved(tries, options.rounds))


def small_arrays(maps: dict[str, Map], options: argparse.Namespace) -> None:
    """Many arrays that are far too small to go beside the pickle."""
    from procession.pickling.out_of_band import dumps_out_of_band
    from procession.pickling.pickler import dumps

    arrays = [np.full(125, float(index)) for index in range(100_000)]
    tries: dict[str, Callable[..., object]] = {
        "pickle.dumps": lambda: [pickle.dumps(each, 5) for each in arrays],
        "ours, all in the pickle": lambda: [dumps(each) for each in arrays],
        "ours, looking for large": lambda: [dumps_out_of_band(each, "strict") for each in arrays],
    }
    rows = interleaved(tries, options.rounds, clock=time.process_time)
    show("100,000 arrays of 1 kB, pickled one by one (CPU time)", rows)
    ours = parallel(workers=WORKERS, backend="process", inline=False)(first)
    with ProcessPoolExecutor(WORKERS) as executor:
        tries = {
            "procession": lambda: ours.map(arrays),
            "ProcessPoolExecutor": lambda: list(executor.map(first, arrays, chunksize=500)),
        }
        show("100,000 arrays of 1 kB, mapped", interleaved(tries, options.rounds))


def broadcast(maps: dict[str, Map], options: argparse.Namespace) -> None:
    """One array of 400 MB for 100 items."""
    array = np.ones(50_000_000)
    spread = parallel(workers=WORKERS, backend="process", inline=False)(element)
    spread.map(range(4), array[:4])
    tries: dict[str, Callable[..., object]] = {"procession": lambda: spread.map(range(100), array)}
    with contextlib.suppress(ImportError):
        import joblib

        def others() -> None:
            joblib.Parallel(WORKERS)(joblib.delayed(element)(i, array) for i in range(100))

        if "joblib" in maps:
            tries["joblib"] = others
    memory = [(name, peak(attempt) / array.nbytes) for name, attempt in tries.items()]
    show("400 MB to 100 items: copies in memory", memory, "copies")
    show("400 MB to 100 items", interleaved(tries, max(1, options.rounds // 2)))


def memory(maps: dict[str, Map], options: argparse.Namespace) -> None:
    """Eight arrays of 160 MB to the workers; the input itself is not counted."""
    arrays = [np.ones(20_000_000) for _ in range(8)]
    rows: list[Row] = []
    for name, run in maps.items():
        run(total, [array[:8] for array in arrays])
        rows.append((name, peak(lambda run=run: run(total, arrays)) / arrays[0].nbytes))
    show("8 x 160 MB in: arrays in memory besides the input", rows, "arrays")


def peak(call: Callable[[], object]) -> float:
    """The most bytes that the process tree takes while `call` runs, above what it takes before."""
    before, most, over = tree(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            most[0] = max(most[0], tree())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        call()
    finally:
        over.set()
        thread.join()
    return most[0] - before


def tree() -> int:
    """Private memory of this process and its descendants, and all shared memory of the machine.

    The latter counts whether anyone maps it or not.
    """
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    found = 0
    for pid in mine:
        with contextlib.suppress(OSError, StopIteration):
            found += field(f"/proc/{pid}/smaps_rollup", "Pss_Anon:")
    return 1024 * (found + field("/proc/meminfo", "Shmem:"))


def field(path: str, name: str) -> int:
    """One number of a file in /proc, in KiB."""
    with open(path) as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))


PARTS = {
    "in": arrays_in,
    "out": arrays_out,
    "small": small_arrays,
    "broadcast": broadcast,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=40)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--peers", default="", help="the only ones to compare with, by name")
    options = parser.parse_args()
    with contestants() as maps:
        for name in set(maps) - {"procession", *(options.peers or ",".join(maps)).split(",")}:
            del maps[name]
        for part in options.only.split(","):
            PARTS[part](maps, options)


if __name__ == "__main__":
    main()
