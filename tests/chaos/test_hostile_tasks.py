"""Tasks that do what no task should: ignore signals, stop, flood, hide behind children."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

import procession
from tests.chaos.helpers import within
from tests.chaos.jobs import (
    close_descriptors,
    ignore_sigterm,
    leave_daemon,
    shout,
    square,
    stop_itself,
    with_grandchildren,
)
from tests.support.waiting import wait_until


def _gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _works() -> None:
    function = square.with_options(workers=2, inline=False)
    assert within(lambda: function.map(range(9))) == [x * x for x in range(9)]


@pytest.mark.parametrize("limit", ["timeout", "memory_limit"])
def test_limits_kill_grandchildren(limit: str, tmp_path: Path) -> None:
    """What a task has started ends with it."""
    options: Any = {"timeout": 4.0} if limit == "timeout" else {"memory_limit": "300MB"}
    function = with_grandchildren.with_options(workers=1, **options)
    future = function.submit(tmp_path, 0 if limit == "timeout" else 20)
    error = within(future.exception)
    expected: Any = procession.TimedOut if limit == "timeout" else procession.MemoryLimitExceeded
    assert isinstance(error, expected)
    pids = [int(pid) for pid in (tmp_path / "grandchildren").read_text().split()]
    wait_until(lambda: all(map(_gone, pids)))
    _works()


@pytest.mark.parametrize("function", [ignore_sigterm, stop_itself])
def test_a_task_that_does_not_listen(function: Any, tmp_path: Path) -> None:
    """Neither ignoring SIGTERM nor having stopped keeps a task from being ended."""
    future = function.with_options(workers=1, timeout=2.0).submit(tmp_path)
    assert isinstance(within(future.exception), procession.TimedOut)
    pid = int((tmp_path / "started").read_text())
    wait_until(lambda: _gone(pid))
    _works()


@pytest.mark.parametrize("backend", ["process", "loky"])
def test_a_task_that_closes_all_descriptors(backend: str) -> None:
    """Its own call fails, or not; the others are not touched, and nobody waits for ever."""
    function = close_descriptors.with_options(backend=backend, workers=1)
    error = within(function.submit(0).exception)
    assert error is None or isinstance(error, procession.WorkerDied)
    _works()


def test_a_daemon_that_holds_the_pipes(tmp_path: Path) -> None:
    """A process that inherited all of the worker's descriptors hides neither result nor end."""
    function = leave_daemon.with_options(workers=1, inline=False)
    try:
        assert within(lambda: function.map(range(3), tmp_path)) == [0, 1, 2]
        within(procession.shutdown)
    finally:
        (tmp_path / "go").touch()
        daemon = int((tmp_path / "daemon").read_text())
        wait_until(lambda: _gone(daemon))


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib"])
def test_megabytes_of_output(backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What tasks print is no part of the protocol, however much it is."""
    function = shout.with_options(backend=backend, workers=2, inline=False)
    assert within(lambda: function.map(range(2), 3)) == [0, 1]


def test_the_parent_waits_for_any_child() -> None:
    """User code that reaps every child there is harms no pool, and no wrong exit code comes."""
    procession.shutdown()  # loky's pools of other tests, which keep what belongs to such a child
    over = threading.Event()

    def reap() -> None:
        while not over.wait(0.0005):
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pass

    thread = threading.Thread(target=reap, daemon=True)
    thread.start()
    try:
        for context in ("fork", "spawn", "forkserver", "loky"):
            function = square.with_options(workers=2, inline=False, context=context)
            assert within(partial(function.map, range(9))) == [x * x for x in range(9)]
            died = _kill_itself.with_options(workers=2, context=context).submit(0)
            error = within(died.exception)
            assert isinstance(error, procession.WorkerDied)
            assert error.exitcode in (None, -signal.SIGKILL)
        within(procession.shutdown)
    finally:
        over.set()
        thread.join()


@procession.parallel
def _kill_itself(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
