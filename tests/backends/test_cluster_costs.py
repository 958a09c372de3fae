"""What a chunk on a cluster costs its caller, beside an engine that is none."""

from __future__ import annotations

import importlib
import pickle
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest

import procession
from procession.backends.cluster.cluster_task import Task
from procession.backends.cluster.wire import Message, open_order, pack_message
from procession.contract import Costs, End
from procession.items import Results

CHUNKS = 3000


class Echo:
    """An engine that gives items back as results, and always keeps every worker busy.

    Args:
        workers: How many it says to have.
        chunks: How many come in all.
    """

    kind = "dask"
    costs = Costs(1e-3, 0.2, 0.2, 0.05)

    def __init__(self, workers: int, chunks: int) -> None:
        self.workers = workers
        self.most = 0
        self.connection: Any = self
        self.usable = True
        self._left = chunks
        self._came: SimpleQueue[Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._came.put(task)

    def cancel(self, tasks: Sequence[Task]) -> None:
        """Nothing is cancelled here."""

    def release(self) -> None:
        """End."""
        self._came.put(None)
        self._thread.join()

    def _run(self) -> None:
        waiting: deque[Task] = deque()
        while (task := self._came.get()) is not None:
            waiting.append(task)
            self._left -= 1
            self.most = max(self.most, len(waiting))
            while len(waiting) >= self.workers or (waiting and not self._left):
                self._answer(waiting.popleft())

    @staticmethod
    def _answer(task: Task) -> None:
        column = open_order(task.order).column
        assert column is not None
        results = Results(list(pickle.loads(column[1])), seconds=0.1)
        task.arrived(pack_message(Message((), [(0, results)], End("done"), "far")))


def identity(x: int) -> int:
    """Never run: the engine answers."""
    return x


@pytest.fixture(autouse=True)
def _pools_end() -> Iterator[None]:
    yield
    procession.shutdown()


def seconds_a_chunk(workers: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Processor seconds of this process for a chunk, with so many workers, and the engine's own."""
    dask: Any = importlib.import_module("procession.backends.dask_cluster")
    engine = Echo(workers, CHUNKS)
    monkeypatch.setattr(dask, "_cluster", lambda options: engine)
    function: Any = partial(
        procession.parallel_map(identity, backend="dask", address="tcp://nowhere:1", chunk=1).map,
        range(CHUNKS),
    )
    begin = time.process_time()
    assert function() == list(range(CHUNKS))
    spent = time.process_time() - begin
    procession.shutdown()
    assert engine.most >= workers
    return spent / CHUNKS


def test_many_chunks_in_flight_cost_no_more_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 1,000 workers a chunk costs the caller what it costs with ten."""
    few, many = (
        min(seconds_a_chunk(workers, monkeypatch) for _ in range(2)) for workers in (10, 1000)
    )
    assert many < 2 * few, (few, many)
