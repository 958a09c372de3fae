"""The caller's half of a stream on Ray: takes its messages when the consumer has room for them."""

from __future__ import annotations

from procession.backends.cluster.cluster_backend import AHEAD
from procession.backends.cluster.cluster_task import Task
from procession.backends.cluster.ray_connection import Connection
from procession.backends.cluster.ray_watch import RayWatch
from procession.backends.cluster.wire import open_message
from procession.hints import Any
from procession.system import after_fork
from procession.system.pristine import threading
from procession.system.wakeup import Wakeup

__all__ = ["StreamReader"]

_LOOK = 0.5
"""Seconds between two looks whether the stream is still wanted."""


class StreamReader:
    """A thread that waits for a stream's messages.

    Args:
        connection: To Ray.
        watch: Is told what has come.
        number: The task's number there.
        task: The stream's.
        messages: Ray's generator.
    """

    def __init__(
        self, connection: Connection, watch: RayWatch, number: int, task: Task, messages: Any
    ) -> None:
        self._connection = connection
        self._watch = watch
        self._number = number
        self._task = task
        self._messages = messages
        self._came = 0
        self._granted = AHEAD
        self._lock = after_fork.lock()
        self._stopped = False
        self._changed = Wakeup()

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="procession-ray-stream", daemon=True).start()

    def grant(self, values: int) -> None:
        """The consumer has taken so many values."""
        with self._lock:
            self._granted += values
        self._changed.wake()

    def stop(self) -> None:
        """Nothing more is wanted."""
        self._stopped = True
        self._changed.wake()

    def _read(self) -> None:
        ray = self._connection.ray
        try:
            while self._wanted():
                with self._connection.held():
                    ready, _ = ray.wait([self._messages], timeout=_LOOK)
                    if not ready:
                        continue
                    content = ray.get(next(self._messages))
                self._came += len(open_message(content).replies)
                self._watch.came(self._number, content)
        except StopIteration:
            self._watch.came(self._number, None)
        except BaseException as error:
            self._watch.failed(self._number, error)

    def _wanted(self) -> bool:
        while not (self._stopped or self._task.over):
            if self._came <= self._granted:
                return True
            self._changed.wait(_LOOK)
        return False
