"""What checking costs: `procession.pickling.pickler.dumps` beside plain pickle and cloudpickle.

    python benchmarks/serialisation.py

Prints the ratio of medians for each case; the two are timed in turn. The bar is 1.2.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import thread_time
from typing import Any

import cloudpickle
import numpy as np

from procession.pickling.pickler import dumps

BAR = 1.2
ROUNDS = 101
LEAST = 0.002  # seconds per timing; less is mostly noise


@dataclass
class Point:
    x: int
    y: float
    tags: list[str] = field(default_factory=list)


def plain(value: Any) -> bytes:
    return pickle.dumps(value, 5)


def plain_with_buffers(value: Any) -> bytes:
    return pickle.dumps(value, 5, buffer_callback=[].append)


def checked_with_buffers(value: Any) -> bytes:
    return dumps(value, "strict", [])


def by_cloudpickle(value: Any) -> bytes:
    return cloudpickle.dumps(value, 5)


def one_by_one(dump: Callable[[Any], bytes]) -> Callable[[Any], None]:
    def each(values: list[Any]) -> None:
        for value in values:
            dump(value)

    return each


def ratio(ours: Callable[[Any], Any], theirs: Callable[[Any], Any], value: Any) -> float:
    """Median processor time of ours over theirs, in turn, so that a busy machine slows both."""
    warm = min(timed(theirs, value, 1) for _ in range(5))
    repeats = max(1, int(LEAST / warm))
    times: dict[Any, list[float]] = {ours: [], theirs: []}
    for turn in range(ROUNDS + 2):
        for dump in (ours, theirs) if turn % 2 else (theirs, ours):
            times[dump].append(timed(dump, value, repeats))
    return median(times[ours][2:]) / median(times[theirs][2:])


def timed(dump: Callable[[Any], Any], value: Any, repeats: int) -> float:
    begin = thread_time()
    for _ in range(repeats):
        dump(value)
    return thread_time() - begin


def main() -> int:
    ints = list(range(1000))
    rows = [{"id": i, "name": f"row {i}", "value": i * 1.5} for i in range(10_000)]
    array = np.random.default_rng(0).random(10_000_000 // 8)
    points = [Point(i, i * 0.5, ["a"]) for i in range(2000)]
    cases: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any], Any]] = [
        ("1,000 ints, one list", dumps, plain, ints),
        ("1,000 ints, one by one", one_by_one(dumps), one_by_one(plain), ints),
        ("10,000 dicts", dumps, plain, rows),
        ("10 MB array", dumps, plain, array),
        ("10 MB array, out of band", checked_with_buffers, plain_with_buffers, array),
        ("2,000 dataclasses of __main__ / cloudpickle", dumps, by_cloudpickle, points),
    ]
    worst = 0.0
    for name, ours, theirs, value in cases:
        measured = ratio(ours, theirs, value)
        bar = "" if name.endswith("out of band") else f"(bar {BAR})"
        print(f"{name:45} {measured:6.2f} {bar}")
        worst = max(worst, measured) if bar else worst
    return 0 if worst <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
