"""Executors of others as backends: what one leaves in this process must not reach another."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import procession
from procession import parallel
from tests.chaos.jobs import die
from tests.conformance import crossing as c
from tests.support.waiting import wait_until

SHUT_DOWN = """
import os, sys
from procession import parallel, shutdown
double = parallel(backend="stdlib", context="forkserver")(abs)
assert double.map([-1, -2]) == [1, 2]
shutdown()
children = open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()
for pid in children:
    print(open(f"/proc/{pid}/cmdline").read().replace("\\0", " "))
"""


def test_forked_workers_after_an_executor_of_threads(caplog: pytest.LogCaptureFixture) -> None:
    """A worker forked from a process that ran chunks itself takes over the caller's logging."""
    with ThreadPoolExecutor(1) as threads:
        assert c.log.with_options(backend=threads).map([1]) == [1]
    caplog.clear()
    with caplog.at_level("INFO"):
        assert c.log.with_options(backend="stdlib", context="fork").map([1]) == [1]
    assert caplog.text


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_shutdown_ends_the_fork_server_of_an_executor() -> None:
    """Also where no pool of our own was ever made."""
    ran = subprocess.run(
        [sys.executable, "-c", SHUT_DOWN], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "procession.process.forkserver.client" not in ran.stdout


@pytest.mark.parametrize("backend", ["loky", "stdlib"])
def test_shutdown_waits_for_what_ran_apart(backend: str) -> None:
    """After a death, the executor in which the guilty item was found is gone with the others."""
    function = parallel(die).with_options(backend=backend, workers=2, inline=False)
    for _ in range(4):
        with pytest.raises(procession.WorkerDied):
            function.map(["os._exit"] * 4)
        procession.shutdown()
        assert not [t.name for t in threading.enumerate() if t.name == "procession-ending"]


def _semaphores() -> int:
    """How many semaphores of multiprocessing or loky there are. (A list would keep them.)"""
    return sum(
        any(kind.__name__ == "SemLock" for kind in type(each).__mro__) for each in gc.get_objects()
    )


@pytest.mark.parametrize("backend", ["loky", "stdlib"])
def test_a_broken_executor_needs_no_collector(backend: str) -> None:
    """Its semaphores go with the last reference, and not in the midst of whatever runs later.

    What unregisters them refuses to run while another one is being registered (CPython's
    resource tracker), where the collector may well call it.
    """
    function = parallel(die).with_options(backend=backend, workers=2, inline=False)
    procession.shutdown()
    gc.collect()
    before = _semaphores()  # other tests' own
    gc.disable()
    try:
        with pytest.raises(procession.WorkerDied):
            function.map(["os._exit"] * 4)
        procession.shutdown()
        wait_until(lambda: _semaphores() <= before)  # its thread may be about to end
    finally:
        gc.enable()
