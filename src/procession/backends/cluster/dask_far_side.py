"""In a worker of Dask's: what the tasks that Procession submits call."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial

from procession.backends.cluster.far_side import Home, run_order, streams
from procession.hints import Any

_MOST = 32 * 1024
"""Bytes of a message that goes home by Dask's events. The scheduler keeps the last 1,000 of them,
so at most 32 MB. What is larger is the task's result, which the caller fetches."""

_ALIVE = ("running", "paused", "closing_gracefully")


def run(order: Any, topic: str, number: int, header: Any, puts: Sequence[Any]) -> Any:
    """Run an order in this machine's own pool.

    Args:
        order: The order, packed.
        topic: Dask's topic, on which the caller listens.
        number: The task's number there.
        header: The job's header, if it came apart; else `None`.
        puts: The content of what was put.

    Returns:
        What is too large for a message; else `None`.
    """
    distributed: Any = importlib.import_module("distributed.worker")
    worker, key = distributed.get_worker(), distributed.thread_state.key
    home = Home(partial(_send, worker, topic, number), partial(_wanted, worker, key), _MOST)
    return run_order(order, header or b"", puts, worker.state.nthreads, home)


def _send(worker: Any, topic: str, number: int, content: bytes) -> None:
    worker.log_event(topic, {"number": number, "content": content})


def _wanted(worker: Any, key: Any) -> bool:
    """Whether the scheduler still wants the task: the caller may have cancelled it, or be gone."""
    if worker.status.name not in _ALIVE:
        return False
    task = worker.state.tasks.get(key)
    return task is not None and task.state == "executing"


def grant(number: str, values: int) -> None:
    """Let a stream go on by so many values."""
    streams.grant(number, values)
