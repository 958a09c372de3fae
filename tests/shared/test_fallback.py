"""Where semaphores, or files without names, are not to be had: the same meaning by other means."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from procession import ProcessionError, shared
from procession.shared.memory.layout import KIND, POLLED
from tests.support.project import ROOT

EVERYTHING = """
    import multiprocessing, os, sys, threading, time, warnings
    from procession.shared.memory import handles
    from procession.shared.memory import posix_semaphores as semaphores

    if "polled" in sys.argv:
        semaphores.usable = lambda: False
    if "named" in sys.argv:
        handles.NAMELESS = False

    from procession import WorkerDied, shared
    from tests.shared import jobs, soak

    start = multiprocessing.get_context("fork").Process

    def run(target, *args):
        process = start(target=target, args=args)
        process.start()
        process.join(60)
        return process.exitcode

    things = jobs.one_of_each()
    assert run(jobs.use, things) == 0
    jobs.assert_used(things)

    lock, value = shared.Lock(), shared.Value("i", 0, lock=False)
    workers = [start(target=jobs.increment_under, args=(lock, value, 200)) for _ in range(3)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert value.value == 600
    assert lock.acquire() and not lock.acquire(False) and not lock.acquire(timeout=0.01)
    run(lock.release)
    try:
        lock.release()
    except ValueError as error:
        assert "too many" in str(error)

    run(jobs.die_holding, lock)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert lock.acquire(timeout=30)
        assert len(caught) == 1

    semaphore = shared.Semaphore(1)
    run(jobs.die_within, semaphore)
    assert semaphore.acquire(timeout=30)
    try:
        run(jobs.die_holding, shared.Semaphore(1))
        assert not semaphore.acquire(False)
    except WorkerDied:
        raise SystemExit("nobody died here")

    taken, numbers = shared.List(), shared.Queue(5)
    consumer = start(target=jobs.take_until_none, args=(numbers, taken))
    consumer.start()
    jobs.put_numbers(numbers, 0, 50)
    numbers.put(None)
    numbers.join()
    consumer.join()
    assert taken == list(range(50))
    soak.soak(2, seed=1)
    import procession
    procession.shutdown()
    print("fine")
"""


@pytest.mark.parametrize("ways", [["polled"], ["named"], ["polled", "named"]])
def test_everything_by_other_means(ways: list[str], tmp_path: Path) -> None:
    """It works, and nothing is left."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(EVERYTHING), *ways],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")
    assert list(tmp_path.iterdir()) == []


def test_folders_of_the_killed_are_removed(tmp_path: Path) -> None:
    """By the next process that makes one; those of the living stay."""
    script = """
        import os, sys
        from procession.shared.memory import handles
        handles.NAMELESS = False
        fd, path = handles.create("lock", 1)
        assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
        print(os.listdir(os.environ["TMPDIR"])[0:] == [os.path.basename(os.path.dirname(path))])
        sys.stdout.flush()
        if "die" in sys.argv:
            os.kill(os.getpid(), 9)
    """
    for how in ("die", "die", "live"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), how],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        assert (done.stdout, done.stderr) == ("True\n", "")
    assert list(tmp_path.iterdir()) == []


def test_two_kinds_do_not_mix() -> None:
    """An object of a process that waits in another way is refused."""
    lock = shared.Lock()
    kind = lock._segment.words[KIND]
    lock._segment.words[KIND] = POLLED
    try:
        with pytest.raises(ProcessionError, match="another version of procession"):
            lock._segment.check()
    finally:
        lock._segment.words[KIND] = kind
