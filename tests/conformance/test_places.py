"""The table of backends and start contexts: each cell works, or is refused with a reason."""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
import os
from pathlib import Path
from typing import Any

import loky
import pytest

from procession import OptionError, parallel
from tests.conformance import functions as f
from tests.conformance.places import WORKERS

BACKENDS = ("process", "loky", "stdlib", "thread", "serial")
CONTEXTS = ("fork", "spawn", "forkserver", "loky")

WORKS = {
    *itertools.product(("process", "loky"), CONTEXTS),
    ("stdlib", "fork"),
    ("stdlib", "spawn"),
    ("stdlib", "forkserver"),
}
"""What the documentation's table says works."""


def command() -> str:
    """This process's command line: a forked process has its parent's, any other one its own."""
    return Path("/proc/self/cmdline").read_text().replace("\0", " ")


@parallel
def how_started(_: int = 0) -> tuple[int, int, str]:
    """This process, its parent, and its command line."""
    return os.getpid(), os.getppid(), command()


@pytest.mark.parametrize(
    ("backend", "context"), sorted(itertools.product(BACKENDS, CONTEXTS)), ids=lambda x: str(x)
)
def test_every_backend_with_every_context(backend: str, context: str) -> None:
    """A supported pair starts its workers in that way; any other is refused when it is written."""
    if (backend, context) not in WORKS:
        with pytest.raises(OptionError, match=context) as caught:
            how_started.with_options(backend=backend, context=context)
        assert backend in str(caught.value)
        return
    function = how_started.with_options(backend=backend, context=context, workers=1)
    assert_started_by(context, *function.submit().result())


def assert_started_by(context: str, pid: int, parent: int, how: str) -> None:
    """Which way a worker was started, told by what the system knows of it."""
    assert pid != os.getpid()
    assert (how == command()) == (context == "fork")
    if context == "forkserver":
        assert parent != os.getpid(), "a forkserver's worker is the server's child"
    else:
        assert parent == os.getpid()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("backend", ["process", "loky", "stdlib"])
def test_context_objects(backend: str, method: str) -> None:
    """A `multiprocessing` context object means what its name means."""
    context = multiprocessing.get_context(method)
    function = how_started.with_options(backend=backend, context=context, workers=1)
    assert_started_by(method, *function.submit().result())


def test_the_standard_pool_refuses_replacement_under_fork() -> None:
    """ProcessPoolExecutor itself refuses max_tasks_per_child under fork; we say so."""
    with pytest.raises(OptionError, match="fork") as caught:
        how_started.with_options(backend="stdlib", context="fork", max_tasks_per_worker=3)
    assert "max_tasks_per_worker" in str(caught.value)


def test_loky_does_not_replace_workers() -> None:
    """loky counts no tasks; the option is refused rather than ignored."""
    with pytest.raises(OptionError, match="max_tasks_per_worker"):
        how_started.with_options(backend="loky", max_tasks_per_worker=3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: concurrent.futures.ProcessPoolExecutor(
            WORKERS, mp_context=multiprocessing.get_context("forkserver")
        ),
        lambda: concurrent.futures.ThreadPoolExecutor(WORKERS),
        lambda: loky.ProcessPoolExecutor(WORKERS),
    ],
    ids=["ProcessPoolExecutor", "ThreadPoolExecutor", "loky.ProcessPoolExecutor"],
)
def test_any_executor(make: Any) -> None:
    """Any `concurrent.futures.Executor` is a backend; it stays the caller's to shut down."""
    with make() as executor:
        function = f.square.with_options(backend=executor)
        assert function.map(range(10)) == [n * n for n in range(10)]
        assert function.submit(3).result() == 9
        outcomes = list(f.fails_for.with_options(backend=executor).outcomes(range(3), 1))
        assert [outcome.ok for outcome in outcomes] == [True, False, True]
        assert executor.submit(pow, 2, 3).result() == 8


def test_an_executor_that_was_shut_down() -> None:
    """A foreign executor that is closed is said to be."""
    executor = concurrent.futures.ThreadPoolExecutor(1)
    executor.shutdown()
    function = f.square.with_options(backend=executor)
    with pytest.raises(RuntimeError, match="shutdown"):
        function.map(range(3))


@pytest.mark.parametrize("option", ["timeout", "memory_limit"])
@pytest.mark.parametrize("backend", ["thread", "serial"])
def test_limits_need_a_process(backend: str, option: str) -> None:
    """Nothing can end an item that runs in this process: refused when it is written."""
    values: dict[str, Any] = {"backend": backend, option: 1_000_000}
    with pytest.raises(OptionError, match=option):
        f.square.with_options(**values)
