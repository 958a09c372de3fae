"""Executors of others as backends: what one leaves in this process must not reach another."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance import crossing as c

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
    assert "procession.process.server" not in ran.stdout
