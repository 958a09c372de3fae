"""Workers start through any context without the main module, and see their parent's world."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import procession
from procession.backends.process import ProcessBackend
from procession.errors import OptionError
from procession.process.pool.worker_starts import WorkerSpec
from procession.process.start import fork_server as server
from procession.process.start.fork_server import read_number
from procession.process.start.start_methods import METHODS
from procession.worker.preparing import Cap
from tests.process.jobs import (
    alarm,
    begin,
    die_in_initialiser,
    double,
    draw,
    fail_to_initialise,
    initialise,
    initialised,
    job_of,
    late_codecs,
    leave_note_at_exit,
    nap,
    pid,
    poll,
    run,
    surroundings,
)
from tests.support.project import ROOT
from tests.support.waiting import wait_until

Make = Callable[..., ProcessBackend]

SCRIPT = """
import os, sys
sys.path[:0] = [{root!r}, {source!r}]
print("main runs in", os.getpid() == int(os.environ.setdefault("FIRST", str(os.getpid()))))
from tests.process.jobs import double, job_of, run
from procession.backends.process import ProcessBackend
from procession.process.pool.worker_starts import WorkerSpec
backend = ProcessBackend(WorkerSpec(context={context!r}), 1)
print(run(backend, job_of(double), [1, 2]).values)
backend.close()
"""


def test_start_method_is_what_it_says(backend: ProcessBackend) -> None:
    """multiprocessing tells the truth about the start method in the worker."""
    method = backend.spec.context
    seen = run(backend, job_of(surroundings), [""]).values[0]
    assert (seen["method"], seen["process"]) == (method, method)
    assert not seen["daemon"]
    assert seen["main_thread"]
    assert not seen["daemonic"]


def test_worker_is_set_up(backend: ProcessBackend) -> None:
    """A worker leads its own group, reads nothing, ignores SIGINT, and blocks no signal."""
    seen = run(backend, job_of(surroundings), [""]).values[0]
    assert seen["group"]
    assert seen["stdin"]
    assert seen["sigint"]
    assert seen["sigterm"]
    assert seen["blocked"] == []


def test_set_up_imports_no_codec(make: Make) -> None:
    """Each worker would do so anew: that took a tenth of its start."""
    assert run(make(), job_of(late_codecs), [None]).values[0] == []


@pytest.mark.parametrize("context", METHODS)
def test_worker_sees_the_callers_world(
    make: Make, context: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folder, umask, environment and sys.path are the caller's at the worker's start."""
    run(make(context=context), job_of(double), [1])  # the fork server runs by now
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROCESSION_TEST_VARIABLE", "seen")
    monkeypatch.syspath_prepend("/nowhere/special")
    before = os.umask(0o027)
    try:
        seen = run(make(context=context), job_of(surroundings), ["PROCESSION_TEST_VARIABLE"])
    finally:
        os.umask(before)
    world = seen.values[0]
    assert world["cwd"] == str(tmp_path)
    assert world["umask"] == 0o027
    assert world["environment"] == "seen"
    assert "/nowhere/special" in world["path"]


@pytest.mark.parametrize("context", METHODS)
@pytest.mark.parametrize("way", ["script", "-c", "stdin", "-m"])
def test_main_is_never_imported(tmp_path: Path, context: str, way: str) -> None:
    """No name guard is needed, however the program was started."""
    code = textwrap.dedent(SCRIPT).format(root=str(ROOT), source=str(ROOT / "src"), context=context)
    (tmp_path / "program.py").write_text(code)
    command, given = {
        "script": (["program.py"], None),
        "-c": (["-c", code], None),
        "stdin": (["-"], code),
        "-m": (["-m", "program"], None),
    }[way]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        input=given,
        stdin=None if given else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["main runs in True", "{0: 2, 1: 4}"]


def test_default_start_method_stays_open() -> None:
    """Starting workers does not fix the default start method of the user's program."""
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'src')!r}]\n"
        "from tests.process.jobs import *\n"
        "from procession.backends.process import ProcessBackend\n"
        "from procession.process.pool.worker_starts import WorkerSpec\n"
        "import multiprocessing\n"
        "for context in ('spawn', 'forkserver', 'fork'):\n"
        "    backend = ProcessBackend(WorkerSpec(context=context), 1)\n"
        "    run(backend, job_of(double), [1])\n"
        "    backend.close()\n"
        "multiprocessing.set_start_method('spawn')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_context_object(make: Make) -> None:
    """A multiprocessing context object is as good as its name."""
    seen = run(make(context=multiprocessing.get_context("spawn")), job_of(surroundings), [""])
    assert seen.values[0]["method"] == "spawn"


def test_unknown_context() -> None:
    """An unknown context is refused with the ones there are."""
    with pytest.raises(OptionError, match="'fork', 'spawn', 'forkserver', 'loky'"):
        ProcessBackend(WorkerSpec(context="thread"), 1)


def test_initializer_runs_once_per_worker(backend: ProcessBackend, make: Make) -> None:
    """It runs before the first item, once in each worker."""
    context = backend.spec.context
    pool = make(context=context, initializer=initialise, initargs=(1, "two"))
    told = run(pool, job_of(initialised), [0, 1])
    assert told.values == {0: [1, "two"], 1: [1, "two"]}


def test_initializer_that_raises(make: Make) -> None:
    """Its error is the answer to what waits, at once; no worker is started again and again."""
    pool = make(2, initializer=fail_to_initialise)
    for _ in range(2):
        end = run(pool, job_of(double), [1]).wait()
        assert end.kind == "refused"
        assert isinstance(end.error, LookupError)
        assert "while a worker was set up" in "".join(end.error.__notes__)


def test_initializer_that_kills_its_worker(make: Make) -> None:
    """After three tries what waits is refused, with the exit code."""
    end = run(make(initializer=die_in_initialiser), job_of(double), [1]).wait()
    assert end.kind == "refused"
    assert getattr(end.error, "exitcode", None) == 9


@pytest.mark.parametrize("context", METHODS)
def test_threads_are_capped(make: Make, context: str) -> None:
    """The variables that OpenMP and BLAS read are set in the worker."""
    seen = run(make(context=context, threads_per_worker=Cap(3)), job_of(surroundings), [""])
    assert seen.values[0]["threads"] == "3"


def test_preload(make: Make) -> None:
    """Modules to preload are there before the first item; one that is missing harms nobody."""
    pool = make(preload=("no_such_module_anywhere", "colorsys"))
    assert run(pool, job_of(surroundings), [""]).values[0]["preloaded"]


def test_forked_workers_draw_different_numbers(make: Make) -> None:
    """No two forked workers share a random stream."""
    drawn = [run(make(context="fork"), job_of(draw), [0]).values[0] for _ in range(3)]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("context", METHODS)
def test_exit_handlers_run(make: Make, context: str, tmp_path: Path) -> None:
    """A worker that ends normally runs the exit handlers of its own, and none of its parent's."""
    note = tmp_path / "note"
    pool = make(context=context)
    run(pool, job_of(leave_note_at_exit), [str(note)])
    pool.close()
    assert note.exists()


def test_fork_server_that_was_killed(make: Make) -> None:
    """Its workers go on without it, and a new one is started for those to come."""
    pool = make(1)
    first = run(pool, job_of(pid), [0]).values[0]
    victim = server.current().pid
    assert victim is not None
    os.kill(victim, 9)
    assert run(pool, job_of(pid), [0]).values[0] == first
    os.kill(first, 9)
    poll(lambda: not pool.warm, "the worker's death was not seen")
    assert run(pool, job_of(pid), [0]).values[0] != first
    assert server.current().pid != victim


def test_shutdown_keeps_the_server_of_workers_that_are_left(make: Make) -> None:
    """Pools that `shutdown()` does not end go on with the workers that they have."""
    pool = make(1, context="forkserver")
    first = run(pool, job_of(pid), [0]).values[0]
    server_of_all = server.current()
    procession.shutdown()
    assert run(pool, job_of(pid), [0]).values == {0: first}
    pool.close(wait=True)
    procession.shutdown()
    assert server_of_all.stopped


def test_the_fork_server_needs_no_file(tmp_path: Path) -> None:
    """It starts where there is no temporary folder, and so leaves nothing in one."""
    code = (
        "from procession import parallel\n"
        "f = parallel(context='forkserver')(abs)\n"
        "print(f.submit(-3).result(60))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path / "missing")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("3\n", "")


def _asks(frame: FrameType) -> bool:
    """Whether a thread waits for the fork server's answer."""
    return frame.f_code is read_number.__code__


def test_a_call_outlives_the_fork_server_that_it_waits_for(make: Make) -> None:
    """If the server is killed while it is asked for a worker, another one is asked."""
    pool = make(1, context="forkserver")
    asked = server.current()
    asked.ensure_running()
    assert asked.pid is not None
    os.kill(asked.pid, signal.SIGSTOP)
    _, told = begin(pool, job_of(double), [1])
    wait_until(lambda: any(map(_asks, sys._current_frames().values())))
    os.kill(asked.pid, signal.SIGKILL)
    assert told.wait().kind == "done"
    assert told.values == {0: 2}


REFUSED = """
import errno, os, socket
from procession.process.start import fork_server as passing
from procession.process.start import fork_server_loop as serving
from procession.worker.preparing import Cap
def refuse():
    raise OSError(errno.EAGAIN, "no more processes")
serving.fork = refuse
ours, theirs = socket.socketpair()
for _ in range(2):
    status_r, status_w = os.pipe()
    passing._send(ours.fileno(), [os.open(os.devnull, os.O_RDONLY), status_w, 0])
ours.shutdown(socket.SHUT_WR)
serving.serve(theirs.detach())
os.close(status_w)
print(passing.read_number(status_r) == -errno.EAGAIN)
"""


def test_a_fork_that_the_system_refuses() -> None:
    """The server says why it could not fork, and goes on to serve. (No limit binds root.)"""
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_the_alarm_of_the_fork_server_is_its_own(make: Make) -> None:
    """SIGALRM, by which the server imports more in time, means nothing of the kind in a worker."""
    server.stop_all()  # a new one forks its first worker before its alarm
    seen = run(make(context="forkserver"), job_of(alarm), [None]).values[0]
    assert seen == signal.getsignal(signal.SIGALRM)


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_one_launcher_for_all_workers(context: str, make: Make) -> None:
    """Workers are started by one class per start method and fork server, not by a new one each."""
    pool = make(2, context=context)
    for _ in range(2):
        begin(pool, job_of(nap), [600])
    wait_until(lambda: sum(worker.ready for worker in tuple(pool.state.workers)) == 2)
    assert len({type(worker.process._popen) for worker in tuple(pool.state.workers)}) == 1
