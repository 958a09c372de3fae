"""A worker that ends before it has read what it is to run, or that cannot be executed at all."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import parallel
from procession.errors import WorkerDied
from procession.process.start.fork_server import Server
from tests.process.jobs import double
from tests.support.leaks import left_behind, snapshot

WAYS = [
    {"context": "spawn"},
    {"context": "forkserver"},
    {"context": "loky"},
    {"backend": "loky"},
    {"backend": "stdlib", "context": "spawn"},
    {"backend": "stdlib", "context": "forkserver"},
]
NAMES = ["-".join(way.values()) for way in WAYS]

DIES = """
import os, sys
if "resource_tracker" not in " ".join(sys.orig_argv):
    os._exit(3)
"""

MORE_THAN_A_PIPE_TAKES = 300_000


def take(_: bytes) -> None:
    """An initializer."""


@pytest.fixture
def dies_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Each interpreter that starts ends at once."""
    (tmp_path / "sitecustomize.py").write_text(DIES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def _said(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("dies_at_once", "pools_end")
@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_much_to_read(way: dict[str, Any]) -> None:
    """What it has not read of its start holds no one up, however much that is."""
    large = bytes(MORE_THAN_A_PIPE_TAKES)
    doubled = parallel(workers=1, inline=False, initializer=take, initargs=(large,), **way)(double)
    with pytest.raises((WorkerDied, EOFError, ConnectionError)) as caught:
        doubled.map([1])
    said = _said(caught.value)
    assert "code 3" in said or "A new worker could not be started" in said


def test_the_program_does_not_end_by_it(dies_at_once: Path) -> None:
    """A program that has given SIGPIPE back its meaning goes on.

    (With an executor's own queue between, its feeding thread may be struck.)
    """
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(procession.__file__).parents[1])!r})
        from procession import parallel
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.environ["PYTHONPATH"] = {str(dies_at_once)!r}
        for way in {WAYS[:3]}:
            given = {{**way, "initializer": len, "initargs": (bytes({MORE_THAN_A_PIPE_TAKES}),)}}
            try:
                parallel(workers=1, inline=False, **given)(abs).map([1])
            except Exception as error:
                print(type(error).__name__)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={},
    )
    assert run.returncode == 0, run
    assert len(run.stdout.split()) == 3


@pytest.mark.usefixtures("dies_at_once")
def test_a_server_that_dies_before_it_has_read_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reaped, and the error is one by which it is tried again."""
    monkeypatch.setattr(sys, "path", [*sys.path, "/" + "x" * 1_000_000])
    before = snapshot()
    with pytest.raises(ConnectionError):
        Server().ensure_running()
    assert not left_behind(before)


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("pools_end")
@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_a_variable_is_too_long(way: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable longer than the system takes is named, with its size and the limit."""
    monkeypatch.setenv("TOO_LONG", "x" * 200_000)
    doubled = parallel(workers=1, inline=False, **way)(double)
    with pytest.raises(OSError, match="too long") as caught:
        doubled.map([1])
    assert caught.value.errno == errno.E2BIG
    said = _said(caught.value)
    assert "'TOO_LONG', with 200,008 bytes" in said
    assert "131,072" in said
