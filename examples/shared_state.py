"""Workers that count together, wait for each other and talk to each other: `procession.shared`.

Every shared object here is passed as an ordinary argument to decorated functions. With those of
`multiprocessing` that ends in "should only be shared between processes through inheritance".

    python examples/shared_state.py
"""

from procession import background, gather, parallel_map, shared


@parallel_map(workers=4, inline=False, chunk=1)
def count(
    times: int, total: shared.Synchronized[int], by_digit: shared.SynchronizedArray[int]
) -> None:
    for number in range(times):
        with total.get_lock():
            total.value += 1
        with by_digit.get_lock():
            by_digit[number % 10] += 1


@parallel_map(workers=4, inline=False, chunk=1)
def count_under_a_lock(times: int, lock: shared.Lock, counts: shared.Namespace) -> None:
    for _ in range(times):
        with lock:
            counts.steps += 1


@parallel_map(workers=4, inline=False, chunk=1)
def visit(
    name: str,
    permits: shared.Semaphore,
    inside: shared.Synchronized[int],
    most: shared.Synchronized[int],
    visitors: shared.List[str],
    visits: shared.Dict[str, int],
) -> None:
    for number in range(50):
        with permits:
            with inside.get_lock():
                inside.value += 1
                most.value = max(most.value, inside.value)
            visits[name] = number + 1
            with inside.get_lock():
                inside.value -= 1
    visitors.append(name)


@background(workers=2)
def ask(line: shared.Connection, questions: list[int]) -> list[int]:
    answers: list[int] = []
    for question in questions:
        line.send(question)
        answers.append(line.recv())
    line.send(None)
    return answers


@background(workers=2)
def answer(line: shared.Connection) -> str:
    while (question := line.recv()) is not None:
        line.send(question * 2)
    return "nobody asks any more"


# A counter and an array, raised by four workers.
total, by_digit = shared.Value("i", 0), shared.Array("i", 10)
count([1_000] * 4, total, by_digit)
print(f"counted to {total.value:,}, of each digit {by_digit[:]}")

# 40,000 steps under a lock, none lost.
lock, counts = shared.Lock(), shared.Namespace(steps=0)
count_under_a_lock([10_000] * 4, lock, counts)
print(f"{counts.steps:,} steps under a lock")

# A semaphore that lets two in; a list and a dictionary that all write.
inside, most = shared.Value("i", 0), shared.Value("i", 0)
visitors, visits = shared.List[str](), shared.Dict[str, int]()
visit(["Ann", "Ben", "Cleo", "Dan"], shared.Semaphore(2), inside, most, visitors, visits)
assert most.value <= 2
print(f"never more than two inside; visitors {sorted(visitors)}, visits {sum(visits.values())}")

# Two workers that talk to each other.
here, there = shared.Pipe()
answers, said = gather(ask(here, [1, 2, 3]), answer(there))
print(f"the answers were {answers}; {said}")
