"""Where an item can fail, in every way it can fail, at every place it can run."""

from __future__ import annotations

from typing import Any

import pytest

from procession.errors import NotPicklable, TaskExited, WorkerDied
from tests.chaos.helpers import within
from tests.chaos.jobs import Trap, pass_through

EVERYWHERE = [("process", context) for context in ("fork", "spawn", "forkserver", "loky")]
EXECUTORS = [
    ("loky", None),
    ("loky", "spawn"),
    *(("stdlib", context) for context in ("fork", "spawn", "forkserver")),
]
HERE = [("pickle in", "exception"), ("unpickle out", "exception")]
THERE = [
    (stage, how)
    for stage in ("unpickle in", "run", "pickle out")
    for how in ("exception", "sys.exit", "os._exit", "segfault", "SIGKILL")
]
DEATHS = {"os._exit": (7, None), "segfault": (-11, "SIGSEGV"), "SIGKILL": (-9, "SIGKILL")}


def _bad(stage: str, how: str) -> Any:
    if stage == "pickle in":
        return Trap("pickle", how)
    if stage == "unpickle in":
        return Trap("rebuild", how)
    where = {"run": "run", "pickle out": "pickle", "unpickle out": "rebuild"}[stage]
    return (where, how)


def _check(error: BaseException | None, stage: str, how: str, exact: bool) -> None:
    if how in DEATHS:
        assert isinstance(error, WorkerDied)
        assert error.index == 1
        if exact:
            assert (error.exitcode, error.signal) == DEATHS[how]
    elif how == "sys.exit":
        assert isinstance(error, TaskExited)
        assert error.code == 3
    elif stage == "run":
        assert isinstance(error, ZeroDivisionError)
    else:
        assert isinstance(error, NotPicklable | ZeroDivisionError)
        assert "as asked" in str(error)


def _crash(backend: str, context: str | None, stage: str, how: str) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2, "inline": False}
    if context is not None:
        options["context"] = context
    crash(options, stage, how, exact=backend == "process")


def crash(options: dict[str, Any], stage: str, how: str, *, exact: bool) -> None:
    """Have the second of three items fail, and see that the others do not.

    Args:
        options: Where they run.
        stage: When it fails.
        how: How it fails.
        exact: Whether the exit code of a worker that dies is told.
    """
    function: Any = pass_through.with_options(**options)
    items = ["good", _bad(stage, how), "good"]
    first, bad, last = within(lambda: list(function.outcomes(items)))
    assert (first.ok, bad.ok, last.ok) == (True, False, True), (first, bad, last)
    assert (first.value, last.value) == ("good", "good")
    _check(bad.error, stage, how, exact)


@pytest.mark.parametrize(("stage", "how"), HERE + THERE)
@pytest.mark.parametrize(("backend", "context"), EVERYWHERE)
def test_our_own_workers(backend: str, context: str, stage: str, how: str) -> None:
    """Only the bad item fails, and says why."""
    _crash(backend, context, stage, how)


@pytest.mark.parametrize(("stage", "how"), HERE + THERE)
@pytest.mark.parametrize(("backend", "context"), EXECUTORS)
def test_executors(backend: str, context: str | None, stage: str, how: str) -> None:
    """On executors the outcome is the same, only slower."""
    _crash(backend, context, stage, how)
