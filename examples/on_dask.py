"""The same program on a Dask cluster: `backend="dask"` and an address, and nothing else changes.

Without an address Procession starts a small cluster on this machine. The functions run in its own
workers over there, so a crash costs its item and not the cluster's worker.

    python examples/on_dask.py [tcp://scheduler:8786]
"""

import os
import random
import sys

import procession
from procession import parallel


@parallel(seed=20, timeout=60)
def in_circle(points: int) -> int:
    """How many random points of the unit square lie in the circle; minus one crashes."""
    if points < 0:
        os._exit(1)
    return sum(random.random() ** 2 + random.random() ** 2 <= 1.0 for _ in range(points))


def estimate() -> tuple[float, list[str]]:
    """Pi, and the errors that there were."""
    outcomes = list(in_circle.outcomes([5_000] * 10 + [-1] + [5_000] * 9))
    good = [outcome.value for outcome in outcomes if outcome.ok]
    return 4 * sum(good) / (5_000 * len(good)), [
        type(outcome.error).__name__ for outcome in outcomes if not outcome.ok
    ]


address = sys.argv[1] if len(sys.argv) > 1 else None

here = estimate()
with procession.options(backend="dask", address=address, workers=2):
    there = estimate()

assert here == there, "seed= gives the same numbers anywhere"
print(f"pi is about {there[0]:.3f}, here and there; item 10 failed with {there[1][0]}")
