"""In a worker of Ray's: what the tasks that Procession submits call."""

from __future__ import annotations

import contextlib
import importlib
import queue
import signal
import threading
from collections.abc import Callable, Generator, Sequence

from procession.backends.cluster.far_side import Home, run_order, streams
from procession.backends.cluster.wire import open_message
from procession.hints import Any
from procession.system import NamedTuple

_ONE = 1
"""Chunks that run at once in a worker of Ray's: it has one processor, and one task at a time."""


_LOOK = 0.05
"""Seconds between two looks whether a stream is still wanted."""


def run(order: Any, header: Any, puts: Sequence[Any]) -> Any:
    """Run an order in this process's own pool.

    Args:
        order: The order, packed.
        header: The job's header, if it came apart; else `None`.
        puts: The content of what was put.

    Returns:
        What has come of it, as a message; nothing if it was cancelled.
    """
    ray: Any = importlib.import_module("ray")
    context = ray.get_runtime_context()
    home = Home(_keep, lambda: not context.is_canceled(), -1)
    with _no_interrupts(lambda: None):
        return run_order(order, b"" if header is None else header, puts, _ONE, home)


def _keep(content: bytes) -> None:
    """All goes home as the task's result: a message before it would double what a task costs."""


@contextlib.contextmanager
def _no_interrupts(instead: Callable[[], object]) -> Generator[None]:
    """Ray cancels a task by KeyboardInterrupt, which could strike the pool anywhere."""
    before = signal.signal(signal.SIGINT, lambda number, frame: instead())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _next(came: queue.SimpleQueue[Any]) -> Any:
    """What comes next. Ray's interrupt does not wake a wait, so it is seen between two of them."""
    while True:
        try:
            return came.get(timeout=_LOOK)
        except queue.Empty:
            pass


class _Over(NamedTuple):
    """The last that comes of a stream: what else its task has to say."""

    error: BaseException | None


def stream(order: Any, header: Any, puts: Sequence[Any]) -> Generator[Any]:
    """Run an order of a stream; gives its messages.

    Ray goes on with this only when the caller has taken what came before. So that much more is
    granted then.

    Args:
        order: The order, packed.
        header: The job's header, if it came apart; else `None`.
        puts: The content of what was put.
    """
    came: queue.SimpleQueue[Any] = queue.SimpleQueue()
    unwanted: list[bool] = []
    home = Home(came.put, lambda: not unwanted, 1 << 62)

    def work() -> None:
        error: BaseException | None = None
        try:
            run_order(order, b"" if header is None else header, puts, _ONE, home)
        except BaseException as caught:
            error = caught
        came.put(_Over(error))

    worker = threading.Thread(target=work, name="procession-stream", daemon=True)
    worker.start()
    with _no_interrupts(lambda: unwanted.append(True)):
        try:
            while not isinstance(content := _next(came), _Over):
                yield content
                message = open_message(content)
                streams.grant(message.run, len(message.replies))
            if content.error is not None:
                raise content.error
        finally:
            unwanted.append(True)
            worker.join()
