"""However the parent ends, nothing of ours is alive afterwards, and nothing lies about."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.helpers import alive, family, program
from tests.support.waiting import wait_until

OURS: list[dict[str, Any]] = [
    {"backend": "process", "context": context}
    for context in ("fork", "spawn", "forkserver", "loky")
]
EXECUTORS: list[dict[str, Any]] = [{"backend": "loky"}, {"backend": "stdlib"}]
SECONDS = 30.0
"""Deadline of a poll; the workers are gone within two seconds, which is not asserted on here."""

BUSY = """
import os, pathlib, signal, threading
from tests.chaos.jobs import spin
folder = pathlib.Path({folder!r})
f = spin.with_options(workers=2, inline=False, **{options!r})
futures = [f.submit(kind, folder) for kind in ("C", "Python")]
while len(os.listdir(folder)) < 2:
    threading.Event().wait(0.01)
print("busy", flush=True)
if {how!r} == "os._exit":
    input()
    os._exit(0)
if {how!r} == "exception":
    input()
    for future in futures:
        future.cancel()
    raise KeyError("mine")
threading.Event().wait()
"""


def _end(how: str, options: dict[str, Any], folder: Path) -> None:
    work, temporary = folder / "work", folder / "temporary"
    work.mkdir()
    temporary.mkdir()
    before = set(os.listdir("/dev/shm"))
    code = BUSY.format(folder=str(work), options=options, how=how)
    child = program(code, stdin=-1, env={**os.environ, "TMPDIR": str(temporary)})
    try:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "busy\n", child.communicate()[1]
        relatives = family(child.pid)
        assert len(relatives) > 2
        if how.startswith("SIG"):
            child.send_signal(getattr(signal, how))
        else:
            child.stdin.write("\n")
            child.stdin.flush()
        child.wait(SECONDS)
        wait_until(lambda: not alive(relatives), SECONDS)
    finally:
        child.kill()
        child.communicate()
    pids = {str(process.pid) for process in relatives}
    new = set(os.listdir("/dev/shm")) - before
    assert not [name for name in new if any(pid in name for pid in pids)]
    if how == "exception":
        assert os.listdir(temporary) == []


@pytest.mark.parametrize("options", OURS + EXECUTORS, ids=lambda o: "-".join(o.values()))
def test_the_parent_is_killed(options: dict[str, Any], tmp_path: Path) -> None:
    """SIGKILL of the parent ends workers that are deep in C code, or in a Python loop."""
    _end("SIGKILL", options, tmp_path)


@pytest.mark.parametrize("how", ["SIGTERM", "os._exit", "exception"])
def test_the_parent_ends_in_other_ways(how: str, tmp_path: Path) -> None:
    """So do SIGTERM, `os._exit` and an unhandled exception."""
    _end(how, OURS[2], tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("how", ["SIGTERM", "os._exit"])
@pytest.mark.parametrize("options", OURS + EXECUTORS, ids=lambda o: "-".join(o.values()))
def test_the_parent_ends_everywhere(options: dict[str, Any], how: str, tmp_path: Path) -> None:
    """The same at every place."""
    _end(how, options, tmp_path)


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib"])
def test_pending_calls_finish_at_exit(backend: str) -> None:
    """Calls that were submitted are finished before the program ends."""
    code = f"""
from tests.chaos.jobs import nap
f = nap.with_options(workers=2, backend={backend!r})
for n in range(6):
    f.submit(n, 0.05).add_done_callback(lambda future: print(future.result(), flush=True))
"""
    out, err = program(code).communicate(timeout=60)
    assert (sorted(out.split()), err) == ([str(n) for n in range(6)], "")


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib"])
def test_a_pending_iterator_is_abandoned_at_exit(backend: str) -> None:
    """Nobody will read it: the program does not wait for its items."""
    code = f"""
from tests.chaos.jobs import nap
f = nap.with_options(workers=2, inline=False, chunk=1, backend={backend!r})
iterator = f.imap([0.0, 600.0, 600.0], 600.0)
assert list(f.imap([1], 0.0)) == [1]
over = f.outcomes([2, 3, 4], 600.0)
"""
    out, err = program(code).communicate(timeout=60)
    assert (out, err) == ("", "")


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib"])
def test_a_thread_reads_on_after_the_main_one(backend: str) -> None:
    """What a thread of the user's still reads when the main thread has ended is not abandoned."""
    code = f"""
import threading
from tests.chaos.jobs import nap
f = nap.with_options(workers=2, inline=False, chunk=1, backend={backend!r})
begun = threading.Event()
def read():
    values = []
    for value in f.imap(range(4), 0.1):
        begun.set()
        values.append(value)
    print(values, flush=True)
threading.Thread(target=read).start()
begun.wait()
"""
    out, err = program(code).communicate(timeout=60)
    assert (out, err) == ("[0, 1, 2, 3]\n", "")


AT_EXIT = """
import os, pathlib, sys, threading, time
from tests.chaos.jobs import start_and_nap
f = start_and_nap.with_options(workers=2, backend={backend!r})
futures = [f.submit(n, pathlib.Path({folder!r})) for n in range(3)]
main = threading.get_ident()
def say_when_it_ends():
    name = ""
    while name != "_finish":
        time.sleep(0.01)
        frame = sys._current_frames().get(main)
        while frame is not None and (name := frame.f_code.co_name) != "_finish":
            frame = frame.f_back
    print("ending", flush=True)
threading.Thread(target=say_when_it_ends, daemon=True).start()
while len(os.listdir({folder!r})) < 2:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib"])
def test_ctrl_c_at_the_end(backend: str, tmp_path: Path) -> None:
    """A program that waits for its calls at its end is interrupted at once, and says so."""
    child = program(AT_EXIT.format(backend=backend, folder=str(tmp_path)))
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ending\n", child.communicate()[1]
        relatives = family(child.pid)
        os.killpg(child.pid, signal.SIGINT)
        _, err = child.communicate(timeout=60)
        assert err.startswith("KeyboardInterrupt: ")
        assert err.count("\n") == 1
        wait_until(lambda: not alive(relatives))
    finally:
        child.kill()
        child.communicate()
