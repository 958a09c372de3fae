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


def test_a_pending_iterator_is_abandoned_at_exit() -> None:
    """Nobody will read it: the program does not wait for its items."""
    code = """
from tests.chaos.jobs import nap
iterator = nap.with_options(workers=2, inline=False).imap([0.0, 600.0, 600.0], 600.0)
futures = next(nap.with_options(workers=2, inline=False).imap([1], 0.0))
"""
    out, err = program(code).communicate(timeout=60)
    assert (out, err) == ("", "")
