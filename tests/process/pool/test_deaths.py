"""A worker may die at any instant: only its own item is lost, and the pool goes on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procession.backends.process import ProcessBackend
from procession.contract import Chunk
from tests.process.jobs import (
    Told,
    begin,
    big,
    die,
    double,
    hold_the_gil,
    is_alive,
    job_of,
    length,
    pid,
    poll,
    run,
    say_and_die,
    wait_for_file,
)

Make = Callable[..., ProcessBackend]


@pytest.mark.parametrize(
    ("how", "code"),
    [("exit", 7), ("segfault", -11), ("SIGKILL", -9), ("abort", -6)],
)
def test_death_while_running_blames_the_item(backend: ProcessBackend, how: str, code: int) -> None:
    """The item that ran is blamed, those before it have replied, those after it have not."""
    told = run(backend, job_of(die), ["a", "b", how, "c"])
    end = told.wait()
    assert (end.kind, end.index) == ("died", 2)
    assert end.exitcode == code
    assert set(told.values) <= {0, 1}
    assert run(backend, job_of(double), [1, 2]).values == {0: 2, 1: 4}


def test_code_that_closes_the_channel(backend: ProcessBackend) -> None:
    """An item that closes descriptors that are not its own is blamed; nobody waits for ever."""
    end = run(backend, job_of(die), ["close everything"]).wait()
    assert (end.kind, end.index) == ("died", 0)
    assert run(backend, job_of(double), [1, 2]).values == {0: 2, 1: 4}


def test_stack_of_a_crash_comes_home(backend: ProcessBackend) -> None:
    """The end of a chunk that crashed in C code says where."""
    end = run(backend, job_of(die), ["segfault"]).wait()
    assert "Segmentation fault" in end.stack
    assert "in die" in end.stack


def test_last_of_stderr_comes_home(backend: ProcessBackend) -> None:
    """What was written to stderr just before SIGKILL is in the end."""
    end = run(backend, job_of(say_and_die), ["all is lost"]).wait()
    assert end.exitcode == -signal.SIGKILL
    assert "all is lost" in end.stack


def test_worker_killed_while_idle(backend: ProcessBackend) -> None:
    """A worker that is killed while it waits is replaced, and harms nobody."""
    victim = run(backend, job_of(pid), [0]).values[0]
    os.kill(victim, signal.SIGKILL)
    ends = []
    for _ in range(4):
        told = run(backend, job_of(double), [1])
        ends.append(told.wait())
        assert told.wait().kind in ("done", "died")
        assert told.wait().index is None
    assert ends[-1].kind == "done"


def test_worker_killed_while_it_reads(make: Make) -> None:
    """A worker killed with half a message read blames no item."""
    backend = make(1)
    victim = run(backend, job_of(pid), [0]).values[0]
    os.kill(victim, signal.SIGSTOP)
    _, told = begin(backend, job_of(length), [bytearray(8_000_000)])
    os.kill(victim, signal.SIGKILL)
    end = told.wait()
    assert (end.kind, end.index) == ("died", None)
    assert run(backend, job_of(length), [bytearray(8_000_000)]).values == {0: 8_000_000}


def test_worker_killed_while_it_writes(backend: ProcessBackend) -> None:
    """A worker killed at any instant around a large result: the whole result, or a death."""
    for delay in range(12):
        chunk, told = begin(backend, job_of(big), [30_000_000])
        worker = _running(chunk, told)
        for _ in range(delay * 400):
            pass
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
        end = told.wait()
        assert end.kind in ("done", "died")
        if end.kind == "done":
            assert len(told.values[0]) == 30_000_000
    assert run(backend, job_of(double), [3]).values == {0: 6}


def _running(chunk: Chunk, told: Told) -> Any:
    """The worker of a chunk, once it runs it; `None` if it has run it already."""

    def at_work() -> Any:
        assignment = chunk.handle  # nothing, once the chunk is over
        worker = None if assignment is None else assignment.worker
        return worker if worker is not None and worker.running() else None

    poll(lambda: told.ends or at_work(), "never ran")
    return at_work()


def _two_workers(backend: ProcessBackend, path: Path) -> int:
    """Have two workers that are up and idle, by keeping both busy at once; the pid of one."""
    paths = [path / "a", path / "b"]
    met = [begin(backend, job_of(wait_for_file), [str(each)]) for each in paths]
    for each in paths:
        poll(each.exists, "no second worker")
    first: int = met[0][0].handle.worker.pid
    for each in paths:
        each.with_name(f"{each.name}.go").touch()
    assert [told.wait().kind for _, told in met] == ["done", "done"]
    return first


def test_message_to_a_stopped_worker_blocks_no_other(make: Make, tmp_path: Path) -> None:
    """A worker that does not read holds up neither the caller nor the other workers."""
    backend = make(2)
    victim = _two_workers(backend, tmp_path)
    os.kill(victim, signal.SIGSTOP)
    tolds = [begin(backend, job_of(length), [bytearray(4_000_000)])[1] for _ in range(2)]
    poll(lambda: sum(told.ends for told in tolds) >= 1, "the other worker did not run")
    assert run(backend, job_of(double), [1]).values == {0: 2}
    os.kill(victim, signal.SIGCONT)
    for told in tolds:
        assert told.wait().kind == "done"
        assert told.values == {0: 4_000_000}


def test_exit_code_taken_by_user_code(make: Make, tmp_path: Path) -> None:
    """Where the user's own waitpid(-1) takes the exit code, it is unknown, not wrong."""
    backend = make(1, context="fork")
    path = str(tmp_path / "here")
    chunk, told = begin(backend, job_of(wait_for_file), [path])
    poll(lambda: os.path.exists(path), "never ran")
    victim = chunk.handle.worker.pid
    os.kill(victim, signal.SIGKILL)
    try:
        os.waitpid(victim, 0)
    except ChildProcessError:
        pass  # the pool was faster
    end = told.wait()
    assert (end.kind, end.index) == ("died", 0)
    assert end.exitcode in (None, -signal.SIGKILL)


def test_grandchild_does_not_hide_a_death(make: Make) -> None:
    """A process that the worker forked holds its channel open; the death is seen all the same."""
    backend = make(1)
    told = run(backend, job_of(_fork_and_die), [0])
    assert (told.wait().kind, told.wait().index, told.wait().exitcode) == ("died", 0, 5)
    child = int(told.wait().stack.rpartition("child=")[2].split()[0])
    poll(lambda: not is_alive(child), "the grandchild outlived its worker")


def _fork_and_die(_: int) -> None:
    import sys
    import time

    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    print(f"child={child}", file=sys.stderr)
    os._exit(5)


def test_cancel_kills_what_holds_the_gil(backend: ProcessBackend) -> None:
    """A cancelled chunk ends at once, though its worker is deep in C code."""
    chunk, told = begin(backend, job_of(hold_the_gil), [10**11])
    worker = poll(lambda: chunk.handle.worker, "never sent")
    poll(lambda: worker.running(), "never ran")
    assert backend.cancel(chunk)
    assert told.wait().kind == "cancelled"
    assert not told.replies
    assert not is_alive(worker.pid)
    assert run(backend, job_of(double), [4]).values == {0: 8}
