"""Maps beside the plain loop and six peers, in one run: `python benchmarks/maps.py`.

Each workload runs on every contestant in turn, round after round, and the medians are compared:

* *regret* = time / (min(plain loop, best peer with its best chunk size) + 0.2 ms),
* *against defaults* = a peer's time with its defaults / ours.

Peers' pools are kept open between rounds (mp.Pool, ProcessPoolExecutor, loky, joblib, mpire,
pebble), as ours is; the cold workload opens a new one each time.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import workloads as w

import procession

WORKERS = procession.usable_cpus()
TUNED = (1, 8, 64, 512, 8192)
ENOUGH = 2.0
"""Seconds of one contestant on one workload after which it is not asked again."""


class Peer:
    """One contestant: opens its pool once, and maps with its own or a given chunk size."""

    def __init__(self, name: str, make: Callable[[], Any], run: Callable[..., Any], end: Any):
        self.name = name
        self._make = make
        self._run = run
        self._end = end
        self._pool: Any = None

    def map(self, function: Any, items: list[Any], chunk: int | None = None) -> Any:
        if self._pool is None:
            self._pool = self._make()
        return self._run(self._pool, function, items, chunk)

    def close(self) -> None:
        if self._pool is not None:
            self._end(self._pool)
            self._pool = None


def _pool_map(pool: Any, function: Any, items: list[Any], chunk: int | None) -> Any:
    return pool.map(function, items, chunk)


def _executor_map(pool: Any, function: Any, items: list[Any], chunk: int | None) -> Any:
    return list(pool.map(function, items, chunksize=chunk or 1))


def _joblib_map(pool: Any, function: Any, items: list[Any], chunk: int | None) -> Any:
    from joblib import delayed

    pool.batch_size = chunk or "auto"
    return pool(delayed(function)(item) for item in items)


def _mpire_map(pool: Any, function: Any, items: list[Any], chunk: int | None) -> Any:
    # It takes dicts and tuples apart, unless they stand in a tuple.
    return pool.map(function, [(item,) for item in items], chunk_size=chunk)


def _pebble_map(pool: Any, function: Any, items: list[Any], chunk: int | None) -> Any:
    return list(pool.map(function, items, chunksize=chunk or 1).result())


def _close_pebble(pool: Any) -> None:
    pool.close()
    pool.join()


def _close_mp(pool: Any) -> None:
    pool.terminate()
    pool.join()


def peers() -> list[Peer]:
    """The peers that are installed."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    found = [
        Peer("mp.Pool", lambda: multiprocessing.Pool(WORKERS), _pool_map, _close_mp),
        Peer(
            "ProcessPoolExecutor",
            lambda: ProcessPoolExecutor(WORKERS),
            _executor_map,
            lambda pool: pool.shutdown(),
        ),
    ]
    try:
        import loky

        found.append(
            Peer(
                "loky",
                lambda: loky.ProcessPoolExecutor(WORKERS),
                _executor_map,
                lambda pool: pool.shutdown(kill_workers=True),
            )
        )
    except ImportError:
        pass
    try:
        import joblib

        found.append(
            Peer(
                "joblib",
                lambda: joblib.Parallel(n_jobs=WORKERS).__enter__(),
                _joblib_map,
                lambda pool: pool.__exit__(None, None, None),
            )
        )
    except ImportError:
        pass
    try:
        import mpire

        found.append(
            Peer(
                "mpire",
                lambda: mpire.WorkerPool(n_jobs=WORKERS, keep_alive=True),
                _mpire_map,
                lambda pool: pool.terminate(),
            )
        )
    except ImportError:
        pass
    try:
        import pebble

        found.append(
            Peer("pebble", lambda: pebble.ProcessPool(WORKERS), _pebble_map, _close_pebble)
        )
    except ImportError:
        pass
    return found


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    times.append(time.perf_counter() - begin)


def _ours(function: Any, items: list[Any]) -> Any:
    return function.map(items)


def run(workload: w.Workload, rounds: int, contestants: list[Peer]) -> dict[str, float]:
    """Median seconds by contestant; a peer with a chunk size is ``name/chunk``."""
    times: dict[str, list[float]] = {}
    chunks = [c for c in TUNED if c <= max(1, len(workload.items) // WORKERS)] or [1]
    if not workload.cold:  # no map of its own is worth a start to some workloads
        workload.decorated.with_options(inline=False).map(workload.items[:WORKERS])
    for turn in range(rounds + 1):
        tries: list[tuple[str, Callable[[], Any]]] = [
            ("loop", lambda: [workload.plain(item) for item in workload.items]),
            ("procession", lambda: _ours(workload.decorated, workload.items)),
        ]
        for peer in contestants:
            tries.append((peer.name, lambda p=peer: p.map(workload.plain, workload.items)))
            if turn % 2 == 0 and not workload.cold:
                tries.extend(
                    (
                        f"{peer.name}/{c}",
                        lambda p=peer, c=c: p.map(workload.plain, workload.items, c),
                    )
                    for c in chunks
                )
        for name, attempt in tries:
            if sum(times.get(name, ())) > ENOUGH:
                continue
            taken: list[float] = []
            with _timed(taken):
                attempt()
                if workload.cold and name not in ("loop", "procession"):
                    next(peer for peer in contestants if peer.name == name).close()
            if workload.cold:
                procession.shutdown()
            if turn or workload.slow or taken[0] > ENOUGH:  # the first round warms up
                times.setdefault(name, []).extend(taken)
    return {name: statistics.median(each) for name, each in times.items()}


def _mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def report(results: dict[str, dict[str, float]], contestants: list[Peer]) -> None:
    """Print a row per workload and the two means."""
    regrets: list[float] = []
    gains: dict[str, list[float]] = {peer.name: [] for peer in contestants}
    print(f"{'workload':28} {'loop':>9} {'ours':>9} {'best tuned peer':>28} {'regret':>7}")
    for name, medians in results.items():
        others = {k: v for k, v in medians.items() if k not in ("loop", "procession")}
        best = min(others, key=others.__getitem__)
        ours = medians["procession"]
        regret = ours / (min(medians["loop"], others[best]) + 0.2e-3)
        regrets.append(regret)
        for peer in contestants:
            gains[peer.name].append(medians[peer.name] / ours)
        print(
            f"{name:28} {medians['loop'] * 1e3:7.2f}ms {ours * 1e3:7.2f}ms "
            f"{best:>19}{others[best] * 1e3:7.2f}ms {regret:7.2f}"
        )
    print(f"\nregret: geometric mean {_mean(regrets):.2f}, worst {max(regrets):.2f}")
    print("times faster than a peer's defaults (geometric mean over the workloads):")
    for name, each in gains.items():
        print(f"  {name:20} {_mean(each):8.2f}   {' '.join(f'{gain:.1f}' for gain in each)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    contestants = peers()
    results = {}
    for workload in w.workloads():
        if options.only in workload.name:
            results[workload.name] = run(workload, options.rounds, contestants)
            print(f"measured: {workload.name}", file=sys.stderr)
    for peer in contestants:
        peer.close()
    report(results, contestants)


if __name__ == "__main__":
    main()
