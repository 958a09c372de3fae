"""The crash matrix on Dask: an item fails in every way there, and costs no other."""

from __future__ import annotations

import pytest

from tests.chaos.test_crash_matrix import HERE, THERE, crash
from tests.support.clusters import DaskProcesses

pytest.importorskip("distributed")


@pytest.mark.parametrize(("stage", "how"), HERE + THERE)
def test_dask(dask_cluster: DaskProcesses, stage: str, how: str) -> None:
    """Only the bad item fails, and says why, as in Procession's own workers here."""
    options = {"backend": "dask", "address": dask_cluster.address, "workers": 2}
    crash(options, stage, how, exact=True)


@pytest.mark.parametrize(("stage", "how"), [("run", "SIGKILL"), ("unpickle in", "os._exit")])
def test_dask_in_this_process(stage: str, how: str) -> None:
    """The same on a cluster in threads of this process."""
    crash({"backend": "dask", "workers": 2}, stage, how, exact=True)
