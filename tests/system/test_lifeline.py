"""Workers die with their parent, however it ends and whatever they are doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.process.jobs import is_alive, poll
from tests.support.project import ROOT

START = """
import sys; sys.path[:0] = [{root!r}, {source!r}]
from tests.process.jobs import *
from procession.backends.process import ProcessBackend
from procession.process.pool.worker_starts import WorkerSpec
backend = ProcessBackend(WorkerSpec(context={context!r}), 2)
chunks = [begin(backend, job_of(hold_the_gil), [10**11])[0], begin(backend, job_of(spin), [0])[0]]
for chunk in chunks:
    poll(lambda: chunk.handle.worker and chunk.handle.worker.running(), "never ran")
print(*(chunk.handle.worker.pid for chunk in chunks), flush=True)
"""

FOREIGN = """
import sys; sys.path[:0] = [{root!r}, {source!r}]
from tests.process.jobs import *
from procession.system import lifeline
{imports}
lifeline.acquire()
executor = {executor}(2, initializer=lifeline.arm, initargs=(lifeline.ticket(),))
pids = list(executor.map(pid, range(2)))
executor.submit(hold_the_gil, 10**11)
executor.submit(spin, 0)
import psutil
busy = lambda: all(c.cpu_percent(0.05) > 5 for c in map(psutil.Process, executor._processes))
poll(busy, "never busy")
print(*executor._processes, flush=True)
"""


def _start(code: str, context: str = "") -> tuple[subprocess.Popen[str], list[int]]:
    code = code.format(root=str(ROOT), source=str(ROOT / "src"), context=context)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    return parent, pids


def _all_end(parent: subprocess.Popen[str], pids: list[int]) -> None:
    try:
        poll(lambda: not any(map(is_alive, pids)), "workers outlived their parent")
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        assert parent.stdout is not None
        parent.stdout.close()


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver", "loky"])
def test_parent_is_killed(context: str) -> None:
    """After SIGKILL of the parent, workers that hold the GIL or spin are gone."""
    parent, pids = _start(START + "time.sleep(600)", context)
    parent.kill()
    parent.wait()
    _all_end(parent, pids)


def test_parent_leaves_by_os_exit() -> None:
    """os._exit of the parent runs no handler; the workers end all the same."""
    parent, pids = _start(START + "os._exit(3)", "forkserver")
    assert parent.wait() == 3
    _all_end(parent, pids)


def test_a_forked_child_of_the_parent_does_not_keep_workers_alive() -> None:
    """A child that the user forked holds no end of the lifeline."""
    code = START.replace(
        "print(", "if os.fork() == 0: os.close(1); time.sleep(5); os._exit(0)\nprint("
    )
    parent, pids = _start(code + "time.sleep(600)", "forkserver")
    parent.kill()
    parent.wait()
    _all_end(parent, pids)


@pytest.mark.parametrize(
    ("imports", "executor"),
    [
        ("from loky import ProcessPoolExecutor", "ProcessPoolExecutor"),
        ("from concurrent.futures import ProcessPoolExecutor", "ProcessPoolExecutor"),
    ],
    ids=["loky", "stdlib"],
)
def test_foreign_workers(imports: str, executor: str) -> None:
    """loky's and the standard library's workers can be tied to the parent by an initializer."""
    code = FOREIGN.replace("{imports}", imports).replace("{executor}", executor)
    parent, pids = _start(code + "time.sleep(600)")
    parent.kill()
    parent.wait()
    _all_end(parent, pids)
