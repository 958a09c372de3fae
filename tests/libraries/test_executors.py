"""`Pool` wherever a library takes an executor, or a pool with a `map`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from procession import Pool, parallel


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Two workers for the module's tests."""
    with Pool(2) as pool:
        yield pool


def square(x: float) -> float:
    """What the libraries call."""
    return float(x) ** 2


def bowl(x: Any) -> float:
    """A function with its least value, 0, at 1."""
    return float(np.sum((np.asarray(x) - 1.0) ** 2))


def log_probability(x: Any) -> float:
    """A normal distribution's, up to a constant."""
    return -0.5 * float(np.sum(np.asarray(x) ** 2))


def where(_: object) -> int:
    """The process that runs it."""
    return os.getpid()


def test_asyncio(pool: Pool) -> None:
    """`run_in_executor` awaits calls in workers."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        calls = (loop.run_in_executor(pool, square, i) for i in range(5))
        return list(await asyncio.gather(*calls))

    assert asyncio.run(main()) == [0.0, 1.0, 4.0, 9.0, 16.0]


def test_dask(pool: Pool) -> None:
    """dask's scheduler of processes takes the pool, and as many tasks at once as it has workers."""
    dask = pytest.importorskip("dask")
    values = [dask.delayed(square)(i) for i in range(6)]
    total = dask.delayed(sum)(values)
    assert total.compute(scheduler="processes", pool=pool) == 55.0
    places = [dask.delayed(where)(i) for i in range(4)]
    assert os.getpid() not in dask.compute(*places, scheduler="processes", pool=pool)


@pytest.mark.parametrize("maps", ["pool", "function"])
def test_scipy(pool: Pool, maps: str) -> None:
    """scipy's ``workers=`` takes `Pool.map`; `f.map` is the faster one where items are small."""
    optimize = pytest.importorskip("scipy.optimize")

    def by_function(function: Callable[[Any], float], items: Iterable[Any]) -> list[float]:
        return parallel(workers=2)(function).map(items)

    found = optimize.differential_evolution(
        bowl,
        [(-5, 5)] * 2,
        workers=pool.map if maps == "pool" else by_function,
        updating="deferred",
        maxiter=20,
        seed=1,
        polish=False,
    )
    assert found.fun < 0.1


def test_emcee(pool: Pool) -> None:
    """emcee's sampler evaluates its walkers in workers."""
    emcee = pytest.importorskip("emcee")
    start = np.random.default_rng(1).normal(size=(8, 2))
    sampler = emcee.EnsembleSampler(8, 2, log_probability, pool=pool)
    sampler.run_mcmc(start, 5)
    assert sampler.get_chain().shape == (5, 8, 2)


def test_optuna(pool: Pool) -> None:
    """optuna's trials are asked for here, run in workers, and told here."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trials = [study.ask({"x": optuna.distributions.FloatDistribution(-1, 1)}) for _ in range(6)]
    for trial, value in zip(trials, pool.map(square, [t.params["x"] for t in trials]), strict=True):
        study.tell(trial, value)
    assert study.best_value == min(trial.value for trial in study.trials)


def test_adaptive(pool: Pool) -> None:
    """adaptive's runner takes the pool; ``ntasks=`` says how many points run at once."""
    adaptive = pytest.importorskip("adaptive")
    learner = adaptive.Learner1D(square, bounds=(-1, 1))
    adaptive.BlockingRunner(
        learner, npoints_goal=9, executor=pool, ntasks=2, shutdown_executor=False
    )
    assert learner.npoints >= 9


def quiet() -> None:
    """An initializer that does nothing."""


def test_tqdm() -> None:
    """tqdm's executor map shows progress over a `Pool`."""
    concurrent = pytest.importorskip("tqdm.contrib.concurrent")
    done = concurrent._executor_map(
        Pool, square, [1, 2, 3], max_workers=2, disable=True, _initializer=quiet, _initargs=()
    )
    assert done == [1.0, 4.0, 9.0]


def test_tqdms_lock() -> None:
    """The lock that tqdm hands to an initializer belongs to its process: the error says so."""
    concurrent = pytest.importorskip("tqdm.contrib.concurrent")
    with pytest.raises(Exception, match="initializer") as caught:
        concurrent._executor_map(Pool, square, [1, 2, 3], max_workers=2, disable=True)
    said = f"{caught.value} {caught.value.__cause__}"
    assert "lock" in said.lower()
