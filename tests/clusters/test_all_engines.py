"""What each engine must do, on a cluster of its own; the conformance suite has the rest."""

from __future__ import annotations

import asyncio
import importlib
import importlib.machinery
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from procession import NotPicklable, WorkerDied, shared
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


def test_logs_and_variables(on_cluster: str, caplog: pytest.LogCaptureFixture) -> None:
    """A record comes home; a context variable goes there."""
    f.COLOUR.set("red")
    with caplog.at_level(logging.WARNING, "far"):
        assert f.look().result() == "red"
    assert "said over there" in caplog.text


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
    """`cancel` kills the process that runs the call, and says so truly."""
    call = f.hang(tmp_path / "pid")
    pid = int(wait_for(tmp_path / "pid"))
    assert call.cancel()
    wait_for_end(pid)
