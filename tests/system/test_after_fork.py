"""User code that forks: what a child finds of its parent's locks, futures and executors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.forking import run

LOCKS = {
    "configure": ("precedence._configured_lock", "procession.configure(retries=0)"),
    "per_worker": ("tasks._lock", "procession.per_worker(dict).value"),
    "seed": ("seeding._one_at_a_time", "seeding.preserve().__enter__()"),
    "guard": ("remote._guarding", "remote._guarding.acquire()"),
    "broadcast": ("broadcast._lock", "broadcast.sendable()"),
    "segments": ("segments._lock", "segments.clear()"),
    "pools": ("registry._lock", "mapped()"),
    "initializers": ("preparing._lock", "preparing.run_initializer_here(int, ())"),
    "shared objects": ("memory_file.opening", "shared.Lock()"),
    "shared pipes": ("pipe._lock", "shared.Pipe()"),
    "put": ("put._lock", "shared.put(bytes(10**6))"),
    "profile": ("profile._lock", "profile.summary()"),
    "profiles": ("observers._lock", "procession.profile().__enter__()"),
}


@pytest.mark.parametrize("name", LOCKS)
def test_locks_held_by_another_thread(name: str) -> None:
    """A child can use what another thread was just using when it was forked."""
    lock, use = LOCKS[name]
    out = run(f"""
    import procession
    from procession import shared, tasks
    from procession.backends import registry
    from procession.configuration import precedence
    from procession.observer import observers
    from procession.shared import put_once as put
    from procession.shared import pipe
    from procession.shared.memory import memory_file
    from procession.pickling.out_of_band import BroadcastBuffers
    from procession.buffers.sender import segments
    from procession.worker import seeding
    from procession.worker import preparing
    from procession.backends import executor_far_side as remote
    from tests.chaos.jobs import square
    broadcast, profile = BroadcastBuffers([]), procession.profile()

    def mapped():
        assert square.with_options(inline=False, workers=1).map(range(3)) == [0, 1, 4]
        procession.shutdown()

    held, over = threading.Event(), threading.Event()
    def hold():
        with {lock}:
            held.set()
            over.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    print(in_child(lambda: {use}), flush=True)
    over.set()
    thread.join()
    """)
    assert out == "0\n"


def test_a_lock_that_the_forking_thread_holds() -> None:
    """A child forked by what a `per_worker` factory does goes on within it."""
    out = run("""
    import procession
    codes = []
    def factory():
        codes.append(in_child(lambda: None))
        return codes
    print(procession.per_worker(factory).value, flush=True)
    """)
    assert out == "[0]\n"


EXECUTORS = {
    "threads": ("cf.ThreadPoolExecutor(1)", "f.map([1, 2])"),
    "processes": ("cf.ProcessPoolExecutor(1, spawn)", "f.map([1, 2])"),
    "loky": ("loky.ProcessPoolExecutor(1, timeout=60)", "f.submit(3).result()"),
    "Pool": ("cf.ThreadPoolExecutor(1)", "pool.submit(abs, -3).result()"),
    "used by others": ("cf.ThreadPoolExecutor(1)", "new.submit(3).result()"),
}


@pytest.mark.parametrize("name", EXECUTORS)
def test_the_users_own_executor(name: str) -> None:
    """An executor whose workers stayed in the parent is refused in the child, not waited for."""
    executor, use = EXECUTORS[name]
    out = run(f"""
    import concurrent.futures as cf, multiprocessing
    import procession
    from tests.chaos.jobs import square
    if "loky" in {executor!r}:
        import loky
    spawn = multiprocessing.get_context("spawn")
    executor = {executor}
    f = square.with_options(backend=executor, inline=False)
    if {name!r} == "used by others":
        executor.submit(abs, -1).result()
        new = f
    elif {name!r} == "Pool":
        pool = procession.Pool(backend=executor)
        assert pool.submit(abs, -3).result() == 3
    else:
        assert f.map([1, 2]) == [1, 4]
    assert in_child(lambda: {use}) == 1
    executor.shutdown()
    """)
    assert out.startswith("PoolClosed: the executor given as backend= (")
    assert "Make a new one here, after the fork, or write backend='process'." in out


@pytest.mark.parametrize("made", ["cf.ThreadPoolExecutor(1)", "procession.Pool(1)"])
def test_executors_that_work_in_the_child(made: str) -> None:
    """An executor that has no workers yet, or gets new ones after a fork, is used in the child."""
    out = run(f"""
    import concurrent.futures as cf
    import procession
    from tests.chaos.jobs import square
    with {made} as executor:
        f = square.with_options(backend=executor)
        if isinstance(executor, procession.Pool):
            assert f.map([1, 2]) == [1, 4]
        assert in_child(lambda: print(f.map([1, 2]), flush=True)) == 0
        print(f.map([1, 2]), flush=True)
    """)
    assert out == "[1, 4]\n[1, 4]\n"


def test_a_pool_of_threads() -> None:
    """A Pool on threads has threads of its own in the child; one that was shut down has none."""
    out = run("""
    import procession
    with procession.Pool(1, backend="thread") as pool:
        assert pool.submit(abs, -1).result() == 1
        assert in_child(lambda: print(pool.submit(abs, -2).result(), flush=True)) == 0
        print(pool.submit(abs, -3).result(), flush=True)
    in_child(lambda: pool.submit(abs, -4))
    """)
    assert out == "2\n3\nPoolClosed: cannot schedule new futures after shutdown\n"


FIRST_CALL = """
import os, signal, sys, threading
from procession import parallel_map
begun, forks = threading.Event(), threading.Event()

class Slow:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "procession.engine.map.map_verbs" and not forks.is_set():
            begun.set()
            forks.wait()

double = parallel_map(workers=2, inline=False)(len)
sys.meta_path.insert(0, Slow)
os.register_at_fork(before=forks.set)
thread = threading.Thread(target=lambda: double([[1]]))
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if double([[1, 2]]) == [2] else 1)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_awaits_what_the_first_call_imports() -> None:
    """Else the child would wait for ever for an import that another thread had begun."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST_CALL],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "0", done.stderr
