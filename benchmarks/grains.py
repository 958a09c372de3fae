"""What an item costs, by its kind and by its length: `python benchmarks/grains.py`.

Two grids beside the plain loop and `multiprocessing.Pool`, whose chunk size is tuned by hand:

* by kind: items of no work, forced through the pool (``inline=False``); microseconds per item;
* by length: items of 3 us to 2 ms by the defaults; time / (better of loop and tuned Pool + 0.2 ms).

All contestants run in turn, round after round, and the minimum of each counts. ``--save FILE.svg``
draws both grids (with matplotlib, of the dependency group ``bench``).
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import procession
from procession import parallel

WORKERS = procession.usable_cpus()


def same(item: Any) -> Any:
    return item


def length(item: Any) -> int:
    return len(item)


def count(turns: int) -> int:
    total = 0
    for turn in range(turns):
        total += turn * turn
    return total


def kinds() -> dict[str, tuple[Callable[[Any], Any], list[Any]]]:
    """Items by kind, with the function that they go through."""
    grid: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
        "numbers": (same, list(range(200_000))),
        "texts": (same, [str(i) for i in range(100_000)]),
        "dicts of 100 B": (same, [{"k": "x" * 80, "i": i} for i in range(30_000)]),
        "dicts of 1 kB": (length, [{"k": f"{i:01000d}", "i": i} for i in range(10_000)]),
    }
    try:
        import numpy
    except ImportError:
        return grid
    arrays = [numpy.full(128, float(i)) for i in range(10_000)]
    grid["arrays of 1 kB in"] = (length, arrays)
    grid["arrays of 1 kB both ways"] = (same, arrays)
    return grid


def turns_for(seconds: float) -> int:
    """How many turns of `count` take so long here."""
    turns = 8
    while True:
        begin = time.process_time()
        for _ in range(100):
            count(turns)
        taken = (time.process_time() - begin) / 100
        if taken > seconds / 2:
            return max(1, round(turns * seconds / taken))
        turns *= 2


def fastest(attempts: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least seconds of each attempt."""
    best = dict.fromkeys(attempts, math.inf)
    for _ in range(rounds):
        for name, attempt in attempts.items():
            begin = time.perf_counter()
            attempt()
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


def by_kind(pool: Any, rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds per item that is forced through a pool."""
    found: dict[str, dict[str, float]] = {}
    for name, (function, items) in kinds().items():
        forced = parallel(workers=WORKERS, inline=False)(function)
        chunk = max(1, len(items) // (8 * WORKERS))
        best = fastest(
            {
                "procession": lambda f=forced, xs=items: f.map(xs),  # type: ignore[misc]
                "tuned Pool": lambda f=function, xs=items, c=chunk: pool.map(f, xs, c),  # type: ignore[misc]
            },
            rounds,
        )
        found[name] = {who: seconds / len(items) * 1e6 for who, seconds in best.items()}
    return found


def by_length(pool: Any, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a map by the defaults."""
    found: dict[str, dict[str, float]] = {}
    decorated = parallel(workers=WORKERS)(count)
    for seconds, number in (
        (3e-6, 30_000),
        (10e-6, 10_000),
        (50e-6, 2_000),
        (300e-6, 500),
        (2e-3, 100),
    ):
        items = [turns_for(seconds)] * number
        chunk = max(1, number // (4 * WORKERS))
        best = fastest(
            {
                "loop": lambda xs=items: [count(x) for x in xs],  # type: ignore[misc]
                "procession": lambda xs=items: decorated.map(xs),  # type: ignore[misc]
                "tuned Pool": lambda xs=items, c=chunk: pool.map(count, xs, c),  # type: ignore[misc]
            },
            rounds,
        )
        found[f"{seconds * 1e6:g} us x {number:,}"] = {w: s * 1e3 for w, s in best.items()}
    return found


def draw(
    path: str, kinds: dict[str, dict[str, float]], lengths: dict[str, dict[str, float]]
) -> None:
    """Both grids as bars, in one picture."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "procession"
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
    colours = {"procession": "#2a6fdb", "tuned Pool": "#9aa5b1", "loop": "#d8a657"}
    for axes, grid, title in (
        (left, kinds, "one item forced through the pool, µs"),
        (right, lengths, "a map by the defaults, ms"),
    ):
        contestants = list(next(iter(grid.values())))
        height = 0.8 / len(contestants)
        for at, who in enumerate(contestants):
            places = [row + at * height for row in range(len(grid))]
            axes.barh(
                places, [each[who] for each in grid.values()], height, label=who, color=colours[who]
            )
        axes.set_yticks([row + 0.4 - height / 2 for row in range(len(grid))], list(grid))
        axes.invert_yaxis()
        axes.set_title(title)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", default="")
    options = parser.parse_args()
    with multiprocessing.Pool(WORKERS) as pool:
        pool.map(same, range(WORKERS))
        parallel(workers=WORKERS, inline=False)(same).map(range(100))
        kinds = by_kind(pool, options.rounds)
        lengths = by_length(pool, options.rounds)
    print(f"{'forced through the pool':26} {'ours':>9} {'tuned Pool':>11}   ratio")
    for name, best in kinds.items():
        ours, theirs = best["procession"], best["tuned Pool"]
        print(f"{name:26} {ours:7.2f}us {theirs:9.2f}us {ours / theirs:7.2f}")
    print(f"\n{'by the defaults':26} {'loop':>9} {'ours':>9} {'tuned Pool':>11}  regret")
    regrets: list[float] = []
    for name, best in lengths.items():
        regret = best["procession"] / (min(best["loop"], best["tuned Pool"]) + 0.2)
        regrets.append(regret)
        print(
            f"{name:26} {best['loop']:7.1f}ms {best['procession']:7.1f}ms "
            f"{best['tuned Pool']:9.1f}ms {regret:7.2f}"
        )
    mean = math.exp(sum(map(math.log, regrets)) / len(regrets))
    print(f"regret: geometric mean {mean:.2f}, worst {max(regrets):.2f}")
    if options.save:
        draw(options.save, kinds, lengths)


if __name__ == "__main__":
    main()
