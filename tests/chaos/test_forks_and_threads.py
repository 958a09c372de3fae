"""User code that forks, and many threads on one pool: everyone gets what is theirs."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import psutil
import pytest

import procession
from tests.chaos.helpers import program, within, workers
from tests.chaos.jobs import call_square, fork_and_map, map_in_child, nap, square
from tests.support.waiting import wait_until

NO_FORK_WARNING = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}

FORKED = """
import os
from tests.chaos.jobs import nap, square
f = square.with_options(workers=2, inline=False, context={context!r})
assert f.map(range(9)) == [x * x for x in range(9)]
pending = nap.with_options(workers=2, context={context!r}).submit(7, 0.3)
child = os.fork()
if child == 0:
    assert f.map(range(5)) == [0, 1, 4, 9, 16]
    assert f.submit(6).result() == 36
    print("child", flush=True)
    raise SystemExit(0)
assert pending.result() == 7
assert f.map(range(9)) == [x * x for x in range(9)]
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("parent", flush=True)
"""


@pytest.mark.parametrize("context", ["fork", "forkserver", "spawn"])
def test_a_fork_while_pools_are_up(context: str) -> None:
    """The child gets pools of its own; the parent, with work in flight, goes on."""
    child = program(FORKED.format(context=context), env=NO_FORK_WARNING)
    out, err = child.communicate(timeout=60)
    assert (out.split(), err) == (["child", "parent"], "")


@pytest.mark.parametrize("backend", ["process", "loky"])
def test_items_that_fork_and_nest(backend: str) -> None:
    """A decorated call inside an item, and in a process that an item has forked, both work."""
    expected = sum(x * x for x in range(4))
    options: Any = {"workers": 2, "inline": False, "backend": backend}
    nested = call_square.with_options(**options)
    forking = fork_and_map.with_options(**options)
    assert within(lambda: nested.map([4, 4])) == [expected] * 2
    assert within(lambda: forking.map([4, 4])) == [(expected, expected)] * 2


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_multiprocessing_children() -> None:
    """A child of `multiprocessing` by fork uses decorated functions as its parent does."""
    function = square.with_options(inline=False, workers=2)
    assert within(lambda: function.map(range(9))) == [x * x for x in range(9)]
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=map_in_child, args=(9, writer))
    child.start()
    writer.close()
    assert within(reader.recv) == sum(x * x for x in range(9))
    within(child.join)
    reader.close()
    assert child.exitcode == 0
    child.close()
    assert within(lambda: function.map(range(9))) == [x * x for x in range(9)]


def test_many_threads_on_one_pool() -> None:
    """Sixteen threads map, submit and iterate at once; each gets its own results."""
    function = square.with_options(workers=2, inline=False)
    wrong: list[Any] = []

    def use(number: int) -> None:
        for turn in range(3):
            items = range(number, number + 40)
            expected = [x * x for x in items]
            if function.map(items) != expected or list(function.imap(items)) != expected:
                wrong.append((number, turn))
            if [f.result() for f in [function.submit(x) for x in items[:5]]] != expected[:5]:
                wrong.append((number, turn))

    threads = [threading.Thread(target=use, args=(n,), daemon=True) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []


@pytest.mark.soak
def test_submits_while_the_pools_are_shut_down() -> None:
    """Every future ends, with its value or `PoolClosed`, whenever `shutdown()` comes."""
    function = square.with_options(workers=2)
    over = threading.Event()
    wrong: list[Any] = []

    def use() -> None:
        while not over.is_set():
            try:
                if function.submit(3).result(30) != 9:
                    wrong.append("value")
            except procession.PoolClosed:
                pass
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=use, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        within(lambda: function.submit(2).exception())
        within(procession.shutdown)
    over.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.soak)])
def test_cycles_of_pools(count: int) -> None:
    """Pools that come and go leave no descriptor, no process and no thread behind."""

    def cycle() -> None:
        with procession.Pool(2) as pool:
            assert [pool.submit(abs, -n).result() for n in range(3)] == [0, 1, 2]

    def held() -> tuple[int, int, int]:
        me = psutil.Process()
        return me.num_fds(), len(me.children(recursive=True)), threading.active_count()

    for _ in range(3):
        within(cycle)
    before = held()
    for _ in range(count):
        within(cycle)
    wait_until(lambda: all(now <= was for now, was in zip(held(), before, strict=True)))


def test_idle_workers_go_and_come_back() -> None:
    """Workers without work end after a while; the next call starts new ones."""
    function = nap.with_options(workers=2, inline=False, chunk=1)
    for _ in range(2):
        assert within(lambda: function.map(range(4), 0.01)) == [0, 1, 2, 3]
        _pool()._dispatch.idle_timeout = 0.0
        wait_until(lambda: not workers())
        _pool()._dispatch.idle_timeout = 30.0


def _pool() -> Any:
    from procession.backends import registry

    (backend,) = registry.in_use()
    pool: Any = backend
    return pool


def test_a_child_of_a_thread_forks() -> None:
    """A fork in a thread, while another thread maps, gives a child whose calls work."""
    code = """
import os, threading
from tests.chaos.jobs import square
f = square.with_options(workers=2, inline=False)
over = threading.Event()
def use():
    while not over.is_set():
        assert f.map(range(30)) == [x * x for x in range(30)]
threading.Thread(target=use).start()
codes = []
def fork():
    for _ in range(6):
        child = os.fork()
        if child == 0:
            os._exit(0 if f.map(range(5)) == [0, 1, 4, 9, 16] else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread = threading.Thread(target=fork)
thread.start()
thread.join()
over.set()
print(codes, flush=True)
"""
    child = program(code, env=NO_FORK_WARNING)
    out, err = child.communicate(timeout=60)
    assert (out, err) == ("[0, 0, 0, 0, 0, 0]\n", "")
