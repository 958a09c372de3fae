"""What joblib promises, on Procession's workers, and what they add to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed

import procession.joblib
from procession import NotPicklable, OptionError, TimedOut, WorkerDied
from procession.errors import TaskExited
from tests.support.waiting import wait_until

procession.joblib.register()


@pytest.fixture(autouse=True)
def backend() -> Iterator[None]:
    """Two workers of Procession's for each test."""
    with joblib.parallel_config(backend="procession", n_jobs=2):
        yield


def write(array: Any, value: float) -> str:
    """Write to an array, if it can be written to."""
    try:
        array[0] = value
    except ValueError:
        return "read-only"
    return "written"


def first(array: Any) -> float:
    """The first number."""
    return float(array[0])


def pid(_: int) -> int:
    """Which process this is."""
    return os.getpid()


def die_once(path: Path) -> str:
    """Kill the worker, the first time."""
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


def hang(_: int) -> None:
    """Never end."""
    threading.Event().wait()


def stop(_: int) -> None:
    """Raise what a Ctrl-C would."""
    raise KeyboardInterrupt


LARGE = 400_000


def test_tasks_run_in_workers() -> None:
    """No task runs in the caller's process, and results come in order."""
    assert os.getpid() not in Parallel()(delayed(pid)(i) for i in range(4))
    assert Parallel()(delayed(abs)(-i) for i in range(100)) == list(range(100))


def test_functions_by_value() -> None:
    """Lambdas and closures go, as with joblib's own workers."""
    assert Parallel()(delayed(lambda x: x + 1)(i) for i in range(3)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("mode", "says"), [("r", "read-only"), ("c", "written"), ("r+", "written")]
)
def test_modes_of_large_arrays(mode: Any, says: str) -> None:
    """An array above `max_nbytes` can be written to as `mmap_mode` says; the caller's stays."""
    array = np.ones(LARGE)
    assert Parallel(mmap_mode=mode)(delayed(write)(array, 9.0) for _ in range(2)) == [says, says]
    assert array[0] == 1.0


def test_private_copies_are_private() -> None:
    """With ``"c"`` a task does not see what another has written."""
    array = np.ones(LARGE)
    tasks = [delayed(write)(array, 9.0), delayed(first)(array)]
    assert Parallel(mmap_mode="c", pre_dispatch=1, batch_size=1)(tasks) == ["written", 1.0]


def test_writes_are_seen_by_the_call() -> None:
    """With ``"r+"`` the tasks of a call share one memory."""
    array = np.ones(LARGE)
    one_after_the_other = Parallel(mmap_mode="r+", pre_dispatch=1, batch_size=1)
    tasks = [delayed(write)(array, 9.0), delayed(first)(array)]
    assert one_after_the_other(tasks) == ["written", 9.0]


def test_changes_between_calls_are_seen() -> None:
    """A large array that changed in place is sent anew by the next call."""
    array = np.ones(LARGE)
    with Parallel() as run:
        assert run(delayed(first)(array) for _ in range(3)) == [1.0] * 3
        array[0] = 2.0
        assert run(delayed(first)(array) for _ in range(3)) == [2.0] * 3


def test_arrays_deep_inside() -> None:
    """A large array is recognised wherever it sits, and comes as joblib's workers give it."""
    array = np.ones(LARGE)
    kinds = Parallel()(delayed(lambda held: type(held["x"][0]))({"x": [array]}) for _ in range(2))
    assert kinds == [np.memmap, np.memmap]


def test_files_are_written_through(tmp_path: Path) -> None:
    """What tasks write to a `numpy.memmap` of the user's, the caller reads."""
    array = np.memmap(tmp_path / "file", dtype="f8", mode="w+", shape=100)
    Parallel()(delayed(write)(array[i:], float(i)) for i in range(5))
    assert array[:5].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_large_files_are_written_through(tmp_path: Path) -> None:
    """So is one above `max_nbytes`, and a view of it."""
    array = np.memmap(tmp_path / "file", dtype="f8", mode="w+", shape=LARGE)
    Parallel()([delayed(write)(array, 5.0), delayed(write)(array[1000:], 6.0)])
    assert (array[0], array[1000]) == (5.0, 6.0)


def test_a_stream_of_arrays_does_not_pile_up() -> None:
    """The copy of a large array goes with the array, in the middle of a call."""
    tasks = (delayed(first)(np.full(LARGE, float(i))) for i in range(12))
    run = Parallel(return_as="generator", pre_dispatch=2, batch_size=1)
    seen = []
    for value in run(tasks):
        seen.append(value)
        wait_until(lambda: len(run._backend._arrays._sent) <= 6)  # long before the call is over
    assert seen == [float(i) for i in range(12)]


def test_a_file_less_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large arrays leave no file, not even while the call runs."""
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    Parallel()(delayed(first)(np.ones(LARGE)) for _ in range(4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("style", ["generator", "generator_unordered"])
def test_generators(style: Any) -> None:
    """Results come one by one, and two calls may be read at once."""
    one = Parallel(return_as=style)(delayed(abs)(-i) for i in range(10))
    other = Parallel(return_as=style)(delayed(abs)(-i) for i in range(10, 20))
    taken = [next(one), next(other)]
    assert sorted([*taken, *one, *other]) == list(range(20))


def test_nested_calls() -> None:
    """A task may call joblib itself."""

    def nest(count: int) -> list[int]:
        return list(Parallel(n_jobs=2)(delayed(abs)(-i) for i in range(count)))

    assert Parallel()(delayed(nest)(i) for i in range(3)) == [[], [0], [0, 1]]


def test_shared_memory_is_threads() -> None:
    """``require="sharedmem"`` runs in threads of this process."""
    seen: list[int] = []
    Parallel(require="sharedmem")(delayed(seen.append)(i) for i in range(5))
    assert sorted(seen) == list(range(5))


@pytest.mark.parametrize(("n_jobs", "workers"), [(-1, 4), (-2, 3), (-9, 1), (3, 3), (None, 1)])
def test_numbers_of_workers(
    n_jobs: int | None, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-1 is all usable CPUs, -2 all but one."""
    monkeypatch.setenv("PROCESSION_WORKERS", "4")
    monkeypatch.setattr("procession.joblib.usable_cpus", lambda: 4)
    assert procession.joblib.ProcessionBackend().effective_n_jobs(n_jobs) == workers


def test_no_workers_is_an_error() -> None:
    """``n_jobs=0`` has no meaning."""
    with pytest.raises(ValueError, match="n_jobs == 0"):
        procession.joblib.ProcessionBackend().effective_n_jobs(0)


def test_joblibs_timeout_ends_the_call() -> None:
    """Where joblib gives up waiting, what runs is ended; the next call goes on."""
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.2)(delayed(hang)(i) for i in range(2))
    assert Parallel()(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


def test_an_error_ends_its_own_call_only() -> None:
    """When a task fails, tasks of other calls go on."""

    def fail(_: int) -> None:
        raise ZeroDivisionError

    other = Parallel(return_as="generator")(delayed(abs)(-i) for i in range(20))
    with pytest.raises(ZeroDivisionError):
        Parallel()(delayed(fail)(i) for i in range(20))
    assert list(other) == list(range(20))


def test_a_task_that_raises_interrupt() -> None:
    """`KeyboardInterrupt` of a task arrives as itself, as joblib has it."""
    with pytest.raises(KeyboardInterrupt) as caught:
        Parallel()(delayed(stop)(i) for i in range(2))
    assert not isinstance(caught.value, TaskExited)


def test_retries_survive_a_killed_worker(tmp_path: Path) -> None:
    """With ``retries=1`` a task whose worker was killed runs again."""
    with joblib.parallel_config(backend="procession", n_jobs=2, retries=1):
        assert Parallel()([delayed(die_once)(tmp_path / "died")]) == ["lived"]


def test_a_killed_worker_is_an_error(tmp_path: Path) -> None:
    """Without retries the call fails, and the next one finds workers."""
    with pytest.raises(WorkerDied, match="die_once"):
        Parallel()([delayed(die_once)(tmp_path / "died"), delayed(abs)(-1)])
    assert Parallel()(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


def test_a_limit_of_time() -> None:
    """``timeout=`` of the backend ends a task that runs longer, and says where it was."""
    with joblib.parallel_config(backend="procession", n_jobs=2, timeout=0.2):
        with pytest.raises(TimedOut, match="hang"):
            Parallel()(delayed(hang)(i) for i in range(2))


def test_one_worker_with_options_is_a_worker() -> None:
    """With ``n_jobs=1`` options still hold: the task runs in a worker."""
    with joblib.parallel_config(backend="procession", n_jobs=1, timeout=60):
        assert Parallel()(delayed(pid)(i) for i in range(2)) != [os.getpid()] * 2


def test_what_cannot_be_pickled_is_named() -> None:
    """The error names the lock by its path in the task."""
    with pytest.raises(NotPicklable, match=r"batch\.items\[0\]\[1\]\[0\]\['k'\]"):
        Parallel()(delayed(len)({"k": threading.Lock()}) for _ in range(2))


@pytest.mark.parametrize("option", ["retrys", "workers"])
def test_unknown_options_are_refused(option: str) -> None:
    """An option that does not hold here says so at once."""
    with pytest.raises(OptionError):
        joblib.parallel_config(backend="procession", n_jobs=2, **{option: 1})


def test_an_unknown_mode_of_arrays_is_refused() -> None:
    """`mmap_mode` is one of joblib's; another one is told with those that there are."""
    with pytest.raises(OptionError, match=r"^mmap_mode='rw' .*'r', 'r\+', 'w\+', 'c' or None"):
        Parallel(mmap_mode="rw")(delayed(abs)(i) for i in range(2))


def test_threads_of_libraries() -> None:
    """``inner_max_num_threads`` caps BLAS and OpenMP in the workers."""

    def cap(_: int) -> str | None:
        return os.environ.get("OMP_NUM_THREADS")

    with joblib.parallel_config(backend="procession", n_jobs=2, inner_max_num_threads=1):
        assert Parallel()(delayed(cap)(i) for i in range(2)) == ["1", "1"]


def test_lokys_workers_are_lokys() -> None:
    """joblib's copy of loky takes over loky's start method; ``backend="loky"`` is not led there."""
    program = (
        "import loky, joblib, operator\n"
        "from procession import parallel\n"
        "assert parallel(backend='loky', workers=1)(operator.neg).submit(1).result() == -1\n"
        "from joblib.externals.loky.backend.resource_tracker import _resource_tracker as joblibs\n"
        "from loky.backend.resource_tracker import _resource_tracker as lokys\n"
        "print(joblibs._pid, lokys._pid is not None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["None", "True"]


def test_without_joblib() -> None:
    """Where joblib is missing, the import says which extra brings it."""
    program = (
        "import sys; sys.modules['joblib'] = None\n"
        "from procession import BackendUnavailable\n"
        "try: import procession.joblib\n"
        "except BackendUnavailable as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "pip install procession[joblib]" in done.stdout
