"""Single calls: what a warm one costs, and the ones that are odd."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from procession import Future, NotPicklable, current_task, isolated, parallel
from procession.backends import registry
from procession.backends.pool_choice import Choice
from tests.support.waiting import wait_until

_counted: Counter[str] = Counter()


def _count(frame: FrameType, event: str, arg: object) -> None:
    if event == "call":
        _counted[frame.f_code.co_qualname] += 1


@parallel(workers=1, inline=False)
def same(value: Any) -> Any:
    """Give it back."""
    return value


@parallel(workers=1, inline=False)
def odd(what: str) -> Any:
    """Do something that goes home otherwise than a plain result."""
    if what == "raise":
        raise ValueError(what)
    if what == "exit":
        sys.exit(3)
    if what == "log":
        logging.getLogger("odd").warning("logged")
    if what == "large":
        return b"x" * 1_000_000
    return (lambda: None) if what == "lambda" else what


def abs_of(number: int) -> int:
    """Its absolute value."""
    return abs(number)


@parallel(workers=1, inline=False)
def counting(step: str) -> int:
    """Count the Python functions that this worker runs from one call to the next."""
    if step == "begin":
        sys.setprofile(_count)
    elif step == "end":
        sys.setprofile(None)
    return sum(_counted.values())


@parallel(workers=1, inline=False)
def task() -> Any:
    """What it runs for."""
    return current_task()


def test_a_spare_learns_the_job_of_the_last_call() -> None:
    """So the next isolated call is sent in a short message, as one to a worker that was used."""
    f: Any = isolated(abs_of)
    assert f(-1) == 1
    pool: Any = registry.backend_for(Choice(f.options, True, __name__))
    state = pool.state
    wait_until(lambda: bool(state.idle))
    assert list(state.idle[0]._jobs) == [f._call().history.job.job.key]
    assert f(-2) == 2


def calls_here() -> int:
    """Python calls of the caller for a warm call and its result."""
    for _ in range(10):
        same.submit(1).result(60)
    _counted.clear()
    sys.setprofile(_count)
    try:
        result = same.submit(1).result()
    finally:
        sys.setprofile(None)
    assert result == 1
    return sum(_counted.values())


def calls_in_the_worker() -> int:
    """Those of the worker, with the next message's begin."""
    for _ in range(5):
        counting.submit("").result(60)
    counting.submit("begin").result(60)
    counting.submit("").result(60)
    counted: int = counting.submit("end").result(60)
    return counted // 2


@pytest.mark.parametrize(("side", "most"), [("calls_here", 75), ("calls_in_the_worker", 24)])
def test_a_warm_call_takes_few_python_calls(side: str, most: int) -> None:
    """They do not grow again; it took 130 and 48 once. Other tests may have set what costs some."""
    code = f"from tests.engine import test_single_call as calls\nprint(calls.{side}())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 < int(done.stdout) <= most, done.stderr


@pytest.mark.parametrize(
    "value", [0, -1.5, None, True, "a text", "x" * 100_000, b"bytes", 1 << 5000, [1, "a"], {"a": 1}]
)
def test_values_come_back(value: Any) -> None:
    """Those that cross as themselves, those that are pickled, large ones."""
    assert same.submit(value).result(60) == value
    assert same.submit(value=value).result(60) == value


def test_odd_calls_between_plain_ones(caplog: pytest.LogCaptureFixture) -> None:
    """An error, a large result, a refusal and a log record come home, and the worker goes on."""
    assert odd.submit("plain").result(60) == "plain"
    with pytest.raises(ValueError, match="raise"):
        odd.submit("raise").result(60)
    assert len(odd.submit("large").result(60)) == 1_000_000
    with pytest.raises(NotPicklable, match="odd"):
        odd.submit("lambda").result(60)
    with pytest.raises(Exception, match="SystemExit"):
        odd.submit("exit").result(60)
    assert odd.submit("log").result(60) == "log"
    assert [record.getMessage() for record in caplog.records] == ["logged"]
    assert odd.submit("plain").result(60) == "plain"


def test_calls_of_two_functions_take_turns() -> None:
    """What was prepared for one function's calls is not used for another's."""
    for number in range(4):
        assert same.submit(number).result(60) == number
        assert odd.submit(f"{number}").result(60) == f"{number}"


def test_each_call_knows_its_number() -> None:
    """`current_task` is of the call that runs, and of none when it is over."""
    seen = [task.submit().result(60) for _ in range(3)]
    assert all(each is not None for each in seen)
    first = seen[0]
    assert first is not None
    assert [each.index - first.index for each in seen if each] == [0, 1, 2]


def test_what_changes_between_two_calls_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the environment and the folder, of two calls at once one after the other."""
    get = parallel(workers=1, inline=False)(os.getenv)
    assert get.submit("A_VARIABLE_OF_THIS_TEST").result(60) is None
    monkeypatch.setenv("A_VARIABLE_OF_THIS_TEST", "set")
    assert get.submit("A_VARIABLE_OF_THIS_TEST").result(60) == "set"
    monkeypatch.delenv("A_VARIABLE_OF_THIS_TEST")
    assert get.submit("A_VARIABLE_OF_THIS_TEST").result(60) is None


def test_a_hundred_calls_at_once() -> None:
    """All results, each its own, whichever is asked for first."""
    futures: list[Future[Any]] = [same.submit(number) for number in range(100)]
    assert [future.result(60) for future in reversed(futures)] == list(reversed(range(100)))
