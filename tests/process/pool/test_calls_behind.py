"""Calls that wait together go in one message, and stay separate all the same."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import Future, WorkerDied, parallel
from procession.backends import registry
from procession.backends.pool_choice import Choice
from tests.support.waiting import wait_for_file, wait_until

MANY = 40


@parallel(workers=2, inline=False)
def hold(folder: Path, number: int) -> int:
    """Keep a worker until it is to go on; gives its process id."""
    (folder / f"holds {number}").touch()
    wait_for_file(folder / "go")
    return os.getpid()


@parallel(workers=2, inline=False)
def work(what: str, folder: Path, number: int) -> int:
    """Count that it ran, and do something."""
    with open(folder / "ran", "ab", buffering=0) as file:
        file.write(bytes([number]))
    if what == "die":
        os._exit(3)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "raise":
        raise ValueError(number)
    if what == "wait":
        (folder / f"waits {number}").touch()
        wait_for_file(folder / "come on")
    if what == "come on":
        (folder / "come on").touch()
    if what == "hold the GIL":
        ctypes.PyDLL(None).read(os.open(folder / "pipe", os.O_RDONLY), bytes(1), 1)
    return number


def burst(folder: Path, what: Sequence[str]) -> tuple[list[Future[int]], list[int]]:
    """Calls that all wait until both workers go on; and the workers' process ids."""
    work.submit("", folder, 0).result(60)
    (folder / "ran").unlink()
    held = [hold.submit(folder, number) for number in range(2)]
    for number in range(2):
        wait_for_file(folder / f"holds {number}")
    work._call().history.job.job.pace = 1e-6  # type: ignore[attr-defined]  # all go together
    futures = [work.submit(each, folder, number) for number, each in enumerate(what)]
    (folder / "go").touch()
    return futures, [future.result(60) for future in held]


def times(folder: Path) -> list[int]:
    """How often each of the calls ran."""
    ran = (folder / "ran").read_bytes()
    return [ran.count(number) for number in range(MANY)]


def pool_state() -> Any:
    """The state of the pool that these calls go to."""
    pool: Any = registry.backend_for(Choice(work.options, False, ""))
    return pool.state


def plain(**odd: str) -> list[str]:
    """Calls that do nothing, but for some."""
    return [odd.get(f"at{number}", "") for number in range(MANY)]


def test_all_of_a_burst_run_once(tmp_path: Path) -> None:
    """Each has its own result, or its own error."""
    futures, _ = burst(tmp_path, plain(at7="raise"))
    for number, future in enumerate(futures):
        if number == 7:
            with pytest.raises(ValueError, match="7"):
                future.result(60)
        else:
            assert future.result(60) == number
    assert times(tmp_path) == [1] * MANY


@pytest.mark.parametrize("how", ["die", "kill"])
def test_one_that_dies_is_to_blame_alone(how: str, tmp_path: Path) -> None:
    """What ran before it has its result; what stood behind it runs in another worker."""
    futures, _ = burst(tmp_path, plain(at10=how))
    for number, future in enumerate(futures):
        if number == 10:
            with pytest.raises(WorkerDied):
                future.result(60)
        else:
            assert future.result(60) == number
    assert times(tmp_path) == [1] * MANY


def test_none_waits_for_a_neighbour(tmp_path: Path) -> None:
    """One waits for a call that stands behind it: that is taken back, and runs elsewhere."""
    futures, _ = burst(tmp_path, plain(at5="wait", at6="come on"))
    assert [future.result(60) for future in futures] == list(range(MANY))
    assert times(tmp_path) == [1] * MANY


def test_results_do_not_wait_for_one_that_holds_the_gil(tmp_path: Path) -> None:
    """What was done before it is read out of the worker's memory, and what is behind it moves."""
    os.mkfifo(tmp_path / "pipe")
    futures, _ = burst(tmp_path, plain(at10="hold the GIL"))
    others = [number for number in range(MANY) if number != 10]
    try:
        assert [futures[number].result(60) for number in others] == others
        assert not futures[10].done()
    finally:
        with open(tmp_path / "pipe", "wb") as pipe:
            pipe.write(b"x")
    assert futures[10].result(60) == 10
    assert times(tmp_path) == [1] * MANY


def test_cancelling_one_that_stands_behind(tmp_path: Path) -> None:
    """It never runs; its worker lives on, and so does what stands around it."""
    futures, pids = burst(tmp_path, plain(at3="wait"))
    wait_for_file(tmp_path / "waits 3")
    cancelled = [number for number in (4, 9, 15) if futures[number].cancel()]
    (tmp_path / "come on").touch()
    for number, future in enumerate(futures):
        if number not in cancelled:
            assert future.result(60) == number
    wait_until(lambda: not pool_state().at_work)
    assert times(tmp_path) == [int(number not in cancelled) for number in range(MANY)]
    assert all(futures[number].cancelled() for number in cancelled)
    assert {worker.pid for worker in pool_state().workers} == set(pids)


def test_cancelling_the_one_that_runs(tmp_path: Path) -> None:
    """Its worker is killed, and what stands behind it runs in another one, once."""
    futures, _ = burst(tmp_path, plain(at3="wait"))
    wait_for_file(tmp_path / "waits 3")
    assert futures[3].cancel()
    for number, future in enumerate(futures):
        if number != 3:
            assert future.result(60) == number
    assert times(tmp_path) == [1] * MANY
    assert futures[3].cancelled()


def test_shutdown_ends_those_behind(tmp_path: Path) -> None:
    """No future is left open, whatever its call was at."""
    futures, _ = burst(tmp_path, plain(at3="wait", at23="wait"))
    procession.shutdown()
    assert all(future.done() or future.cancelled() for future in futures)


def test_cancels_at_any_time(tmp_path: Path) -> None:
    """Whenever they come, each call ends once, and those that were not cancelled have run once."""
    for delay in range(12):
        folder = tmp_path / str(delay)
        folder.mkdir()
        futures, _ = burst(folder, plain())
        for _ in range(delay * 400):
            pass
        cancelled = {number for number in range(0, MANY, 5) if futures[number].cancel()}
        time.sleep(0)
        for number, future in enumerate(futures):
            if number in cancelled:
                assert future.cancelled()
            else:
                assert future.result(60) == number
                assert times(folder)[number] == 1
        wait_until(lambda: not pool_state().at_work)


def test_no_thread_reads_for_a_call_that_may_be_taken_back(tmp_path: Path) -> None:
    """Its result may come by another channel: who waits for it is told by that one's reader."""
    futures, _ = burst(tmp_path, plain(at0="wait"))
    wait_for_file(tmp_path / "waits 0")
    worker = next(each for each in pool_state().workers if each.assignment is not None)
    present = worker.assignment
    wait_until(lambda: not worker.behind)
    pool: Any = registry.backend_for(Choice(work.options, False, ""))
    with pool._dispatch.lock:  # so that it stays so
        worker.take_back(present.number)
        worker.channel.attend(present, None)  # returns at once
    (tmp_path / "come on").touch()
    assert [future.result(60) for future in futures] == list(range(MANY))
