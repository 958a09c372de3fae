"""A parent and its workers with a fake clock, to try chunk-size policies on.

The model is the engine's: one parent handles one message at a time, two chunks per worker are
under way (one runs, one waits in the parent's queue), and a worker that ends a chunk gets the
next one after a round trip.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

ROUND_TRIP = 120e-6
"""Seconds a worker waits between two chunks."""

HANDLING = 40e-6
"""Seconds the parent spends on a message."""


class Policy(Protocol):
    """What `procession.engine.policy.schedule.Schedule` is to the simulation."""

    def observe(self, items: int, seconds: float) -> None:
        """Items are done."""
        ...

    def next_chunk(self, *, remaining: int | None, workers: int, in_flight: int) -> int:
        """How many items the next chunk has."""
        ...


class Equal(NamedTuple):
    """Very many items that all take the same time, as `simulate` takes durations.

    Attributes:
        items: How many.
        seconds: How long each takes.
    """

    items: int
    seconds: float

    @property
    def total(self) -> float:
        """How long they take together."""
        return self.items * self.seconds


class Outcome(NamedTuple):
    """What a simulated map took.

    Attributes:
        makespan: Seconds from its start to its last result.
        messages: Chunks sent.
        bound: No schedule can be faster: max(total/workers, longest item).
        cost: What the messages alone take: round trips spread over the workers, and the time
            until the parent has given the last worker its first chunk.
        sizes: The chunks' sizes, in order.
    """

    makespan: float
    messages: int
    bound: float
    cost: float
    sizes: list[int]

    @property
    def excess(self) -> float:
        """How far above bound and messages' cost, as a fraction."""
        return self.makespan / (self.bound + self.cost) - 1


def simulate(
    policy: Policy,
    durations: Sequence[float] | Equal,
    workers: int,
    *,
    length: int | None = -1,
    handling: float = HANDLING,
    round_trip: float = ROUND_TRIP,
) -> Outcome:
    """Run a map on the fake clock.

    Args:
        policy: Sizes the chunks.
        durations: Seconds each item takes.
        workers: How many there are.
        length: The length the input claims: -1 for the truth, `None` for none.
        handling: Seconds the parent spends on a message.
        round_trip: Seconds a worker waits between two chunks.
    """
    if isinstance(durations, Equal):
        count, longest = durations
        until: Callable[[int], float] = longest.__mul__
    else:
        count, longest = len(durations), max(durations, default=0.0)
        until = [0.0, *accumulate(durations)].__getitem__
    claimed = count if length == -1 else length
    ends: list[tuple[float, int, int]] = []
    queue: deque[tuple[int, int]] = deque()
    sizes: list[int] = []
    clock, sent, idle, last = 0.0, 0, workers, 0.0

    def begin(start: int, stop: int) -> None:
        heapq.heappush(ends, (clock + round_trip + until(stop) - until(start), start, stop))

    def size_now() -> int:
        flight = len(ends) + len(queue)
        if sent == count or flight >= 2 * workers or (ends and ends[0][0] <= clock):
            return 0
        remaining = None if claimed is None else claimed - sent
        size = policy.next_chunk(remaining=remaining, workers=workers, in_flight=flight)
        return min(size, count - sent)

    while sent < count or ends:
        size = size_now()
        if size:
            sizes.append(size)
            clock += handling
            if idle:
                idle -= 1
                begin(sent, sent + size)
            else:
                queue.append((sent, sent + size))
            sent += size
            continue
        end, start, stop = heapq.heappop(ends)
        last = clock = max(clock, end) + handling
        policy.observe(stop - start, until(stop) - until(start))
        if queue:
            begin(*queue.popleft())
        else:
            idle += 1
    bound = max(until(count) / workers, longest)
    cost = len(sizes) * (round_trip + handling) / workers + workers * handling
    return Outcome(last, len(sizes), bound, cost, sizes)


class Rule:
    """A classic rule, which looks at counts alone."""

    def __init__(self, size: Callable[[int, int], int]) -> None:
        self._size = size

    def observe(self, items: int, seconds: float) -> None:
        """Counts alone: times do not matter."""

    def next_chunk(self, *, remaining: int | None, workers: int, in_flight: int) -> int:
        """The rule's size for what remains."""
        return max(1, self._size(remaining or 1, workers))


class Factoring:
    """Batches of one chunk per worker, each batch half of what remains."""

    def __init__(self) -> None:
        self._left = 0
        self._size = 1

    def observe(self, items: int, seconds: float) -> None:
        """Counts alone: times do not matter."""

    def next_chunk(self, *, remaining: int | None, workers: int, in_flight: int) -> int:
        """The size of this batch's chunks."""
        if not self._left:
            self._left = workers
            self._size = max(1, -(-(remaining or 1) // (2 * workers)))
        self._left -= 1
        return self._size


def static(count: int, chunks_per_worker: int = 1) -> Callable[[], Policy]:
    """Equal chunks: one per worker, or four as `multiprocessing.Pool.map` makes them."""
    return lambda: Rule(lambda remaining, workers: -(-count // (chunks_per_worker * workers)))


def single() -> Policy:
    """One item per message, as `concurrent.futures.Executor.map` sends them."""
    return Rule(lambda remaining, workers: 1)


def guided() -> Policy:
    """Guided self-scheduling: a fair share of what remains."""
    return Rule(lambda remaining, workers: -(-remaining // workers))


def shapes(workers: int, per_worker: int, mean: float) -> dict[str, list[float]]:
    """Durations of six kinds, the same at each call: `per_worker` items of about `mean` seconds.

    The giant takes as long as 60 % of a worker's fair share and stands at a quarter of the input.
    (At the end of it no schedule that learns of it only then could keep to the bound.)
    """
    dice = random.Random(20)
    count = workers * per_worker
    giant = [mean] * count
    giant[count // 4] = 0.6 * mean * per_worker
    return {
        "constant": [mean] * count,
        "uniform": [dice.uniform(0, 2 * mean) for _ in range(count)],
        "exponential": [dice.expovariate(1 / mean) for _ in range(count)],
        "bimodal": [9 * mean if dice.random() < 0.1 else mean / 9 for _ in range(count)],
        "one giant": giant,
        "increasing": [2 * mean * index / count for index in range(count)],
    }


def table(per_worker: int = 500, mean: float = 10e-3) -> str:
    """The table of docs/guides/chunking.md: time over the bound, ours and that of classic rules."""
    from procession.engine.policy.schedule import Schedule

    lines = [
        "| workers | durations | Procession | length unknown | one per worker | four per worker "
        "| one item | guided | factoring |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for workers in (2, 64, 1000):
        for name, durations in shapes(workers, per_worker, mean).items():
            count = len(durations)
            rules = (static(count)(), static(count, 4)(), single(), guided(), Factoring())
            runs = [simulate(Schedule(), durations, workers)]
            runs.append(simulate(Schedule(), durations, workers, length=None))
            runs += [simulate(rule, durations, workers) for rule in rules]
            cells = " | ".join(f"{run.makespan / run.bound:.3f}" for run in runs)
            lines.append(f"| {workers:,} | {name} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
