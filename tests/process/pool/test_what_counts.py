"""What a limit counts: all that runs for an item from the moment a worker was given it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import MemoryLimitExceeded, Pool, TimedOut, isolated, parallel
from procession.backends.process import ProcessBackend
from procession.errors import ProcessionError
from tests.process.jobs import begin, job_of, nap, pid, poll, run
from tests.process.pool.overdue import HANGS, take_much

Make = Callable[..., ProcessBackend]
PLACES: tuple[dict[str, Any], ...] = ({}, {"context": "spawn"}, {"backend": "loky"})


pytestmark = pytest.mark.usefixtures("pools_end")


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A module whose import takes for ever in any process but this one."""
    import importlib

    (tmp_path / "late_module.py").write_text(
        f"import os, time\nif os.getpid() != {os.getpid()}:\n    time.sleep(600)\n"
        "def f(x): return x\n"
        "async def g(x): return x\n"
        "def h(x): yield x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("late_module")
    import sys

    del sys.modules["late_module"]


def error_of(call: Callable[[], object]) -> type[BaseException] | None:
    """What a call raises."""
    try:
        call()
    except ProcessionError as error:
        return type(error)
    return None


@pytest.mark.parametrize("place", PLACES)
def test_import_counts(late: Any, place: dict[str, Any]) -> None:
    """A function's module that hangs where a worker imports it: each verb ends in TimedOut."""
    f = parallel(timeout=0.3, workers=1, **place)(late.f)
    assert error_of(lambda: f.map([1])) is TimedOut
    assert error_of(f.submit(1).result) is TimedOut
    assert [type(o.error) for o in f.outcomes([1, 2])] == [TimedOut, TimedOut]


def test_import_counts_when_isolated(late: Any) -> None:
    """So does an isolated call, whose spare process imports the module before it is ready."""
    given: dict[str, Any] = {"timeout": 0.3}
    assert error_of(lambda: isolated(**given)(late.f)(1)) is TimedOut
    assert error_of(lambda: asyncio.run(isolated(**given)(late.g)(1))) is TimedOut
    assert error_of(lambda: list(isolated(**given)(late.h)(1))) is TimedOut


def test_import_counts_in_a_pool(late: Any) -> None:
    """And a call of a `Pool`."""
    with Pool(1, timeout=0.3) as pool:
        assert error_of(pool.submit(late.f, 1).result) is TimedOut


class Sticky:
    """What hangs or grows where it is unpickled."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __setstate__(self, state: dict[str, str]) -> None:
        HANGS[state["how"]]()


def second(x: Any, _: Any = None) -> Any:
    """The first argument."""
    return x


@pytest.mark.parametrize("place", PLACES)
def test_arguments_count(place: dict[str, Any]) -> None:
    """An argument that hangs where it is unpickled, common to all items or an item's own."""
    f = parallel(timeout=0.3, workers=1, **place)(second)
    assert error_of(lambda: f.map([1], Sticky("sleep"))) is TimedOut
    assert error_of(lambda: f.map([Sticky("sleep")])) is TimedOut
    assert error_of(lambda: isolated(timeout=0.3)(second)(1, Sticky("sleep"))) is TimedOut


@pytest.mark.parametrize("place", PLACES)
def test_initializer_counts(place: dict[str, Any]) -> None:
    """An initializer that hangs: what waits for the worker ends in TimedOut."""
    f = parallel(timeout=0.3, workers=1, initializer=HANGS["sleep"], **place)(second)
    assert error_of(lambda: f.map([1])) is TimedOut
    assert [type(o.error) for o in f.outcomes([1, 2])] == [TimedOut, TimedOut]
    g = isolated(timeout=0.3, initializer=HANGS["sleep"])(second)
    assert error_of(lambda: g(1)) is TimedOut


@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_memory_counts(context: str) -> None:
    """Memory counts in these phases too: initializer, common argument, item."""
    given: dict[str, Any] = {"memory_limit": "120MB", "workers": 1, "context": context}
    f = parallel(**given)(second)
    assert error_of(lambda: f.map([1], Sticky("memory"))) is MemoryLimitExceeded
    assert error_of(lambda: f.map([Sticky("memory")])) is MemoryLimitExceeded
    g = parallel(**given, initializer=take_much)(second)
    assert error_of(lambda: g.map([1])) is MemoryLimitExceeded


def test_idle_worker_that_was_stopped(make: Make) -> None:
    """A worker that was stopped (SIGSTOP) while it was idle is given an item: TimedOut."""
    backend = make(1)
    worker = run(backend, job_of(pid), [0]).values[0]
    os.kill(worker, signal.SIGSTOP)
    end = run(backend, job_of(nap, timeout=0.3), [0]).wait()
    assert (end.kind, end.index) == ("timeout", 0)
    assert run(backend, job_of(nap, timeout=30), [0]).values == {0: 0}


def test_stopped_worker_while_somebody_waits_at_its_channel() -> None:
    """The thread that waits for a call, reading the worker's channel, learns of its timeout."""
    call = parallel(timeout=0.5, workers=1, inline=False)(pid)
    os.kill(call.submit(0).result(), signal.SIGSTOP)
    assert type(call.submit(0).exception(20)) is TimedOut
    assert call.submit(0).result(20) > 0


def test_queueing_does_not_count(make: Make) -> None:
    """An item that waits for longer than its limit until a worker is free is not late."""
    backend = make(1)
    told = [begin(backend, job_of(nap, timeout=0.5), [0.2])[1] for _ in range(5)]
    assert [each.wait().kind for each in told] == ["done"] * 5


def test_worker_that_stands_still_between_two_items(make: Make, tmp_path: Path) -> None:
    """One that is stopped when an item has ended, but its reply is not sent, is not waited for."""
    from tests.process.pool.overdue import stop_once_over

    backend = make(1)
    end = run(backend, job_of(stop_once_over, timeout=0.3), [str(tmp_path / "noted")]).wait()
    assert end.kind == "timeout"


def test_caller_that_held_its_gil(make: Make) -> None:
    """C code that holds the caller's GIL for longer than the limit makes no item late."""
    import ctypes

    library = ctypes.PyDLL(None)
    backend = make(1)
    assert run(backend, job_of(nap, timeout=30), [0]).values == {0: 0}
    for _ in range(3):
        told = begin(backend, job_of(nap, timeout=0.4), [0.2, 0.01, 0.2])[1]
        library.usleep(900_000)
        assert told.wait().kind == "done"
        assert len(told.values) == 3


def test_caller_that_was_stopped(tmp_path: Path) -> None:
    """A caller that was stopped (Ctrl-Z) takes no finished item for a late one."""
    import subprocess
    import sys
    import textwrap

    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import time
        from procession import isolated, parallel

        def f(x):
            time.sleep(0.3)
            return bytes(x)

        g = parallel(timeout=0.6, memory_limit="900MB", workers=1, chunk=2)(f)
        print("up", len(g.map([1, 2])), flush=True)
        future, alone = g.submit(3_000_000), isolated(timeout=0.6)(f).submit(3)
        time.sleep(0.1)
        print("go", flush=True)
        print(len(g.map([1, 3_000_000, 2])), len(future.result()), len(alone.result()))
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(procession.__file__).parents[1])},
    )
    assert process.stdout is not None
    with process, process.stdout as output:
        assert output.readline() == "up 2\n"
        assert output.readline() == "go\n"
        os.kill(process.pid, signal.SIGSTOP)
        poll(lambda: stopped(process.pid), "it was not stopped")
        time.sleep(1.2)  # what is tested is just this
        os.kill(process.pid, signal.SIGCONT)
        assert output.read() == "3 3000000 3\n"


def stopped(process: int) -> bool:
    """Whether a process is stopped."""
    stat = Path(f"/proc/{process}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"
