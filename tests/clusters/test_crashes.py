"""The crash matrix on clusters: an item fails in every way there, and costs no other."""

from __future__ import annotations

import importlib.util

import pytest

from procession.configuration import OptionValues
from tests.chaos.test_crash_matrix import HERE, THERE, crash
from tests.support.asked import PLACES, asked_for
from tests.support.clusters import Running

STARTED = ("dask_cluster", "nanny_cluster", "ray_cluster")  # before what is left is noted
pytestmark = pytest.mark.usefixtures(*STARTED)


@pytest.fixture(scope="module", params=asked_for() or PLACES)
def place(request: pytest.FixtureRequest, clusters: Running) -> OptionValues:
    """Each place on a cluster, as options."""
    backend = request.param.partition("-")[0]
    if importlib.util.find_spec("distributed" if backend == "dask" else "ray") is None:
        pytest.skip(f"{backend} is not installed")
    return {"backend": backend, "address": clusters.address(request.param), "workers": 2}


@pytest.mark.parametrize(("stage", "how"), HERE + THERE)
def test_only_the_bad_item_fails(place: OptionValues, stage: str, how: str) -> None:
    """Only the bad item fails, and says why, as in Procession's own workers here."""
    crash({**place}, stage, how, exact=True)
