"""Executors of others as backends: what one leaves in this process must not reach another."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import _ExecutorManagerThread
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import parallel
from procession.backends.executor_health import cut_off
from procession.system import cpython_processes
from tests.backends.jobs import die_amid_the_answer, die_if_zero, die_when_told
from tests.chaos.jobs import die
from tests.conformance import crossing as c
from tests.conformance import functions as f
from tests.support.waiting import wait_for_file, wait_until

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

LATE = """
import concurrent.futures.process as pool, sys, time
from procession import parallel

taken, wake = pool._ExecutorManagerThread.process_result_item, pool._ThreadWakeup.wakeup

def take_and_wait(self, result):
    taken(self, result)
    executor = self.executor_reference()
    while not (pool._global_shutdown or executor._shutdown_thread):
        time.sleep(0.001)

def wait_and_wake(self):
    was_closed = self._closed
    while pool._global_shutdown and not self._closed:
        time.sleep(0.001)
    if not was_closed:
        self._writer.send_bytes(b"")

absolute = parallel(backend="stdlib", workers=1, inline=False)(abs)
assert absolute.map([-1]) == [1]
pool._ExecutorManagerThread.process_result_item = take_and_wait
pool._ThreadWakeup.wakeup = wait_and_wake
assert absolute.map([-2]) == [2]
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
    assert "procession.process.start.fork_server" not in ran.stdout


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


def _held_up(options: dict[str, Any], folder: Path) -> tuple[Future[Any], list[Future[Any]]]:
    """A call that runs for ever, and calls that wait behind it."""
    running: Future[Any] = f.start_then_sleep.with_options(**options).submit(folder / "running")
    wait_for_file(folder / "running")
    return running, [f.square.with_options(**options).submit(number) for number in range(6)]


@pytest.mark.parametrize("whose", ["ours", "the user's"])
def test_a_broken_executor_ends_though_a_call_was_cancelled(whose: str, tmp_path: Path) -> None:
    """CPython's thread that gives all calls their error would die of the one that was cancelled."""
    procession.shutdown()
    given = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    options: Any = {"backend": given} if whose == "the user's" else {"backend": "stdlib"}
    if whose == "ours":
        options["workers"] = 1
    running, waiting = _held_up(options, tmp_path)
    cancelled = waiting.pop(3)
    assert cancelled.cancel()
    for worker in multiprocessing.active_children():
        worker.kill()
    assert not wait(waiting, 60).not_done
    assert cancelled.cancelled()
    running.cancel()  # of an executor of ours it runs again, as it may not be to blame
    given.shutdown()
    procession.shutdown()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("backend", ["loky", "stdlib"])
def test_an_executor_is_killed_though_a_call_was_cancelled(
    backend: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """All calls end, and nothing is told of the executor's own trouble."""
    running, waiting = _held_up({"backend": backend, "workers": 1}, tmp_path)
    assert waiting[3].cancel()
    procession.shutdown()
    assert not wait([running, *waiting], 60).not_done
    assert capfd.readouterr().err == ""


class _Late(multiprocessing.context.SpawnProcess):
    """A process whose start takes until its executor is done with the death of another one."""

    until: Callable[[], object] = bool
    """Told by the process that starts it: what it waits for, before it starts and after it has."""
    before, after = False, False

    def start(self) -> None:
        if self.before:
            _Late.until()
        super().start()
        if self.after:
            _Late.until()


class _LateContext(multiprocessing.context.SpawnContext):
    """Its second process is late."""

    def __init__(self, folder: Path, when: str) -> None:
        self._folder = folder
        self._when = when
        self._first: Any = None

    def Process(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        process: Any = _Late(*args, **kwargs)
        if self._first is None:
            self._first = process
        elif not (self._folder / "go").exists():
            calls = kwargs["args"][0]
            _Late.until = partial(self._until_it_broke, calls)
            setattr(process, self._when, True)
        return process

    def _until_it_broke(self, calls: Any) -> None:
        _Late.until = bool  # what it waits with holds semaphores
        self._folder.joinpath("go").touch()
        self._first.join()
        if "shutdown_lock" not in _ExecutorManagerThread.terminate_broken.__code__.co_names:
            wait_until(lambda: calls._reader.closed)


@pytest.mark.parametrize("late", ["before", "after"])
def test_a_worker_starts_while_its_executor_breaks(late: str, tmp_path: Path) -> None:
    """CPython 3.11 waits for ever for the end of one that it starts then; it is ended here.

    It may also fail to start one, with an error that says nothing: the call runs elsewhere.
    """
    options: dict[str, Any] = {"context": _LateContext(tmp_path, late)}
    dies = die_when_told.with_options(**options).submit(tmp_path)
    wait_for_file(tmp_path / "running")
    lives: Any = f.square.with_options(backend="stdlib", workers=2, inline=False, **options)
    assert lives.submit(3).result(60) == 9
    assert isinstance(dies.exception(60), procession.WorkerDied)
    wait_until(lambda: "procession-ending" not in [each.name for each in threading.enumerate()])
    procession.shutdown()
    assert not multiprocessing.active_children()


def test_a_call_that_a_broken_executor_forgot_runs_elsewhere(tmp_path: Path) -> None:
    """CPython 3.11 may take a call while it gives all calls their error, and forget that one."""
    dies = die_when_told.with_options(workers=1).submit(tmp_path)
    wait_for_file(tmp_path / "running")
    later = f.square.with_options(backend="stdlib", workers=1, inline=False)
    futures = [later.submit(number) for number in range(9)]
    executors: Any = [each for each in gc.get_objects() if type(each) is ProcessPoolExecutor]
    (executor,) = [each for each in executors if not each._shutdown_thread]
    executor._pending_work_items.popitem()
    del executor, executors
    (tmp_path / "go").touch()
    assert [future.result(60) for future in futures] == [number**2 for number in range(9)]
    assert isinstance(dies.exception(60), procession.WorkerDied)


@pytest.mark.parametrize("backend", ["loky", "stdlib"])
def test_a_death_is_not_blamed_on_what_only_waited(backend: str) -> None:
    """With one worker, too: the call that has killed it fails, those that waited behind it run."""
    one = die_if_zero.with_options(backend=backend, workers=1)
    futures = [one.submit(number) for number in range(4)]
    assert isinstance(futures[0].exception(60), procession.WorkerDied)
    assert [future.result(60) for future in futures[1:]] == [1, 2, 3]
    outcomes = list(one.outcomes(range(4)))
    assert [outcome.ok for outcome in outcomes] == [False, True, True, True]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("backend", ["loky", "stdlib"])
def test_a_worker_that_dies_amid_its_answer(backend: str) -> None:
    """Neither executor sees that death by itself: the calls behind it would wait for ever."""
    function = die_amid_the_answer.with_options(backend=backend, workers=2)
    futures = [function.submit(number) for number in range(4)]
    assert isinstance(futures[1].exception(60), procession.WorkerDied)
    assert [future.result(60) for future in (futures[0], *futures[2:])] == [[], [], []]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_worker_of_the_user_s_executor_dies_amid_its_answer() -> None:
    """It cannot be ended, but the calls that wait for it fail."""
    given = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    futures = [die_amid_the_answer.with_options(backend=given).submit(each) for each in (1, 2)]
    for future in futures:
        with pytest.raises(BrokenExecutor, match="a worker of ProcessPoolExecutor died"):
            future.result(60)
    cpython_processes.result_writer(given).close()  # its thread would never end
    given.shutdown()


def test_who_is_cut_off_may_still_close_its_own_end() -> None:
    """The reader sees the end, and a thread that closes the other end meanwhile closes that."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    descriptor = writer.fileno()
    cut_off(writer)
    with pytest.raises(EOFError):
        reader.recv()
    os.close(descriptor)  # as that thread does, if it had looked before
    writer._handle = None  # type: ignore[attr-defined]
    cut_off(writer)  # it is closed by now
    reader.close()


def test_a_program_ends_as_its_last_result_comes() -> None:
    """An executor's thread that is still at that, and ends by itself, is not woken meanwhile."""
    ran = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
