"""`cancel()`, timeouts and `asyncio.wait_for`, racing with results; no worker is lost by them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import procession
from tests.chaos.helpers import within
from tests.chaos.jobs import meet, nap, square, start_and_nap
from tests.support.waiting import wait_for_file, wait_until


def _all_workers_run(folder: Path, count: int = 2) -> None:
    folder.mkdir()
    function = meet.with_options(workers=count, inline=False, chunk=1)
    assert len(set(within(lambda: function.map(range(count), folder, count)))) == count


def test_running_work_ends_and_its_worker_is_replaced(tmp_path: Path) -> None:
    """Cancelled calls that run are ended with their workers; fresh ones do the next work."""
    function = start_and_nap.with_options(workers=2)
    futures = [function.submit(n, tmp_path) for n in range(2)]
    for n in range(2):
        wait_for_file(tmp_path / str(n))
    pids = [int((tmp_path / str(n)).read_text()) for n in range(2)]
    assert all(future.cancel() for future in futures)
    assert all(future.cancelled() and future.done() for future in futures)
    wait_until(lambda: not any(map(psutil.pid_exists, pids)))
    with pytest.raises(concurrent.futures.CancelledError):
        futures[0].result()
    _all_workers_run(tmp_path / "meet")


def test_cancel_races_with_the_result(tmp_path: Path) -> None:
    """Whenever cancel comes, the future has one end, is told of it once, and keeps it."""
    function = square.with_options(workers=2)
    within(lambda: function.submit(1).result())
    for delay in range(60):
        told: list[Any] = []
        future = function.submit(3)
        future.add_done_callback(told.append)
        for _ in range(delay * 60):
            pass
        cancelled = future.cancel()
        if cancelled:
            assert future.cancelled()
        else:
            assert within(future.result) == 9
        assert told == [future]
    _all_workers_run(tmp_path / "meet")


def test_timeouts_race_with_cancels(tmp_path: Path) -> None:
    """A call that is cancelled when its time is up ends either way, and no permit is lost."""
    function = nap.with_options(workers=2, timeout=0.05)
    for delay in range(12):
        futures = [function.submit(n, 5.0) for n in range(2)]
        time.sleep(0.035 + delay * 0.003)
        cancelled = [future.cancel() for future in futures]
        for future, was in zip(futures, cancelled, strict=True):
            if was:
                assert future.cancelled()
            else:
                assert isinstance(within(future.exception), procession.TimedOut)
    _all_workers_run(tmp_path / "meet")


def test_wait_for_and_permits(tmp_path: Path) -> None:
    """`asyncio.wait_for` ends the call at its timeout, time and again, and all workers go on."""
    function = nap.with_options(workers=2)

    async def use() -> None:
        for _ in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(function.submit(1, 60.0), 0.05)

    within(lambda: asyncio.run(use()))
    _all_workers_run(tmp_path / "meet")


def test_cancelled_maps_free_their_workers(tmp_path: Path) -> None:
    """The future of a whole map ends its items."""
    function = start_and_nap.with_options(workers=2)
    for turn in range(3):
        future = function.map_async([10 * turn, 10 * turn + 1], tmp_path)
        wait_for_file(tmp_path / str(10 * turn))
        assert future.cancel()
    _all_workers_run(tmp_path / "meet")


def test_cancelled_while_it_waits(tmp_path: Path) -> None:
    """Calls that wait for a worker are taken back, and never run."""
    function = start_and_nap.with_options(workers=1)
    first = function.submit(0, tmp_path)
    waiting = [function.submit(n, tmp_path) for n in range(1, 4)]
    wait_for_file(tmp_path / "0")
    assert all(future.cancel() for future in waiting)
    assert first.cancel()
    assert within(lambda: square.with_options(workers=1).submit(4).result()) == 16
    assert not (tmp_path / "1").exists()
