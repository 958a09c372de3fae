"""What each engine must do, on a cluster of its own; the conformance suite has the rest."""

from __future__ import annotations

import asyncio
import importlib
import importlib.machinery
import itertools
import logging
import os
import platform
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import (
    BackendUnavailable,
    DeadlineExceeded,
    MemoryLimitExceeded,
    NotPicklable,
    OptionError,
    Overloaded,
    TimedOut,
    WorkerDied,
    shared,
)
from tests.clusters import functions as f

pytestmark = pytest.mark.usefixtures("dask_cluster", "ray_cluster")  # before what is left is noted


class Finder:
    """Finds modules in a folder that no path names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module, if it is there."""
        return importlib.machinery.PathFinder.find_spec(name, [str(self._folder)])


def lives(pid: int) -> bool:
    """Whether a process is there."""
    return os.path.exists(f"/proc/{pid}/stat")


def wait_for(path: Path) -> str:
    """The text of a file, once it is there."""
    while not path.exists():
        time.sleep(0.01)
    return path.read_text()


def wait_for_end(pid: int) -> None:
    """Return when a process has gone; a test's time limit ends a wait in vain."""
    while lives(pid):
        time.sleep(0.01)


def test_all_verbs(on_cluster: str) -> None:
    """Maps, calls, streams and coroutines give over there what they give here."""
    assert f.square(range(5)) == [0, 1, 4, 9, 16]
    assert sorted(f.square.imap_unordered(range(5))) == [0, 1, 4, 9, 16]
    assert [o.value for o in f.square.outcomes(range(3))] == [0, 1, 4]
    assert f.square.submit(3).result() == 9
    assert list(f.count_up(200)) == list(range(200))
    assert asyncio.run(f.add(2, 3)) == 5
    assert all(f.use_connection(range(4)))


def test_the_worker_is_named_by_its_machine(on_cluster: str) -> None:
    """`current_task().worker` is host and pid; the process is none of this program's."""
    worker, pid = f.where().result()
    host, _, number = worker.rpartition(":")
    assert host
    assert number == str(pid) != str(os.getpid())


def test_what_was_put_goes_once(on_cluster: str) -> None:
    """`shared.put` crosses, as an argument for all items or inside of one."""
    values = shared.put(list(range(50_000)))
    assert f.pick(range(4), values) == [0, 1, 2, 3]
    assert f.hold([values, 1]) == ["list", "int"]


@pytest.mark.parametrize(
    "make", [shared.Lock, shared.Queue, shared.Dict], ids=["lock", "queue", "dict"]
)
def test_what_is_shared_cannot_cross(on_cluster: str, make: Any) -> None:
    """Memory of this machine is refused, though on one machine it would seem to work."""
    with pytest.raises(NotPicklable, match=r"memory of this machine"):
        f.hold([make()])
    with pytest.raises(NotPicklable, match=r"memory of this machine"):
        f.pick(range(3), make())


def test_a_death_is_blamed(on_cluster: str) -> None:
    """An item that kills its process fails alone; the error names item and machine."""
    outcomes = list(f.kill_itself.outcomes(range(6)))
    assert [o.ok for o in outcomes] == [True, True, True, False, True, True]
    error = outcomes[3].error
    assert isinstance(error, WorkerDied)
    assert (error.index, error.signal) == (3, "SIGKILL")
    assert "item 3, on " in str(error)


def test_a_chunk_of_many_items(on_cluster: str, caplog: pytest.LogCaptureFixture) -> None:
    """Among items that cross together, one that fails, one that is tried again and one that kills
    its process are told apart; records of the others come home."""
    outcomes = list(f.picky.outcomes(range(3000)))
    assert {o.index for o in outcomes if not o.ok} == {1000, 2000}
    assert [o.value for o in outcomes if o.ok] == [x for x in range(3000) if x % 1000 or not x]
    assert isinstance(outcomes[1000].error, ZeroDivisionError)
    assert isinstance(outcomes[2000].error, WorkerDied)
    assert outcomes[1500].attempts == 2
    assert caplog.text.count("item 10 was here") == 1


def test_large_results_come_home(on_cluster: str) -> None:
    """What is too large for a message comes as the task's result."""
    sizes = [10, 3_000_000, 200_000]
    assert list(map(len, f.size_of(sizes))) == sizes


def test_large_items_go_there(on_cluster: str) -> None:
    """Items above Dask's own limit for a task cross without a warning."""
    assert f.hold([bytes(20_000_000), "a"]) == ["bytes", "str"]


def test_the_seed_is_the_same_everywhere(on_cluster: str) -> None:
    """The same seed gives the numbers that it gives on one machine."""
    far = f.draw.with_options(seed=7)(range(5))
    assert far == f.draw.with_options(seed=7, backend="process")(range(5))


def test_logs_warnings_and_variables(on_cluster: str, caplog: pytest.LogCaptureFixture) -> None:
    """A record and a warning come home; a context variable goes there."""
    f.COLOUR.set("red")
    with (
        caplog.at_level(logging.WARNING, "far"),
        pytest.warns(UserWarning, match="seen over there"),
    ):
        assert f.look().result() == "red"
    assert "said over there" in caplog.text


def test_an_error_has_a_note_of_the_machine(on_cluster: str) -> None:
    """It arrives as itself, with its traceback over there, and says which item and where."""
    with pytest.raises(ZeroDivisionError) as caught:
        f.fail([7])
    assert "raise ZeroDivisionError(x)" in "".join(traceback.format_exception(caught.value))
    notes = " ".join(caught.value.__notes__)
    assert "fail() was running item 0: 7" in notes
    assert platform.node() in notes


def test_limits_hold_over_there(on_cluster: str) -> None:
    """Of a chunk the item that hangs and the one that takes too much memory fail alone.

    The limit is long, as on a busy machine the others take their time.
    """
    function = f.overdo.with_options(timeout=10, memory_limit="500MB")
    outcomes = list(function.outcomes(range(5)))
    assert [outcome.value for outcome in outcomes if outcome.ok] == [0, 2, 4]
    late, large = outcomes[1].error, outcomes[3].error
    assert isinstance(late, TimedOut)
    assert (late.index, late.seconds) == (1, 10)
    assert isinstance(large, MemoryLimitExceeded)
    assert (large.index, large.limit) == (3, 500_000_000)


def test_an_initializer_and_progress(on_cluster: str) -> None:
    """Workers over there run the initializer first; progress is reported here."""
    shown: list[int] = []
    function = f.started_by.with_options(
        initializer=f.note_start,
        initargs=("there",),
        progress=lambda done, _: shown.append(done),
    )
    assert function(range(3)) == [["there"]] * 3
    assert f.STARTED == []
    assert shown[-1] == 3


def test_a_module_that_is_not_there(
    on_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the module, the machine, and how to send it."""
    name = f"only_here_for_{on_cluster}"
    (tmp_path / f"{name}.py").write_text("class Thing:\n    pass\n")
    # Not by sys.path, which workers are told: "another machine" is this one, and would find it.
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder(tmp_path)])
    thing = importlib.import_module(name).Thing()
    with pytest.raises(Exception, match=name) as caught:
        f.hold([thing])
    notes = " ".join(caught.value.__notes__)
    assert f"The module {name!r} is not installed on" in notes
    assert ("client.upload_file" if on_cluster == "dask" else "runtime_env") in notes
    del sys.modules[name]


def test_a_cancelled_call_ends_over_there(on_cluster: str, tmp_path: Path) -> None:
    """`cancel` kills the process that runs the call, and says so truly; more calls than may wait
    are refused meanwhile."""
    hang = f.hang.with_options(workers=1, max_pending=0)
    call = hang(tmp_path / "pid")
    pid = int(wait_for(tmp_path / "pid"))
    assert isinstance(hang(tmp_path / "other").exception(), Overloaded)
    assert call.cancel()
    wait_for_end(pid)


def test_a_call_ends_at_its_deadline(on_cluster: str, tmp_path: Path) -> None:
    """The process that runs the call over there ends, too."""
    call = f.hang.with_options(deadline=3)(tmp_path / "pid")
    pid = int(wait_for(tmp_path / "pid"))
    assert isinstance(call.exception(), DeadlineExceeded)
    wait_for_end(pid)


def test_a_closed_iterator_ends_what_runs(on_cluster: str, tmp_path: Path) -> None:
    """Items that run over there end with the iterator that is closed."""
    results: Any = f.first_only.imap(itertools.count(), tmp_path)
    assert next(results) == 0
    while not os.listdir(tmp_path):
        time.sleep(0.01)
    results.close()
    for pid in map(int, os.listdir(tmp_path)):
        wait_for_end(pid)


@pytest.mark.parametrize("option", [{"context": "fork"}, {"inline": True}], ids=str)
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_what_a_cluster_cannot_have(backend: str, option: dict[str, Any]) -> None:
    """Start methods and inline items are of this machine, and refused in one line."""
    with pytest.raises(OptionError) as caught:
        f.square.with_options(backend=backend, **option)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_it_is_not_installed(backend: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the command that installs it."""
    procession.shutdown()
    monkeypatch.setitem(sys.modules, package, None)
    function = f.square.with_options(backend=backend, address="127.0.0.1:1")
    with pytest.raises(BackendUnavailable, match=rf"pip install 'procession\[{backend}\]'"):
        function(range(3))


NAMED = """
import sys, procession

@procession.parallel_map(backend="dask", address="tcp://host:8786")
def on_dask(x): return x

@procession.parallel_map(backend="ray")
def on_ray(x): return x

assert on_dask.local(1) == on_ray.local(1) == 1
assert not {"distributed", "dask", "ray"} & {*sys.modules}
"""


def test_nothing_is_imported_before_it_is_used() -> None:
    """Neither engine is loaded by the package, nor by functions that name it."""
    subprocess.run([sys.executable, "-c", NAMED], check=True)
