"""A fork server that is killed takes no worker with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from procession import WorkerDied, isolated, parallel
from procession.process.start import fork_server as server
from tests.process.jobs import die, is_alive
from tests.process.pool import ending_items as items
from tests.support.waiting import wait_for_file, wait_until

pytestmark = pytest.mark.usefixtures("pools_end")


def test_workers_outlive_their_fork_server(tmp_path: Path) -> None:
    """What they run is finished, they are used again, and their deaths are noticed all the same."""
    go = str(tmp_path / "go")
    f = parallel(workers=1, inline=False)(items.wait_for)
    future, alone = f.submit(go), isolated(items.wait_for).submit(go)
    wait_for_file(go + ".begun")
    worker = parallel(workers=2, inline=False)(items.who).submit().result()
    pid = server.current().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    Path(go).touch()
    assert (future.result(), alone.result()) == (go, go)
    g = parallel(workers=2, inline=False)
    assert g(items.who).submit().result() == worker
    with pytest.raises(WorkerDied):
        g(die).submit("SIGKILL").result()
    assert g(items.who).submit().result() != worker


def test_a_server_that_starts_many_loads_once_what_items_need() -> None:
    """Else each of many short-lived workers would: there is no pause in which it is idle."""
    server.stop_all()
    f = parallel(workers=1, inline=False, max_tasks_per_worker=1, context="forkserver")
    loaded = [f(items.has_loaded).submit("cloudpickle").result() for _ in range(8)]
    assert not loaded[0]
    assert loaded[-1]
