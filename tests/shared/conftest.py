"""Ways to other processes: plain ones of each start method, and pools that run already."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any

import loky
import pytest

from tests.shared.jobs import Start

METHODS = ["fork", "spawn", "forkserver"]


@pytest.fixture(scope="module", autouse=True)
def _forkserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The server that multiprocessing keeps, and its folder, are not ours to leave behind."""
    from multiprocessing import forkserver, process, resource_tracker

    resource_tracker.ensure_running()
    this: Any = process.current_process()
    config: dict[str, Any] = this._config
    config["tempdir"] = str(tmp_path_factory.mktemp("mp"))
    yield
    config["tempdir"] = None
    server: Any = forkserver._forkserver
    server._stop()


def _starter(method: str) -> Iterator[Start]:
    context: Any = multiprocessing.get_context(method)
    started: list[BaseProcess] = []

    def start(target: Callable[..., object], *args: object) -> BaseProcess:
        process: BaseProcess = context.Process(target=target, args=args)
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork in a process with threads, and this one has some.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.join(60)
        if process.is_alive():
            process.kill()
            process.join()
            pytest.fail(f"{process} did not end")
        process.close()


@pytest.fixture(params=METHODS)
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start a plain process of multiprocessing, by each of its ways."""
    yield from _starter(request.param)


@pytest.fixture
def fork() -> Iterator[Start]:
    """Start a process the quickest way, where how it starts does not matter."""
    yield from _starter("fork")


@pytest.fixture(params=["fork", "spawn", "forkserver", "loky"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """A pool of two whose workers run already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pool: Any
        if request.param == "loky":
            pool = loky.ProcessPoolExecutor(2)
        else:
            pool = ProcessPoolExecutor(2, multiprocessing.get_context(request.param))
        with pool:
            list(pool.map(abs, range(4)))
            yield pool
