"""The workloads of `benchmarks/maps.py`: functions that every contestant can import."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from procession import parallel


class Workload(NamedTuple):
    name: str
    plain: Callable[[Any], Any]
    decorated: Any
    items: list[Any]
    cold: bool = False
    slow: bool = False


def busy(seconds: float) -> None:
    """Compute for so long, as code that holds the GIL does."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def nothing(item: Any) -> None:
    pass


def short(item: Any) -> float:
    busy(50e-6)
    return 0.5


def medium(item: Any) -> float:
    busy(5e-3)
    return 0.5


def given(seconds: float) -> float:
    busy(seconds)
    return seconds


def long(item: Any) -> float:
    busy(0.1)
    return 0.5


def size(record: dict[str, str]) -> int:
    return sum(map(len, record.values()))


def workloads() -> list[Workload]:
    records = [{f"field{j}": f"{i:08d}" * 11 for j in range(10)} for i in range(10_000)]
    return [
        Workload("no-op x 100,000", nothing, parallel(nothing), list(range(100_000))),
        Workload("50 us x 2,000", short, parallel(short), list(range(2_000))),
        Workload("5 ms x 60", medium, parallel(medium), list(range(60))),
        Workload("1 s + 200 x 5 ms", given, parallel(given), [1.0] + [5e-3] * 200, slow=True),
        Workload("100 ms x 8", long, parallel(long), list(range(8)), slow=True),
        Workload("3 x nothing, cold", nothing, parallel(nothing), [1, 2, 3], cold=True),
        Workload("10,000 dicts of 1 kB", size, parallel(size), records),
    ]
