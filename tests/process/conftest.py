"""Pools of our own workers, one per start method and test module; all ended after each module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procession.backends.process import ProcessBackend
from procession.process.pool import at_exit as cleanup
from procession.process.pool.worker_starts import WorkerSpec

CONTEXTS = ("fork", "spawn", "forkserver", "loky")


@pytest.fixture(autouse=True, scope="module")
def _all_ended(_nothing_left_behind: Any) -> Iterator[None]:
    yield
    cleanup.shutdown(kill=True)


@pytest.fixture(scope="module", params=CONTEXTS)
def backend(request: pytest.FixtureRequest) -> Iterator[ProcessBackend]:
    """A pool of two workers, for each start method."""
    pool = ProcessBackend(WorkerSpec(context=request.param), 2)
    yield pool
    pool.close(kill=True)


@pytest.fixture
def make() -> Iterator[Callable[..., ProcessBackend]]:
    """Makes pools that are ended after the test; from the fork server unless told otherwise."""
    made: list[ProcessBackend] = []

    def make_backend(workers: int = 1, idle: float = 30.0, **spec: Any) -> ProcessBackend:
        spec.setdefault("context", "forkserver")
        made.append(ProcessBackend(WorkerSpec(**spec), workers, idle=idle))
        return made[-1]

    yield make_backend
    for pool in made:
        pool.close(kill=True)
