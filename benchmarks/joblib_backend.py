"""joblib's own workers (loky) and Procession's, under the same calls of joblib and scikit-learn.

    python benchmarks/joblib_backend.py

Each case runs with both backends in turn, several times, and the minima are compared. A ratio above
1 says that Procession is faster.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed

import procession.joblib

procession.joblib.register()
warnings.filterwarnings("ignore")

BACKENDS = ("loky", "procession")
LARGE = np.ones(25_000_000)

COLD = """
import time; began = time.perf_counter()
import joblib, procession.joblib
procession.joblib.register()
with joblib.parallel_config(backend={backend!r}, n_jobs=2):
    joblib.Parallel()(joblib.delayed(abs)(-i) for i in range(4))
print(time.perf_counter() - began)
"""


def fit(seed: int) -> float:
    """A small fit."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, 20))
    return float(np.linalg.lstsq(x, x @ np.arange(20.0), rcond=None)[0].sum())


def total(array: Any, index: int) -> float:
    """A task on a large array."""
    return float(array[index::20].sum())


def die() -> None:
    """Ends its worker."""
    os.kill(os.getpid(), signal.SIGKILL)


def small_fits() -> None:
    """100 small fits."""
    Parallel()(delayed(fit)(seed) for seed in range(100))


def no_ops() -> None:
    """2,000 calls that do nothing."""
    Parallel()(delayed(abs)(i) for i in range(2000))


def large_array() -> None:
    """200 MB, used by 20 tasks."""
    Parallel()(delayed(total)(LARGE, index) for index in range(20))


def grid() -> None:
    """A grid search of scikit-learn's."""
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    x, y = make_classification(n_samples=2000, n_features=30, random_state=0)
    GridSearchCV(LogisticRegression(max_iter=200), {"C": [0.01, 0.1, 1, 10]}, cv=5).fit(x, y)


def kill_a_worker() -> None:
    """A call one of whose workers is killed."""
    with suppress(Exception):
        Parallel()([delayed(die)(), delayed(abs)(1)])


def small_call() -> None:
    """Four calls that do nothing."""
    Parallel()(delayed(abs)(i) for i in range(4))


CASES: dict[str, tuple[Callable[[], None], float]] = {
    "100 small fits, warm": (small_fits, 1.0),
    "2,000 no-ops, warm": (no_ops, 1.0),
    "a grid search, warm": (grid, 1.0),
    "200 MB to 20 tasks": (large_array, 1.3),
    "the call after a kill": (small_call, 2.0),
}


def timed(backend: str, call: Callable[[], None]) -> float:
    """Seconds of one call with a backend."""
    with joblib.parallel_config(backend=backend, n_jobs=2):
        if call is small_call:
            kill_a_worker()
        began = time.perf_counter()
        call()
        return time.perf_counter() - began


def cold(backend: str) -> float:
    """Seconds of a new program's first call, imports included."""
    done = subprocess.run(
        [sys.executable, "-c", COLD.format(backend=backend)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def compare(name: str, bar: float, rounds: int, measure: Callable[[str], float]) -> None:
    """Run both in turn and print the ratio of the minima."""
    times: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    for _ in range(rounds):
        for backend in BACKENDS:
            times[backend].append(measure(backend))
    theirs, ours = (min(times[backend]) for backend in BACKENDS)
    print(
        f"{name:24} loky {theirs * 1000:8.1f} ms  procession {ours * 1000:8.1f} ms  "
        f"ratio {theirs / ours:5.2f}  (bar {bar})"
    )


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    compare("cold, imports included", 1.2, rounds, cold)
    for name, (call, bar) in CASES.items():
        for backend in BACKENDS:
            timed(backend, call)  # warm
        compare(name, bar, rounds, lambda backend, call=call: timed(backend, call))


if __name__ == "__main__":
    main()
