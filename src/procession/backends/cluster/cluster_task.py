"""A chunk as an engine's task, and the engine as tasks and backends see it.

The engine may run a task again when its machine is lost. So each reply counts once here, also if
two runs have sent it. What is too large for a message comes as the task's result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from procession.backends.cluster.engine_connection import EngineConnection
from procession.backends.cluster.wire import Message, open_message
from procession.contract import Answered, Chunk, Costs, End
from procession.hints import Any, Protocol
from procession.items import Reply, Results


class Owner(Protocol):
    """The backend that a task is of."""

    def forget(self, task: Task) -> bool:
        """A task is over. Whether it was not over before."""
        ...

    def timed(self, message: Message, replies: Sequence[Reply]) -> Sequence[Reply]:
        """Replies, with their times by the clock of this machine."""
        ...


class Task:
    """A chunk as the engine knows it.

    Attributes:
        chunk: The chunk.
        cluster: The engine that it is given to.
        number: Tells it from others of this process.
        name: The function's, for the engine's own displays.
        order: What is to be run, packed.
        shared: What it needs that goes once to each machine: the job's header, or `None`, and then
            what was put.
        streams: Whether it is a stream: its replies have no index of their own, and it runs once.
        run: The number of the run of a stream that is being read; empty before it has begun.
        over: Whether its end was told.
        handle: For the engine's own use.
    """

    def __init__(
        self,
        backend: Owner,
        cluster: Cluster,
        chunk: Chunk,
        number: int,
        shared: Sequence[Any],
        order: bytes,
        *,
        streams: bool = False,
    ) -> None:
        self.chunk = chunk
        self.cluster = cluster
        self.number = number
        self.name = chunk.job.name
        self.order = order
        self.shared = shared
        self.streams = streams
        self.run = ""
        self.over = False
        self.handle: Any = None
        self._backend = backend
        self._answered = Answered()

    def arrived(self, packed: Any) -> Message:
        """A message has come, or the task's result."""
        message = open_message(packed)
        if self.over:
            return message
        if self.streams and self.run not in ("", message.run):
            self.failed(End("died", self.chunk.items[0].index, host=message.host))
            return message
        self.run = message.run
        replies = self._backend.timed(message, self._news(message.replies))
        if replies:
            self.chunk.listener.replied(self.chunk, replies)
        for position, results in message.results:
            self._returned(position, results)
        if message.end is not None:
            self.failed(message.end)
        return message

    def _news(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        if self.streams:
            return replies
        news: list[Reply] = []
        for reply in replies:
            position = self.chunk.position(reply.index, self._answered.first)
            if not self._answered.has(position):
                self._answered.add(position)
                news.append(reply)
        return news

    def _returned(self, position: int, results: Results) -> None:
        """A column's items have results, from this position on: tell those that are new."""
        answered, count = self._answered, len(results.payloads)
        old = [at for at in range(count) if answered.has(position + at)]
        for begin, end in pairwise([-1, *old, count]):
            if end > begin + 1:
                answered.add(position + begin + 1, end - begin - 1)
                part = results.part(begin + 1, end) if old else results
                self.chunk.listener.returned(self.chunk, position + begin + 1, part)

    def failed(self, end: End) -> bool:
        """The task is over. False if it was before."""
        if not self._backend.forget(self):
            return False
        self.chunk.listener.ended(self.chunk, end)
        return True

    def closes(self) -> bool:
        """Mark it as over; whether it was not. Under the backend's lock."""
        was, self.over = self.over, True
        return not was


class Cluster(Protocol):
    """An engine, connected."""

    kind: str
    costs: Costs

    @property
    def workers(self) -> int:
        """How many tasks can run at once now; at least 1."""
        ...

    @property
    def connection(self) -> EngineConnection:
        """What is known of it; once it is not usable any more, the engine is connected to anew."""
        ...

    def submit(self, task: Task) -> None:
        """Have a task run; its messages go to `Task.arrived`, what ends it to `Task.failed`."""
        ...

    def cancel(self, tasks: Sequence[Task]) -> None:
        """End tasks that are not wanted any more."""
        ...

    def broadcast(self, content: Callable[[], bytes]) -> Any:
        """What stands for content that goes once to each machine, in `Task.shared`."""
        ...

    def grant(self, task: Task, values: int) -> None:
        """Let a stream go on by so many values."""
        ...

    def release(self) -> None:
        """One backend needs it no more."""
        ...
