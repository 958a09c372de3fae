"""What one call costs: a raw pipe echo, our pool, and the pools of others, in one interleaved run.

    python benchmarks/latency.py [--calls 300] [--context forkserver]

Prints medians in microseconds of a warm ``submit(x).result()``, called in a row and with calls of
all the others in between, and of a call in a process of its own; and the cold start to the first
result in milliseconds. The echo sends the same bytes to a process that sends them back, with one
read and one write on each side: where the kernel puts it (mostly on the caller's own processor,
where nothing has to be woken on another one), and kept on another processor. Others that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Call = Callable[[], object]


def plus_one(x: int) -> int:
    return x + 1


def echo_forever(connection: int) -> None:
    while data := os.read(connection, 65536):
        os.write(connection, data)


@contextmanager
def raw_echo(*, across: bool = False) -> Iterator[Call]:
    import pickle
    import socket

    from procession.items import Item, Job
    from procession.process.io import messages

    item = Item(0, 1, pickle.dumps(((1,), {}), 5))
    data = b"".join(messages.pack_task(Job(1, "plus_one"), [item], False, ()))
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        echo_forever(theirs.fileno())
        os._exit(0)
    theirs.close()
    number = ours.fileno()
    everywhere = os.sched_getaffinity(0)
    here = min(everywhere)
    if across:
        os.sched_setaffinity(child, everywhere - {here} or {here})

    def call() -> None:
        os.write(number, data)
        os.read(number, 65536)

    def call_from_here() -> None:
        os.sched_setaffinity(0, {here})
        call()
        os.sched_setaffinity(0, everywhere)

    yield call_from_here if across else call
    ours.close()
    os.waitpid(child, 0)


@contextmanager
def procession_pool(context: str) -> Iterator[Call]:
    import procession

    function = procession.background(backend="process", context=context, workers=1)(plus_one)
    yield lambda: function.submit(1).result()


@contextmanager
def procession_isolated(context: str) -> Iterator[Call]:
    import procession

    function = procession.isolated(context=context)(plus_one)
    yield lambda: function(1)


@contextmanager
def standard_library(context: str) -> Iterator[Call]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(context)) as pool:
        yield lambda: pool.submit(plus_one, 1).result()


@contextmanager
def mp_pool(context: str) -> Iterator[Call]:
    with multiprocessing.get_context(context).Pool(1) as pool:
        yield lambda: pool.apply(plus_one, (1,))


@contextmanager
def loky_pool(context: str) -> Iterator[Call]:
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as pool:
        yield lambda: pool.submit(plus_one, 1).result()


@contextmanager
def pebble_pool(context: str) -> Iterator[Call]:
    from pebble import ProcessPool

    with ProcessPool(1, context=multiprocessing.get_context(context)) as pool:
        yield lambda: pool.submit(plus_one, None, 1).result()


@contextmanager
def pebble_process(context: str) -> Iterator[Call]:
    from pebble import concurrent

    function = concurrent.process(context=multiprocessing.get_context(context))(plus_one)
    yield lambda: function(1).result()


@contextmanager
def mpire_pool(context: str) -> Iterator[Call]:
    from mpire import WorkerPool

    with WorkerPool(1, start_method=context) as pool:
        yield lambda: pool.apply(plus_one, (1,))


POOLS: dict[str, Callable[[str], Any]] = {
    "raw pipe echo": lambda context: raw_echo(),
    "raw pipe echo, across CPUs": lambda context: raw_echo(across=True),
    "procession": procession_pool,
    "ProcessPoolExecutor": standard_library,
    "multiprocessing.Pool": mp_pool,
    "loky": loky_pool,
    "pebble": pebble_pool,
    "mpire": mpire_pool,
}
ALONE: dict[str, Callable[[str], Any]] = {
    "procession @isolated": procession_isolated,
    "pebble @concurrent.process": pebble_process,
}


def opened(makers: dict[str, Callable[[str], Any]], context: str) -> dict[str, tuple[Any, Call]]:
    """Those that are installed, each with its first call done; prints how long that took."""
    ready: dict[str, tuple[Any, Call]] = {}
    for name, make in makers.items():
        begin = time.perf_counter()
        manager = make(context)
        try:
            call = manager.__enter__()
        except ImportError:
            continue
        call()
        print(f"{name:28} first result after {1000 * (time.perf_counter() - begin):7.0f} ms")
        ready[name] = (manager, call)
    return ready


def measure(
    calls: dict[str, tuple[Any, Call]], rounds: int, *, row: int = 1, pause: float = 0.0
) -> None:
    """Medians of calls, a row of so many of each in turn, whose first tenth does not count."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (_, call) in calls.items():
            times: list[float] = []
            for _ in range(row):
                begin = time.perf_counter()
                call()
                times.append(time.perf_counter() - begin)
            taken[name].append(statistics.median(times[row // 10 :]))
            time.sleep(pause)
    echo = statistics.median(next(iter(taken.values())))
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:28} {1e6 * median:9.0f} µs {median / echo:7.1f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=300, help="how many calls make a row")
    parser.add_argument("--context", default="forkserver")
    arguments = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {arguments.context}, {os.cpu_count()} CPUs\n")
    print("Cold start (imports of the library included)")
    pools = opened(POOLS, arguments.context)
    alone = opened(ALONE, arguments.context)
    print("\nWarm calls in a row")
    measure(pools, 10, row=arguments.calls)
    print("\nA warm call, with a call of each of the others before the next")
    measure(pools, arguments.calls)
    print("\nA process of its own for each call, half a second between two calls")
    measure({"raw pipe echo": pools["raw pipe echo"], **alone}, 10, pause=0.5)
    for manager, _ in reversed((*pools.values(), *alone.values())):
        manager.__exit__(None, None, None)


if __name__ == "__main__":
    main()
