"""The pool: who gets which chunk, and when workers come and go."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procession.backends.process import ProcessBackend
from procession.errors import PoolClosed
from procession.process.io.reactor import Timer, reactor
from procession.process.pool.worker import Worker
from tests.process.jobs import (
    Told,
    begin,
    big,
    double,
    is_alive,
    job_of,
    length,
    nap,
    pid,
    poll,
    run,
    wait_for_file,
)
from tests.support.waiting import wait_until

Make = Callable[..., ProcessBackend]


def test_replies_come_in_order_once(backend: ProcessBackend) -> None:
    """A chunk's items reply in order, each once, whatever their number."""
    told = run(backend, job_of(double), list(range(500)))
    assert [reply.index for reply in told.replies] == list(range(500))
    assert told.values == {i: 2 * i for i in range(500)}
    assert told.wait().kind == "done"
    assert told.ends == 1


def test_chunks_are_served_in_order(make: Make) -> None:
    """With one worker, chunks end in the order in which they were started."""
    backend = make(1)
    job = job_of(double)
    ended: list[int] = []

    class Note(Told):
        number = 0

        def ended(self, chunk: object, end: object) -> None:
            ended.append(self.number)

    from procession.contract import Chunk
    from procession.items import Item
    from procession.pickling.pickler import dumps

    for number in range(50):
        note = Note()
        note.number = number
        backend.start(Chunk(job, [Item(0, 1, dumps(1))], note))
    poll(lambda: len(ended) == 50, "not all ended")
    assert ended == list(range(50))


def test_large_arguments_and_results(backend: ProcessBackend) -> None:
    """Megabytes cross both ways, in band and beside it, and stay writable."""
    assert run(backend, job_of(length), [bytes(5_000_000), bytearray(70_000), b"x"]).values == {
        0: 5_000_000,
        1: 70_000,
        2: 1,
    }
    assert {
        k: len(v) for k, v in run(backend, job_of(big), [0, 65_536, 9_000_000]).values.items()
    } == {
        0: 0,
        1: 65_536,
        2: 9_000_000,
    }


def test_replies_do_not_wait_for_a_slow_neighbour(make: Make, tmp_path: Path) -> None:
    """What is done is sent while the next item of the chunk still runs."""
    path = str(tmp_path / "here")
    _, told = begin(make(1), job_of(_first_then_wait), ["a", path])
    poll(lambda: told.replies, "the first reply did not come")
    assert not told.ends
    open(path + ".go", "w").close()
    assert told.wait().kind == "done"


def _first_then_wait(path: str) -> str:
    return path if path == "a" else wait_for_file(path)


def test_attend_reads_in_the_calling_thread(backend: ProcessBackend) -> None:
    """Who attends a chunk finds it over when that returns, without the reactor's help."""
    run(backend, job_of(double), [0])
    job, over = job_of(double), 0
    for number in range(200):
        chunk, told = begin(backend, job, [number])
        backend.attend(chunk)
        over += told.ends
        told.wait()
        assert told.values == {0: 2 * number}
    assert over > 20  # not all: a thread that is held up finds that the reactor was there first


def test_attend_gives_up_in_time(make: Make, tmp_path: Path) -> None:
    """Attending ends with its timeout, and the reactor goes on reading."""
    backend = make(1)
    run(backend, job_of(double), [0])
    path = str(tmp_path / "here")
    chunk, told = begin(backend, job_of(wait_for_file), [path])
    backend.attend(chunk, 0.05)
    assert not told.ends
    open(path + ".go", "w").close()
    assert told.wait().kind == "done"


def test_cancel_before_it_started(make: Make, tmp_path: Path) -> None:
    """A chunk that waits is taken back, and its worker is left in peace."""
    backend = make(1)
    path = str(tmp_path / "here")
    first, told_first = begin(backend, job_of(wait_for_file), [path])
    poll(lambda: os.path.exists(path), "never ran")
    second, told = begin(backend, job_of(double), [1])
    assert (backend.running(first), backend.running(second)) == (True, False)
    assert backend.cancel(second)
    assert told.wait().kind == "cancelled"
    assert not backend.cancel(second)
    open(path + ".go", "w").close()
    assert told_first.wait().kind == "done"
    assert not backend.cancel(first)


def test_cancel_replaces_the_worker(make: Make) -> None:
    """Cancelled work ends its worker, and what waits behind it runs in another."""
    backend = make(1)
    chunk, told = begin(backend, job_of(nap), [600])
    _, behind = begin(backend, job_of(double), [1])
    poll(lambda: chunk.handle.worker, "never sent")
    assert backend.cancel(chunk)
    assert told.wait().kind == "cancelled"
    assert behind.wait().kind == "done"


def test_worker_is_replaced_after_its_tasks(make: Make) -> None:
    """After max_tasks_per_worker items another process takes over."""
    backend = make(1, max_tasks_per_worker=2)
    job = job_of(pid)
    pids = [run(backend, job, [0]).values[0] for _ in range(6)]
    assert len(set(pids)) == 3
    assert all(pids.count(each) == 2 for each in pids)


def test_idle_workers_go_and_come_back(make: Make) -> None:
    """Without work the pool shrinks to nothing, with its thread; then it grows again."""
    backend = make(2, idle=0.05)
    first = run(backend, job_of(pid), [0]).values[0]
    poll(lambda: not backend.warm and not is_alive(first), "the worker stayed")
    assert run(backend, job_of(pid), [0]).values[0] != first


def test_pool_starts_no_more_than_needed(make: Make) -> None:
    """One chunk at a time needs one worker, however many there may be."""
    backend = make(4)
    pids = {run(backend, job_of(pid), [0]).values[0] for _ in range(10)}
    assert len(pids) == 1


def test_close_lets_work_finish(make: Make) -> None:
    """What was started before ends well; what comes after is refused."""
    backend = make(1)
    tolds = [begin(backend, job_of(nap), [0.02])[1] for _ in range(5)]
    backend.close()
    assert [told.wait().kind for told in tolds] == ["done"] * 5
    with pytest.raises(PoolClosed, match="its pool was shut down"):
        begin(backend, job_of(double), [1])


def test_close_with_kill(make: Make) -> None:
    """Running and waiting chunks end as cancelled, and the processes are gone."""
    backend = make(1)
    tolds = [begin(backend, job_of(nap), [600]) for _ in range(3)]
    worker = poll(lambda: tolds[0][0].handle.worker, "never sent")
    backend.close(kill=True)
    assert [told.wait().kind for _, told in tolds] == ["cancelled"] * 3
    assert not is_alive(worker.pid)


def test_many_threads(make: Make) -> None:
    """Eight threads that start and attend chunks at once all get their own results."""
    backend = make(3)
    job = job_of(double)
    wrong: list[object] = []

    def work(base: int) -> None:
        for number in range(base, base + 100):
            chunk, told = begin(backend, job, [number])
            backend.attend(chunk)
            told.wait()
            if told.values != {0: 2 * number}:
                wrong.append((number, told.replies))

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_header_is_sent_once(make: Make) -> None:
    """A job's header crosses once per worker, and is dropped there when the job is over here."""
    backend = make(1)
    for _ in range(60):
        job = job_of(double)
        run(backend, job, [1])
        run(backend, job, [2])
    (worker,) = backend.state.workers
    assert len(worker._jobs) <= 48
    assert job.key in worker._jobs


def test_forked_child_has_its_own_workers(make: Make) -> None:
    """After os.fork() the child's calls run in workers of its own, and the parent's go on."""
    backend = make(1)
    ours = run(backend, job_of(pid), [0]).values[0]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            theirs = run(backend, job_of(pid), [0]).values[0]
            os.write(writer, str(theirs).encode())
            backend.close()
            from procession.process.pool import at_exit as cleanup

            cleanup.shutdown()
        finally:
            os._exit(0)
    os.close(writer)
    theirs = int(os.read(reader, 100))
    os.close(reader)
    os.waitpid(child, 0)
    assert theirs != ours
    assert run(backend, job_of(pid), [0]).values[0] == ours


def test_reactor_ends_with_the_last_worker(make: Make) -> None:
    """No thread and no descriptor is left when no worker is."""
    backend = make(1)
    run(backend, job_of(double), [1])
    backend.close()
    others = [pool for pool in (reactor._thread,) if pool is not None]
    for thread in others:
        if not reactor._calls:
            thread.join(10)
            assert not thread.is_alive()


def test_create_and_close(make: Make) -> None:
    """Forty pools, one after the other, leave no descriptor."""
    run(make(1), job_of(double), [1])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(40):
        backend = make(1)
        run(backend, job_of(double), [1])
        backend.close()
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_clock_runs_before_a_worker_is_asked_to_stop() -> None:
    """A last worker that ends at once leaves the reactor's thread for its clock to be set in."""
    clocks: list[int] = []

    class Asked:
        def __init__(self) -> None:
            self._timers: list[Timer] = []
            self.channel = self

        def say(self, *_: object) -> None:
            clocks.append(len(self._timers))

    worker: Any = Asked()
    Worker.stop(worker)
    for timer in worker._timers:
        timer.cancel()
    assert clocks == [1]


def test_a_reader_that_has_gone_blocks_nobody(backend: ProcessBackend) -> None:
    """The lock of a thread that left amid a read is given back, and the worker goes on."""
    job = job_of(double)
    run(backend, job, [1])
    (worker, *_) = backend.state.workers
    thread = threading.Thread(target=worker.channel._reading.acquire)
    thread.start()
    thread.join()
    wait_until(lambda: not worker.channel._reading.locked())
    assert run(backend, job, [2]).values == {0: 4}
    assert worker in backend.state.workers
