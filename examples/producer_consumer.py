"""Producers and consumers that talk over `shared.Queue`, all passed as ordinary arguments.

python examples/producer_consumer.py
"""

from procession import background, gather, shared

CONSUMERS = 2


@background(workers=3)
def produce(jobs: shared.Queue[int | None], count: int) -> str:
    """Put numbers, at most ten ahead of the consumers; then an end for each of them."""
    for number in range(count):
        jobs.put(number)
    for _ in range(CONSUMERS):
        jobs.put(None)
    return f"{count:,} produced"


@background(workers=3)
def consume(jobs: shared.Queue[int | None], sums: shared.Dict[str, int], name: str) -> int:
    """Take numbers until the end; keep the sum of their squares under a name."""
    total = taken = 0
    while (number := jobs.get()) is not None:
        total += number * number
        taken += 1
    sums[name] = total
    return taken


jobs = shared.Queue[int | None](maxsize=10)
sums = shared.Dict[str, int]()
# Three workers: a consumer that waits needs a producer that runs.
said, first, second = gather(
    produce(jobs, 1_000), consume(jobs, sums, "first"), consume(jobs, sums, "second")
)
assert first + second == 1_000
print(f"{said}; the squares add up to {sum(sums.values()):,}")
