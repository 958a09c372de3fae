"""Each module of the suite runs once per place, with that place's pool kept warm meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import procession
from tests.conformance.places import ADDRESSES, PLACES, PROCESSES, Place
from tests.support.clusters import asked_for, running


@pytest.fixture(scope="session", autouse=True)
def _clusters() -> Iterator[None]:
    """The clusters that this run asks for, started once."""
    if not asked_for():
        yield
        return
    with running() as clusters:
        ADDRESSES.update({name: clusters.address(name) for name in asked_for()})
        yield


@pytest.fixture(scope="module", params=PLACES, ids=str)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A backend and start context; its pool ends with the last test that used it."""
    yield request.param
    procession.shutdown()


@pytest.fixture(scope="module", params=PROCESSES, ids=str)
def processes(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place whose items run in other processes."""
    yield request.param
    procession.shutdown()
