"""The crash matrix on clusters: an item fails in every way there, and costs no other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.test_crash_matrix import HERE, THERE, crash

pytestmark = pytest.mark.usefixtures("dask_cluster", "ray_cluster")  # before what is left is noted


@pytest.mark.parametrize(("stage", "how"), HERE + THERE)
def test_only_the_bad_item_fails(far: dict[str, Any], stage: str, how: str) -> None:
    """Only the bad item fails, and says why, as in Procession's own workers here."""
    crash({**far, "workers": 2}, stage, how, exact=True)


@pytest.mark.parametrize(("stage", "how"), [("run", "SIGKILL"), ("unpickle in", "os._exit")])
def test_dask_in_this_process(stage: str, how: str) -> None:
    """The same on a cluster in threads of this process."""
    pytest.importorskip("distributed")
    crash({"backend": "dask", "workers": 2}, stage, how, exact=True)
