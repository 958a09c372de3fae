"""The interpreter's end with work in flight, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.jobs import is_alive, poll
from tests.support.project import ROOT

HEAD = """
import sys; sys.path[:0] = [{root!r}, {source!r}]
from tests.process.jobs import *
from procession.backends.process import ProcessBackend
from procession.process.pool.worker_starts import WorkerSpec
backend = ProcessBackend(WorkerSpec(context={context!r}), 2)
"""


@pytest.fixture(autouse=True)
def _none_stays() -> Iterator[None]:
    """A program that hangs must not outlive its test."""
    yield
    while _programs:
        program = _programs.pop()
        if program.poll() is None:
            program.kill()
            program.communicate()


_programs: list[subprocess.Popen[str]] = []


def _program(code: str, context: str = "forkserver") -> subprocess.Popen[str]:
    head = HEAD.format(root=str(ROOT), source=str(ROOT / "src"), context=context)
    program = subprocess.Popen(
        [sys.executable, "-c", head + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _programs.append(program)
    return program


def test_started_work_finishes_at_exit() -> None:
    """What was started is finished, also when it still waited for a worker."""
    code = """
class Print(Told):
    def ended(self, chunk, end):
        super().ended(chunk, end)
        print(end.kind, self.values, flush=True)
for n in range(4):
    told = Print()
    backend.start(Chunk(job_of(double), [Item(0, n, dumps(n))], told))
"""
    out, err = _program(code).communicate(timeout=60)
    assert err == ""
    assert sorted(out.splitlines()) == [f"done {{0: {2 * n}}}" for n in range(4)]


def test_unhandled_exception() -> None:
    """The traceback is the program's; the exit code too."""
    program = _program("run(backend, job_of(double), [1]); raise KeyError('mine')")
    _, err = program.communicate(timeout=60)
    assert program.returncode == 1
    assert err.strip().endswith("KeyError: 'mine'")


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver", "loky"])
def test_ctrl_c_is_quiet(context: str) -> None:
    """SIGINT to the whole group during long work: one traceback, the caller's; no worker stays."""
    code = """
chunks = [begin(backend, job_of(nap), [60]) for _ in range(2)]
for chunk, _ in chunks:
    poll(lambda: chunk.handle.worker and chunk.handle.worker.running(), "never ran")
try:
    print(*(chunk.handle.worker.pid for chunk, _ in chunks), flush=True)
    chunks[0][1]._over.wait()
finally:
    for chunk, _ in chunks:
        backend.cancel(chunk)
"""
    program = _program(code, context)
    assert program.stdout is not None
    pids = [int(word) for word in program.stdout.readline().split()]
    os.killpg(program.pid, signal.SIGINT)
    _, err = program.communicate(timeout=30)
    assert err.count("Traceback") == 1
    assert err.strip().endswith("KeyboardInterrupt")
    poll(lambda: not any(map(is_alive, pids)), "a worker stayed")


@pytest.mark.parametrize("context", ["spawn", "forkserver", "loky"])
def test_workers_end_without_warnings(context: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker holds at its end is no leak: nothing is said of it under ``-W error``."""
    monkeypatch.setenv("PYTHONWARNINGS", "error::ResourceWarning")
    out, err = _program("print(run(backend, job_of(double), [1]).values)", context).communicate(
        timeout=60
    )
    assert (out, err) == ("{0: 2}\n", "")


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_exit_amid_a_start_is_quiet(delay: float) -> None:
    """`os._exit` at whatever moment of a worker's start: neither it nor the fork server prints."""
    code = f"begin(backend, job_of(double), [1]); time.sleep({delay}); os._exit(0)"
    assert _program(code).communicate(timeout=60) == ("", "")


def test_ctrl_c_at_exit_ends_what_runs() -> None:
    """At exit the program waits for its work; Ctrl-C ends that."""
    code = """
chunk, _ = begin(backend, job_of(nap), [600])
poll(lambda: chunk.handle.worker and chunk.handle.worker.running(), "never ran")
print(chunk.handle.worker.pid, flush=True)
"""
    program = _program(code)
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    time.sleep(0.2)
    assert program.poll() is None
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=30)
    poll(lambda: not is_alive(pid), "the worker stayed")


def test_interrupts_at_any_instant_lose_nothing() -> None:
    """Hundreds of Ctrl-C during short calls: every chunk has its end, and the pool goes on."""
    code = """
from tests.support.striking import Strikes
job = job_of(double)
run(backend, job, [0])
rest = []
def call():
    told = Told()
    chunk = Chunk(job, [Item(0, 1, dumps(1))], told)
    backend.start(chunk)
    rest.append(told)
    backend.attend(chunk)
    told.wait()
strikes = Strikes(300)
while strikes.go_on:
    strikes.attempt(call)
ends = [told.wait().kind for told in rest]
assert set(ends) <= {"done", "died", "cancelled"}, set(ends)
for _ in range(5):
    assert run(backend, job, [4]).wait().kind in ("done", "died")
print("well", flush=True)
"""
    out, err = _program(code).communicate(timeout=120)
    assert out == "well\n", err  # of strikes in finalizers Python says that it ignores them


AMID_START = """
import sys; sys.path[:0] = [{root!r}, {source!r}]
import atexit, threading, time
from procession import parallel_map
ending = threading.Event()
sys.amid = False
def trace(frame, event, _):
    if frame.f_code.co_name == "_execute" and not sys.amid:
        sys.amid = True
        ending.wait()
        time.sleep(0.3)  # far longer than an interpreter takes to end
threading.settrace(trace)
def wait(x):
    while not sys.amid:
        time.sleep(0.005)
    return x
assert parallel_map(wait)([1, 2]) == [1, 2]
atexit.register(ending.set)
"""


def test_an_end_while_the_fork_server_is_being_set_up(tmp_path: Path) -> None:
    """A program that ends while the helper thread makes the first pool leaves nothing behind."""
    code = AMID_START.format(root=str(ROOT), source=str(ROOT / "src"))
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert os.listdir(tmp_path) == []
