"""The logger `procession`: what operators are told of deaths, retries, starts and ends."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

import procession
from procession import isolated, parallel
from tests.support.waiting import wait_until


class Marked:
    """Counts in a file how often it was tried."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return "<the marked item>"

    def first(self) -> bool:
        """Whether this is the first attempt."""
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


def double(x: int) -> int:
    """An ordinary item."""
    return 2 * x


def die_once(item: Marked) -> str:
    """Dies at the first attempt."""
    if item.first():
        os._exit(3)
    return "done"


def fail_once(item: Marked) -> str:
    """Fails at the first attempt."""
    if item.first():
        raise OSError("not yet")
    return "done"


@pytest.fixture
def marked(tmp_path: object) -> Marked:
    """An item that knows its attempts."""
    return Marked(f"{tmp_path}/mark")


pytestmark = pytest.mark.usefixtures("pools_end")


def test_deaths_and_retries(marked: Marked, caplog: pytest.LogCaptureFixture) -> None:
    """A death that is tried again, and one that is not, are warnings with item and cause."""
    assert parallel(workers=1, retries=1)(die_once).map([marked]) == ["done"]
    wait_until(lambda: bool(caplog.records))
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("procession", logging.WARNING)
    said = record.getMessage()
    assert said.startswith("die_once(), item 0 (<the marked item>): WorkerDied: ")
    assert said.endswith("tried again, attempt 2 of 2")
    caplog.clear()
    os.unlink(marked.path)
    assert parallel(workers=1)(die_once).submit(marked).exception() is not None
    wait_until(lambda: bool(caplog.records))
    assert caplog.records[0].getMessage().startswith("die_once() (")
    assert caplog.records[0].getMessage().endswith("given up")


@pytest.mark.parametrize("backend", ["process", "thread", "serial"])
def test_errors_that_ask_for_another_attempt(
    backend: str, marked: Marked, caplog: pytest.LogCaptureFixture
) -> None:
    """A retry after an error is a warning, wherever the item runs, for maps and calls."""
    f = parallel(backend=backend, retries=2, retry_on=OSError)(fail_once)
    runs: list[Callable[[], str]] = [
        lambda: f.map([marked])[0],
        lambda: f.submit(marked).result(),
    ]
    for run in runs:
        caplog.clear()
        assert run() == "done"
        wait_until(lambda: bool(caplog.records))
        assert "OSError: not yet; tried again, attempt 2 of 3" in caplog.text
        os.unlink(marked.path)


def test_starts_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Workers' starts and ends are told at DEBUG."""
    with caplog.at_level(logging.DEBUG, "procession"):
        assert isolated(double)(1) == 2
        procession.shutdown()
        wait_until(lambda: "ended" in caplog.text)
    assert " started (" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_quiet_by_default() -> None:
    """A program that has not set logging up is told nothing, though `logging` is loaded."""
    code = (
        "import logging, os, procession\n"
        "f = procession.parallel(workers=1)(os._exit)\n"
        "print(type(f.submit(3).exception()).__name__)\n"
        "procession.shutdown()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("WorkerDied\n", "")
