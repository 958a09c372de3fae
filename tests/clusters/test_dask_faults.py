"""What happens on Dask when the caller ends, and when workers come and go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clusters import DaskProcesses, end_with_far_code

pytest.importorskip("distributed")

CALLER = """
import sys
from pathlib import Path
from tests.clusters import functions as f

f.hold_on(range(2), Path(sys.argv[1]))
"""

ADAPTIVE = """
import time
import distributed, procession
from tests.clusters import functions as f

if __name__ == "__main__":
    cluster = distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0")
    cluster.adapt(minimum=0, maximum=2, interval="100ms", wait_count=1)
    with distributed.Client(cluster) as client:
        square = f.square_of_a_millisecond.with_options(backend=client)
        print(sum(square(range(500))))
        while client.scheduler_info()["workers"]:
            time.sleep(0.05)
        print(sum(f.length.with_options(backend=client)(range(5), bytes(100_000))))
        procession.shutdown()
    cluster.close()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
def test_the_caller_ends(dask_cluster: DaskProcesses, tmp_path: Path, how: signal.Signals) -> None:
    """The code that runs far away ends with its caller, also amid a call in C.

    The program knows nothing of the cluster; its environment does.
    """
    program = [sys.executable, "-c", CALLER, str(tmp_path)]
    where = {"PROCESSION_BACKEND": "dask", "PROCESSION_ADDRESS": dask_cluster.address}
    own = {**os.environ, **where}
    with subprocess.Popen(program, stderr=subprocess.DEVNULL, env=own) as caller:
        end_with_far_code(caller, how, tmp_path)


def test_workers_come_and_go(tmp_path: Path) -> None:
    """An adaptive cluster goes from no worker to two, back to none, and up again.

    Also if the second call must first send to its workers what goes to every item.
    """
    program = [sys.executable, "-W", "ignore", "-c", ADAPTIVE]
    own = {**os.environ, "DASK_TEMPORARY_DIRECTORY": str(tmp_path)}
    ran = subprocess.run(program, capture_output=True, text=True, timeout=120, env=own)
    expected = sum(x * x for x in range(500)), 5 * 100_000
    assert ran.stdout.split() == list(map(str, expected)), ran.stderr
