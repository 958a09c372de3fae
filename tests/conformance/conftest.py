"""Each module of the suite runs once per place, with that place's pool kept warm meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import procession
from tests.conformance.places import ADDRESSES, PLACES, PROCESSES, Place
from tests.support.asked import asked_for
from tests.support.clusters import running


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On clusters runs what has a place there; all else runs with the local backends."""
    here = Path(__file__).parent
    left = [item for item in items if asked_for() and here in item.path.parents and not _far(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _far(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    values = callspec.params.values() if callspec is not None else ()
    return any(isinstance(value, Place) and value.cluster for value in values)


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
