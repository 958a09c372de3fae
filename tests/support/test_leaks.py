"""The leak check finds what it is there to find, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from procession import Future
from tests.support.leaks import describe, left_behind, orphans, snapshot
from tests.support.waiting import wait_until

SLEEPER = [sys.executable, "-c", "input()"]


def test_nothing_is_reported_when_nothing_happened() -> None:
    """Two snapshots with nothing in between are equal."""
    assert left_behind(snapshot(), patience=0) == frozenset()


def test_a_child_process_is_found_and_described() -> None:
    """A child that was not ended is named by its command."""
    before = snapshot()
    with subprocess.Popen(SLEEPER, stdin=subprocess.PIPE) as child:
        left = [thing for thing in left_behind(before, patience=0) if thing.kind == "process"]
        assert [thing.name.split()[0] for thing in left] == [str(child.pid)]
        wait_until(lambda: "input()" in describe(left[0]))
        child.communicate(b"\n")
    assert left_behind(before) == frozenset()


def test_a_zombie_is_found() -> None:
    """A child that ended but was never waited for is still held."""
    before = snapshot()
    child = os.posix_spawn("/bin/true", ["true"], {})
    left = left_behind(before, patience=0)
    os.waitpid(child, 0)
    assert [thing.kind for thing in left] == ["process"]


def test_a_descriptor_is_found() -> None:
    """A pipe end that nobody closed is named with its target."""
    before = snapshot()
    reader, writer = os.pipe()
    left = left_behind(before, patience=0)
    os.close(reader)
    os.close(writer)
    assert {thing.kind for thing in left} == {"descriptor"}
    assert len(left) == 2


def test_a_temporary_file_is_found() -> None:
    """A file left in the temporary folder is named."""
    before = snapshot()
    descriptor, path = tempfile.mkstemp()
    os.close(descriptor)
    left = left_behind(before, patience=0)
    Path(path).unlink()
    assert [(thing.kind, thing.name) for thing in left] == [("temporary file", Path(path).name)]


def test_a_thread_of_ours_is_found() -> None:
    """Threads are held against us by name; other programs' threads are not."""
    before = snapshot()
    go = threading.Event()
    ours = threading.Thread(target=go.wait, name="procession-test")
    other = threading.Thread(target=go.wait, name="somebody else")
    ours.start()
    other.start()
    left = left_behind(before, patience=0)
    go.set()
    ours.join()
    other.join()
    assert [thing.name.split()[0] for thing in left] == ["procession-test"]


def test_an_orphan_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grandchild whose parent is gone is in no list of children, and is found all the same."""
    monkeypatch.setenv("MARKED_BY_THIS_TEST", "yes")
    script = (
        "import subprocess\n"
        "print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, "
        "stderr=subprocess.DEVNULL).pid)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    pid = int(ran.stdout)
    try:
        assert f"process {pid} " in "".join(orphans("MARKED_BY_THIS_TEST=yes"))
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_future_that_nobody_settles_is_found() -> None:
    """It is named by its function."""
    before = snapshot()
    future: Future[int] = Future()
    work: Any = SimpleNamespace(name="never")
    future.stand_for(work)
    left = left_behind(before, patience=0)
    future.settle(1)
    assert [(thing.kind, thing.name.split()[1]) for thing in left] == [("future", "never()")]
    assert left_behind(before) == frozenset()
