"""A ``__del__`` may do what it likes, in whatever thread and amid whatever the collector runs it.

It calls functions that map, submit, isolate, time out and close, and it waits for them; it sleeps
and raises. Nothing hangs, and all else goes on.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import Pool, TimedOut, isolated, parallel
from procession.backends import registry
from procession.backends.pool_choice import Choice
from procession.process.io.reactor import LATE, reactor
from procession.process.start import fork_server as server
from procession.system import alarm, interrupts, lifeline, owned_descriptors
from procession.user_threads import user_threads
from tests.conformance.strange import PATIENCE, double
from tests.support.far import environment
from tests.support.waiting import wait_until

maps = parallel(workers=2, inline=False, chunk=1)(double)
alone = isolated(double)
sleeps = parallel(workers=1, timeout=0.2)(time.sleep)


def _times_out() -> bool:
    with pytest.raises(TimedOut):
        sleeps.map([PATIENCE])
    return True


WAYS: dict[str, Callable[[], bool]] = {
    "map": lambda: maps.map([1, 2, 3]) == [2, 4, 6],
    "imap": lambda: list(maps.imap([1, 2, 3])) == [2, 4, 6],
    "submit": lambda: maps.submit(2).result() == 4,
    "isolated": lambda: alone(4) == 8,
    "timeout": _times_out,
    "loky": lambda: maps.with_options(backend="loky").map([1, 2, 3]) == [2, 4, 6],
    "pool": lambda: _pool_maps(),
}


def _pool_maps() -> bool:
    with Pool(1) as pool:
        return list(pool.map(double, [1, 2])) == [2, 4]


class Cycle:
    """Only the collector finds it; then it does something, and says so."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.me, self.act = self, act
        self.done = done = threading.Event()
        self.said: list[Any] = []
        Cycle.made.append((done, self.said))

    made: list[tuple[threading.Event, list[Any]]] = []

    def __del__(self) -> None:
        try:
            self.said.append(self.act())
        except BaseException as error:
            self.said.append(error)
        self.done.set()


@pytest.fixture(scope="module", autouse=True)
def _pools() -> Iterator[None]:
    """The pools end with the module's last test."""
    yield
    procession.shutdown()


@pytest.fixture(autouse=True)
def _by_hand() -> Iterator[None]:
    """The collector strikes when the test says so, and what it needs is loaded."""
    maps.map([1, 2, 3])
    maps.submit(1).result()
    alone(1)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def cycle(act: Callable[[], Any]) -> tuple[threading.Event, list[Any]]:
    """Leave something for the collector that acts when it goes."""
    wait_until(
        lambda: not interrupts.runs_collection()
    )  # the last one has ended, or this one would not begin
    Cycle(act)
    return Cycle.made.pop()


def _in_a_new_thread(call: Callable[[], Any]) -> None:
    threading.Thread(target=call).start()


THREADS: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "the reactor": reactor.call_soon,
    "the alarm": lambda call: alarm.after(0.0, call),
    "the user threads": user_threads.run_soon,
    "one of the program's": _in_a_new_thread,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", THREADS)
def test_a_call_in_any_thread(where: str, way: str) -> None:
    """Others take over what the thread has to do, so it may wait for them."""
    done, said = cycle(WAYS[way])
    THREADS[where](gc.collect)
    assert done.wait(PATIENCE)
    assert said == [True]
    assert maps.map(range(4)) == [0, 2, 4, 6]


def _locks() -> dict[str, Any]:
    pools = [p for p in list[Any](registry.in_use()) if hasattr(p, "_dispatch")]
    found: dict[str, Any] = {
        "the reactor's": reactor._lock,
        "the registry's": registry._lock,
        "fork": owned_descriptors.forking,
        "the lifeline's": lifeline._pipe.lock,
        "the alarm's": alarm._clock._lock,
    }
    for number, pool in enumerate(pools):
        found[f"pool {number}"] = pool._dispatch.lock
        for worker in list(pool.state.workers):
            found[f"worker {worker.pid}"] = worker.channel._sender._lock
    for number, each in enumerate(server._servers.values()):
        found[f"server {number}"] = each.using
        found[f"server {number}'s"] = each._lock
    return found


@pytest.mark.parametrize("way", ["map", "submit", "timeout"])
@pytest.mark.parametrize("where", ["the reactor", "one of the program's"])
def test_a_call_while_a_lock_is_held(where: str, way: str) -> None:
    """Whichever the thread has taken when it was struck."""
    for lock in _locks().values():
        done, said = cycle(WAYS[way])

        def struck(lock: Any = lock) -> None:
            with lock:
                gc.collect()

        THREADS[where](struck)
        assert done.wait(PATIENCE)
        assert said == [True]
    assert maps.map(range(4)) == [0, 2, 4, 6]


@pytest.mark.parametrize("where", THREADS)
def test_a_finalizer_that_does_not_end(where: str) -> None:
    """Timeouts strike and pools map meanwhile, as another thread has taken over."""
    go, begun = threading.Event(), threading.Event()

    def hang() -> bool:
        begun.set()
        return go.wait(PATIENCE)

    done, said = cycle(hang)
    THREADS[where](gc.collect)
    assert begun.wait(PATIENCE)
    assert _times_out()
    assert maps.map(range(4)) == [0, 2, 4, 6]
    assert maps.submit(3).result() == 6
    assert not done.is_set()
    go.set()
    assert done.wait(PATIENCE)
    assert said == [True]


@pytest.mark.parametrize("where", THREADS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_finalizer_that_raises(where: str) -> None:
    """Python says so, and all goes on."""
    begun = threading.Event()

    class Raises:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            begun.set()
            raise SystemExit(3)

    Raises()
    THREADS[where](gc.collect)
    assert begun.wait(PATIENCE)
    assert _times_out()
    assert maps.map(range(4)) == [0, 2, 4, 6]


@pytest.mark.parametrize("where", THREADS)
def test_a_finalizer_closes_its_iterator(where: str) -> None:
    """Also one whose map's lock the struck thread holds."""
    iterator: Any = maps.imap(range(30))
    assert [next(iterator) for _ in range(4)] == [0, 2, 4, 6]
    run = iterator._batches.run
    done, said = cycle(iterator.close)

    def struck() -> None:
        with run.intake.lock:
            gc.collect()

    THREADS[where](struck)
    assert done.wait(PATIENCE)
    assert said == [None]
    assert run.closed


def test_what_the_struck_code_has_taken_is_not_waited_for() -> None:
    """A worker that a call was given, and is not sent to yet, is not the one the finalizer gets."""
    f = parallel(workers=1, inline=False)(double)
    f.submit(1).result()
    choice = Choice(f.options)
    pool: Any = registry.backend_for(choice)
    pool = pool._dispatch
    done, said = cycle(lambda: f.submit(2).result())
    given = pool.send

    def send(worker: Any, chunk: Any) -> None:
        pool.send = given
        gc.collect()
        given(worker, chunk)

    pool.send = send
    assert f.submit(3).result() == 6
    assert done.is_set()
    assert said == [4]


def test_the_reactor_that_was_kept_ends() -> None:
    """Threads that were passed by do not pile up."""
    for _ in range(3):
        done, _said = cycle(lambda: time.sleep(3 * LATE))
        reactor.call_soon(gc.collect)
        assert done.wait(PATIENCE)
    maps.map(range(4))
    names = [each.name for each in threading.enumerate()]
    assert names.count("procession-reactor") <= 2


@pytest.fixture
def _eager() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(20)
    gc.enable()
    yield
    gc.set_threshold(*before)
    gc.collect()


@pytest.mark.usefixtures("_eager")
@pytest.mark.parametrize("backend", ["process", "loky"])
@pytest.mark.parametrize("way", ["map", "submit", "close", "isolated", "sleep"])
def test_the_collector_strikes_all_the_time(way: str, backend: Any) -> None:
    """Wherever that is: nothing hangs, and every result is right."""
    f = maps.with_options(backend=backend)
    f.map([1])
    wrong: list[Any] = []

    def act(iterator: Any) -> None:
        if way == "map":
            wrong.extend(set(f.map([1, 2, 3])) - {2, 4, 6})
        elif way == "submit":
            wrong.extend({f.submit(2).result()} - {4})
        elif way == "close":
            iterator.close()
        elif way == "isolated":
            wrong.extend({alone(4)} - {8})
        else:
            time.sleep(0.05)

    class Owner:
        def __init__(self, iterator: Any) -> None:
            self.me, self.iterator = self, iterator

        def __del__(self) -> None:
            act(self.iterator)

    for _ in range(6 if backend == "process" else 3):
        iterator = None
        if way == "close":
            iterator = f.imap(range(30))
            assert next(iterator) == 0
        Owner(iterator)
        del iterator
        assert list(f.imap(range(10))) == [2 * x for x in range(10)]
        assert f.map(range(5)) == [0, 2, 4, 6, 8]
        assert f.submit(3).result() == 6
    gc.collect()  # here, where its calls have a pool
    assert not wrong


LATE_OBJECTS = """
import atexit, string, sys

sys.kept = string  # goes last, when the modules that came after it are empty

@atexit.register
def make():
    from procession import parallel
    from procession.backends.cluster import cluster_backend
    from procession.backends.pool_choice import Choice
    from procession.configuration.precedence import resolve
    from procession.engine.map import iterators

    class Cluster:
        kind, costs, workers = "dask", None, 1
        def release(self): pass

    values = parallel(backend="thread")(abs).imap([1, 2])
    next(values)
    cluster = cluster_backend.ClusterBackend(Choice(resolve({})), Cluster)
    string.kept = values, cluster, iterators, cluster_backend
"""


def test_what_lives_until_the_interpreter_has_ended_says_nothing(tmp_path: Path) -> None:
    """An iterator and a cluster's pool that go after their modules leave the end quiet."""
    (tmp_path / "late.py").write_text(LATE_OBJECTS)
    done = subprocess.run(
        [sys.executable, "late.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
