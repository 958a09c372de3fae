"""Shared objects reach every kind of worker, by every way."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from procession import ProcessionError, parallel_map, shared
from tests.shared import jobs
from tests.shared.jobs import Start


def test_to_a_process(start: Start) -> None:
    """All kinds, in one container, to a process of each start method."""
    things = jobs.one_of_each()
    process = start(jobs.use, things)
    process.join(60)
    assert process.exitcode == 0
    jobs.assert_used(things)


def test_to_a_pool_that_runs_already(executor: Executor) -> None:
    """All kinds, made after the workers started."""
    things = jobs.one_of_each()
    assert executor.submit(jobs.use, things).result(60) == "used"
    jobs.assert_used(things)


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib", "thread"])
def test_to_a_decorated_function(backend: Any) -> None:
    """All kinds, through the decorators' own backends."""
    things = jobs.one_of_each()
    work = parallel_map(jobs.use, backend=backend, workers=2, inline=False)
    assert list(work([things] * 3)) == ["used"] * 3
    jobs.assert_used(things, times=3)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_to_a_grandchild(fork: Start, method: str) -> None:
    """A process that received them sends them on."""
    things = jobs.one_of_each()
    process = fork(jobs.pass_on, method, things)
    process.join(60)
    assert process.exitcode == 0
    jobs.assert_used(things)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_as_initargs(method: str) -> None:
    """They may be what a pool's initializer gets."""
    value = shared.Value("i", 0)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, context, jobs.initialize, (value,)) as pool:
        list(pool.map(jobs.increment_what_came_first, [100] * 4))
    assert value.value == 400


def test_to_threads() -> None:
    """Threads of one process exclude each other, too."""
    value, lock = shared.Value("i", 0, lock=False), shared.Lock()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: jobs.increment_under(lock, value, 2000), range(4)))
    assert value.value == 8000


def test_in_a_closure_of_main() -> None:
    """A function of ``__main__`` may close over them."""
    script = """
        from procession import parallel_map, shared

        def make():
            value, lock = shared.Value("i", 0, lock=False), shared.Lock()

            @parallel_map(backend="loky", workers=2, inline=False, pickling="by-value")
            def add(number):
                with lock:
                    value.value += number

            list(add(range(101)))
            print(value.value)

        make()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("5050\n", "")


@pytest.mark.parametrize("name", sorted(jobs.one_of_each()))
def test_the_same_object_again(name: str) -> None:
    """What comes back to where it is known is that very object."""
    thing = jobs.one_of_each()[name]
    if name == "namespace":
        assert pickle.loads(pickle.dumps(thing))._values is thing._values
    else:
        assert pickle.loads(pickle.dumps(thing)) is thing


def test_twice_in_one_message(executor: Executor) -> None:
    """What arrives in two pickles is one object there, too."""
    things = jobs.one_of_each()
    del things["namespace"]  # a handle on a Dict, which is one object
    for name, thing in things.items():
        second = _Unpickled(pickle.dumps(thing))
        assert executor.submit(jobs.same, thing, second).result(60), name


class _Unpickled:
    """Becomes what was pickled, when it arrives."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.blob,)


def test_the_sender_dropped_it(fork: Start) -> None:
    """A clear error tells that the object is gone, and what to do."""
    blob = pickle.dumps(shared.Lock())
    gc.collect()
    with pytest.raises(ProcessionError, match=r"process \d+ sent.*Keep a reference to the object"):
        pickle.loads(blob)


def test_another_file_under_the_same_number() -> None:
    """A descriptor that was used again is never taken for the object."""
    lock = shared.Lock()
    function, arguments = lock._segment.__reduce__()
    cls, pid, fd, device, inode, path = arguments
    descriptor = os.memfd_create("other")
    try:
        with pytest.raises(ProcessionError, match="cannot be opened"):
            function(cls, pid, descriptor, device, inode + 1_000_000, path)
    finally:
        os.close(descriptor)
    assert function(cls, pid, fd, device, inode, path) is lock._segment


@pytest.mark.parametrize("make", [shared.Lock, shared.Queue, shared.Dict, shared.Pipe])
def test_nothing_is_left_open(make: Callable[[], object]) -> None:
    """What is dropped closes its descriptors."""
    make()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    things = [make() for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) > before
    del things
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_only_for_the_same_user() -> None:
    """The memory has no name, and its mode lets nobody else in."""
    lock = shared.Lock()
    assert os.fstat(lock._segment.fd).st_mode & 0o777 == 0o600


def test_forked_while_a_thread_holds_it(fork: Start) -> None:
    """A child that was forked while its parent held a lock waits for it like everyone."""
    lock, value = shared.RLock(), shared.Value("i", 0, lock=False)
    with lock:
        process = fork(jobs.increment_under, lock, value, 1)
        assert value.value == 0
    process.join(60)
    assert value.value == 1


def test_every_name_is_there() -> None:
    """`__all__` and `dir` name what can be imported."""
    for name in shared.__all__:
        assert name in dir(shared)
        assert getattr(shared, name) is not None
    with pytest.raises(AttributeError, match="Lokc"):
        shared.__getattr__("Lokc")


def test_many_threads_receive_it_at_once() -> None:
    """Only one of them opens it."""
    event = shared.Event()
    blob = pickle.dumps(event)
    received: list[Any] = []
    threads = [threading.Thread(target=lambda: received.append(pickle.loads(blob))) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one is event for one in received)
