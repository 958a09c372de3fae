"""`procession.shared` beside multiprocessing (inherited) and multiprocessing.Manager, in one run.

    python benchmarks/shared_primitives.py

Uncontended operations: the best of many short rounds, all candidates in turn, so that a busy
machine disturbs all alike. The queue: one producer process and one consumer, the median of several
runs in turn. The bars are those of the issue; the program fails if one is missed.
"""

import multiprocessing
import platform
import statistics
import sys
import time
import timeit
from typing import Any

from procession import shared

ROUNDS, CALLS = 200, 1000
MANAGER_ROUNDS, MANAGER_CALLS = 20, 50
QUEUE_RUNS, ITEMS = 5, 20_000


def timed(statement: str, **candidates: Any) -> dict[str, float]:
    """Nanoseconds that a statement takes with each candidate as ``x``, in turn."""
    timers = {name: timeit.Timer(statement, globals={"x": x}) for name, x in candidates.items()}
    result = dict.fromkeys(timers, float("inf"))
    for number in range(ROUNDS):
        for name, timer in timers.items():
            slow = name == "Manager"
            if slow and number >= MANAGER_ROUNDS:
                continue
            calls = MANAGER_CALLS if slow else CALLS
            result[name] = min(result[name], timer.timeit(calls) / calls * 1e9)
    return result


class ManagedValue:
    """A Manager's value and the lock that goes with it."""

    def __init__(self, manager: Any) -> None:
        self.lock = manager.Lock()
        self.proxy = manager.Value("i", 0)

    def get_lock(self) -> Any:
        return self.lock

    @property
    def value(self) -> int:
        return int(self.proxy.value)

    @value.setter
    def value(self, value: int) -> None:
        self.proxy.value = value


def produce(queue: Any, count: int) -> None:
    for number in range(count):
        queue.put(number)


def queue_rate(queue: Any) -> float:
    """Items per second, from one process to another."""
    process = multiprocessing.get_context("fork").Process(target=produce, args=(queue, ITEMS))
    process.start()
    queue.get()
    start = time.perf_counter()
    for _ in range(ITEMS - 1):
        queue.get()
    seconds = time.perf_counter() - start
    process.join()
    return (ITEMS - 1) / seconds


def show(what: str, numbers: tuple[float, ...], bars: list[tuple[str, bool]]) -> bool:
    cells = [f"{number:,.0f}" if number == number else "-" for number in numbers]
    kept = ", ".join(f"{bar}: {'yes' if holds else 'NO'}" for bar, holds in bars)
    print(f"{what:28}{cells[0]:>11}{cells[1]:>17}{cells[2]:>12}   {kept}")
    return all(holds for _, holds in bars)


def main() -> int:
    context = multiprocessing.get_context("fork")
    fine = True
    print(
        f"Python {platform.python_version()}; nanoseconds per operation, items per second for Queue"
    )
    print(f"{'':28}{'procession':>11}{'multiprocessing':>17}{'Manager':>12}   bars")
    with context.Manager() as manager:
        for what, statement, objects in (
            (
                "Lock acquire+release",
                "x.acquire(); x.release()",
                (shared.Lock(), context.Lock(), manager.Lock()),
            ),
            ("Lock by with", "with x: pass", (shared.Lock(), context.Lock(), manager.Lock())),
            ("RLock by with", "with x: pass", (shared.RLock(), context.RLock(), manager.RLock())),
            (
                "Value += 1 under its lock",
                "with x.get_lock(): x.value += 1",
                (shared.Value("i", 0), context.Value("i", 0), ManagedValue(manager)),
            ),
        ):
            names = ("ours", "theirs", "Manager")
            time_of = timed(statement, **dict(zip(names, objects, strict=True)))
            ours, theirs, managed = (time_of[name] for name in names)
            fine &= show(
                what,
                (ours, theirs, managed),
                [
                    (f"{ours / theirs:.1f} <= 5 times", ours <= 5 * theirs),
                    (f"{managed / ours:.0f} >= 20 times faster", managed >= 20 * ours),
                ],
            )
        for what, statement in (("Dict set", "x['a'] = 1"), ("Dict get", "x['a']")):
            time_of = timed(statement, ours=shared.Dict(a=1), Manager=manager.dict(a=1))
            ours, managed = time_of["ours"], time_of["Manager"]
            bar = (f"{managed / ours:.0f} times faster", ours <= managed)
            fine &= show(what, (ours, float("nan"), managed), [bar])
        rates: dict[str, list[float]] = {"ours": [], "theirs": [], "Manager": []}
        for _ in range(QUEUE_RUNS):
            rates["ours"].append(queue_rate(shared.Queue()))
            rates["theirs"].append(queue_rate(context.Queue()))
        rates["Manager"].append(_manager_rate(manager))
        ours, theirs, managed = (statistics.median(rate) for rate in rates.values())
        bar = (f"{ours / theirs:.1f} >= 1 times the rate", ours >= theirs)
        fine &= show("Queue of small items", (ours, theirs, managed), [bar])
    return 0 if fine else 1


def _manager_rate(manager: Any) -> float:
    queue = manager.Queue()
    start = time.perf_counter()
    for number in range(500):
        queue.put(number)
        queue.get()
    return 500 / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
