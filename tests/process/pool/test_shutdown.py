"""`shutdown()`: what ends in order, what is killed, and what may finish first."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import OptionError, Pool, PoolClosed, isolated, parallel
from procession.backends import registry
from tests.process.jobs import is_alive
from tests.process.pool import ending_items as items
from tests.support.waiting import wait_for_file, wait_until

PROCESSES: tuple[dict[str, Any], ...] = (
    {"context": "fork"},
    {"context": "spawn"},
    {"context": "forkserver"},
    {"context": "loky"},
)
PLACES: tuple[dict[str, Any], ...] = (
    {},
    {"backend": "loky"},
    {"backend": "stdlib"},
    {"backend": "thread"},
)


pytestmark = pytest.mark.usefixtures("pools_end")


@pytest.mark.parametrize("place", PROCESSES)
def test_idle_workers_end_in_order(tmp_path: Path, place: dict[str, Any]) -> None:
    """Their exit handlers run, and what `per_worker` built is closed, although one of them raises.

    Busy ones are killed.
    """
    idle, busy = str(tmp_path / "idle"), str(tmp_path / "busy")
    f = parallel(workers=1, inline=False, **place)(items.note_the_end)
    f.map([idle])
    g = parallel(workers=1, inline=False, max_tasks_per_worker=9, **place)(items.note_and_wait)
    future = g.submit(busy)
    wait_for_file(busy + ".begun")
    procession.shutdown()
    assert sorted(os.listdir(tmp_path)) == ["busy.begun", "idle.atexit", "idle.closed"]
    with pytest.raises(PoolClosed):
        future.result()


def test_values_of_threads_are_closed(tmp_path: Path) -> None:
    """On the thread backend too, with the threads that hold them."""
    f = parallel(backend="thread", workers=2)(items.hold)
    f.map([str(tmp_path / "one")] * 4)
    procession.shutdown()
    assert os.listdir(tmp_path) == ["one.closed"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("cycle", [False, True])
def test_dropped_pools(place: dict[str, Any], cycle: bool) -> None:
    """A `Pool` that nobody holds ends its workers, soon, and at `shutdown` at the latest."""
    pool: Any = Pool(1, **place)
    workers = {pool.submit(items.who).result()}
    backend: Any = pool.backends[0]
    if cycle:
        gc.disable()
        pool.me = pool
    try:
        del pool
        if cycle:
            procession.shutdown()
        else:
            part = getattr(backend, "state", None) or getattr(backend, "_life", None)
            wait_until(lambda: part.closed if part else backend._closed)
            procession.shutdown()
    finally:
        gc.enable()
    assert not any(is_alive(worker) for worker in workers - {os.getpid()})


def test_a_pool_that_was_shut_down_is_not_looked_for() -> None:
    """`shutdown` has the collector look for dropped ones only while some may be at work."""
    looks: list[str] = []
    gc.disable()
    gc.callbacks.append(lambda phase, _: looks.append(phase))
    try:
        with Pool(1, backend="thread") as pool:
            procession.shutdown()
            assert looks
        looks.clear()
        procession.shutdown()
        assert not looks
    finally:
        gc.callbacks.pop()
        gc.enable()
    assert not pool.backends


def test_dropped_pool_with_calls() -> None:
    """What was submitted to it is finished."""
    future = Pool(1).submit(items.nap, 0.2)
    gc.collect()
    assert future.result() == 0.2


@pytest.mark.parametrize("drain", [-1, float("nan"), True, "3", -0.1])
def test_drain_is_a_number(drain: Any) -> None:
    """A wrong one is refused, and ends nothing."""
    with pytest.raises(OptionError, match="drain must be"):
        procession.shutdown(drain=drain)


@pytest.mark.parametrize("place", [*PLACES, {"backend": None}])
def test_drain(tmp_path: Path, place: dict[str, Any]) -> None:
    """What was submitted goes on; new calls are refused meanwhile, and taken after."""
    if "backend" in place and place["backend"] is None:
        executor = ThreadPoolExecutor(1)
        place = {"backend": executor}
    else:
        executor = None
        place = {**place, "workers": 1}
    go = str(tmp_path / "go")
    f = parallel(**place)(items.wait_for)
    future = f.submit(go)
    mapped: list[Any] = []
    taken = threading.Event()

    def given() -> Iterator[str]:
        for _ in range(40):
            taken.set()
            yield go

    mapping = threading.Thread(target=lambda: mapped.append(list(f.imap(given()))))
    mapping.start()
    assert taken.wait(60)
    wait_for_file(go + ".begun")
    ending = threading.Thread(target=procession.shutdown, kwargs={"drain": 15})
    ending.start()
    wait_until(lambda: refused(f, go))
    for call in (f.map, f.imap, f.outcomes, lambda items: f.map_async(items).result()):
        with pytest.raises(PoolClosed, match=r"shutdown\(drain"):
            call([go])
    Path(go).touch()
    assert future.result() == go
    ending.join()
    mapping.join()
    assert mapped == [[go] * 40]
    assert f.map([go]) == [go]
    if executor is not None:
        executor.shutdown()


def refused(f: Any, item: Any) -> bool:
    """Whether a new call is refused."""
    future = f.submit(item)
    return not future.cancel() and isinstance(future.exception(), PoolClosed)


@pytest.mark.parametrize("place", [{}, {"backend": "loky"}, {"backend": "stdlib"}])
def test_drain_ends_the_rest(place: dict[str, Any]) -> None:
    """After so many seconds what still runs is ended."""
    f = parallel(workers=1, **place)(items.nap)
    quick, slow = f.submit(0.01), f.submit(600)
    assert quick.result() == 0.01
    alone = isolated(items.nap).submit(600)
    procession.shutdown(drain=0.3)
    for future in (slow, alone):
        with pytest.raises(PoolClosed):
            future.result()


def test_drain_leaves_threads_that_go_on(tmp_path: Path) -> None:
    """A thread cannot be ended: nobody waits for it any longer than was asked for."""
    go = str(tmp_path / "go")
    future = parallel(backend="thread", workers=1)(items.wait_for).submit(go)
    wait_for_file(go + ".begun")
    procession.shutdown(drain=0.05)
    assert not future.done()
    Path(go).touch()
    assert future.result() == go


HANDLER = """
    import os, signal, sys, threading, time
    import procession
    from procession import isolated, parallel

    def work(x):
        time.sleep(0.4)
        print("done", x, flush=True)
        return x

    f = parallel(workers=2, inline=False)(work)
    f.map([0])
    others = [f.submit(n) for n in (1, 2, 3)]

    def end(*_):
        procession.shutdown(drain=20)
        print([other.result() for other in others], flush=True)
        HOW

    signal.signal(signal.SIGTERM, end)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    print("main", WHAT, flush=True)
"""

WHAT = {
    "a call": "f.submit(4).result()",
    "an isolated call": "isolated(work)(4)",
    "a sleep": "time.sleep(1.5)",
}


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("how", ["sys.exit(3)", "pass"])
def test_drain_in_a_signal_handler(tmp_path: Path, what: str, how: str) -> None:
    """In a handler of SIGTERM, whatever the main thread was waiting for."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(HANDLER.replace("HOW", how).replace("WHAT", WHAT[what])))
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(Path(procession.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "[1, 2, 3]" in done.stdout, done.stderr
    assert time.monotonic() - begin < 20, "it waited for all the time that it had"
    assert done.returncode == (3 if how == "sys.exit(3)" else 0), done.stderr
    assert done.stderr == ""
    if what != "a sleep" and how == "pass":
        assert "main 4" in done.stdout


def test_large_arguments_of_initializers() -> None:
    """They are not pickled again for each call; small ones are compared as they are."""
    counts = items.Counts(200_000)
    f = parallel(workers=1, inline=False, initializer=items.take, initargs=(counts,))(items.nap)
    assert f.map([0, 0]) == [0, 0]
    before = counts.times
    for _ in range(3):
        assert f.map([0, 0]) == [0, 0]
    assert counts.times == before
    assert len(registry.in_use()) == 1
    small: list[int] = []
    g = parallel(workers=1, inline=False, initializer=items.take, initargs=(small,))(items.taken)
    assert g.map([0]) == [[]]
    small.append(1)
    assert g.map([0]) == [[1]]
