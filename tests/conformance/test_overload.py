"""`max_pending`: one call more than may wait fails at once."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import procession
from procession import Overloaded, Pool, ProcessionError, background, isolated, parallel
from tests.support.waiting import wait_until


def wait_for(path: str, started: str = "") -> str:
    """Run until somebody makes the file."""
    if started:
        Path(started).touch()
    wait_until(lambda: os.path.exists(path))
    return path


def double(x: int) -> int:
    """An item."""
    return 2 * x


def fail(_: object) -> None:
    """An item that fails."""
    raise ValueError


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """What the calls wait for; open at the end."""
    path = tmp_path / "gate"
    yield path
    path.touch()
    procession.shutdown()


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib", "thread"])
def test_one_more_fails_at_once(backend: str, gate: Path) -> None:
    """One runs, two wait, the fourth fails; when they are done others are taken."""
    f = background(workers=1, max_pending=2, backend=backend)(wait_for)
    taken = [f(str(gate)) for _ in range(3)]
    refused = f(str(gate)).exception(timeout=0)
    assert isinstance(refused, Overloaded)
    assert isinstance(refused, (ProcessionError, RuntimeError))
    assert (refused.pending, refused.limit) == (2, 2)
    assert "wait_for() was not started: 2 calls wait for one of 1 workers" in str(refused)
    gate.touch()
    assert [future.result() for future in taken] == [str(gate)] * 3
    assert f(str(gate)).result() == str(gate)


def test_none_may_wait(gate: Path) -> None:
    """With 0 a call is taken only while a worker is free."""
    f = parallel(workers=2, max_pending=0)(wait_for)
    first, second = f.submit(str(gate)), f.submit(str(gate))
    assert isinstance(f.submit(str(gate)).exception(), Overloaded)
    assert first.cancel()
    third = f.submit(str(gate))
    gate.touch()
    assert second.result() == third.result() == str(gate)
    for _ in range(20):  # one after the other never wait
        assert f.submit(str(gate)).result() == str(gate)


def test_errors_and_deaths_make_room() -> None:
    """Calls that fail, die or cannot be sent are over."""
    f = parallel(workers=1, max_pending=0)(fail)
    for _ in range(3):
        assert isinstance(f.submit(1).exception(), ValueError)
    die = parallel(workers=1, max_pending=0)(os._exit)
    for _ in range(3):
        assert isinstance(die.submit(3).exception(), procession.WorkerDied)
    for _ in range(3):
        assert isinstance(f.submit(threading.Lock()).exception(), procession.NotPicklable)
    procession.shutdown()


def test_a_pool(gate: Path) -> None:
    """A `Pool` counts its own calls."""
    with Pool(1, max_pending=1) as pool:
        running, waiting = pool.submit(wait_for, str(gate)), pool.submit(wait_for, str(gate))
        refused = pool.submit(wait_for, str(gate)).exception(timeout=0)
        assert isinstance(refused, Overloaded)
        gate.touch()
        assert running.result() == waiting.result() == str(gate)


def test_isolated_calls_raise(gate: Path) -> None:
    """A blocking call raises it, in the thread that made it."""
    f = isolated(workers=1, max_pending=0)(wait_for)
    with ThreadPoolExecutor(1) as threads:
        started = gate.with_name("started")
        running = threads.submit(f, str(gate), str(started))
        wait_until(started.exists)
        with pytest.raises(Overloaded):
            f(str(gate))
        gate.touch()
        assert running.result() == str(gate)


def stream(count: int) -> Generator[int, None, None]:
    """A generator function."""
    yield from range(count)


def test_streams_are_counted() -> None:
    """An isolated generator has a worker until it is closed, read to its end or dropped."""
    f = isolated(workers=1, max_pending=0)(stream)
    values = f(3)
    assert next(values) == 0
    with pytest.raises(Overloaded):
        f(3)
    values.close()
    assert list(f(3)) == [0, 1, 2]
    dropped = f(3)
    next(dropped)
    del dropped
    assert list(f(2)) == [0, 1]
    procession.shutdown()


def test_maps_are_not_counted() -> None:
    """A map's items have their window; they are never refused."""
    f = parallel(workers=1, max_pending=0, inline=False)(double)
    assert f.map(range(50)) == list(range(0, 100, 2))
    procession.shutdown()


def test_it_pickles() -> None:
    """The error keeps what it says."""
    error = pickle.loads(pickle.dumps(Overloaded("text", pending=3, limit=2)))
    assert (str(error), error.pending, error.limit) == ("text", 3, 2)


def test_version() -> None:
    """`procession.__version__` is what the package is built as."""
    from importlib.metadata import version

    assert procession.__version__ == version("procession")
