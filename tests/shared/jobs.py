"""What the other processes do, in a module that all of them can import."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from procession import shared
from procession.hints import Any

Start = Callable[..., BaseProcess]
"""Starts a process that calls a function with these arguments."""

initialized_with: Any = None


def die() -> None:
    """End like a process that the kernel kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_holding(lock: Any) -> None:
    """Take it and die."""
    lock.acquire()
    die()


def die_within(lock: Any) -> None:
    """Take it by `with` and die."""
    with lock:
        die()


def increment(value: Any, times: int) -> None:
    """Raise a Value, under its own lock."""
    for _ in range(times):
        with value.get_lock():
            value.value += 1


def increment_under(lock: Any, value: Any, times: int) -> None:
    """Raise a Value that has no lock, under another one."""
    for _ in range(times):
        with lock:
            value.value += 1


def increment_in_spite(lock: Any, value: Any, times: int) -> None:
    """The same, though holders of the lock die."""
    warnings.simplefilter("ignore")
    increment_under(lock, value, times)


def die_in_spite(lock: Any) -> None:
    """Take it and die, like others before."""
    warnings.simplefilter("ignore")
    die_holding(lock)


def use(things: dict[str, Any]) -> str:
    """Use one of each, and report in the Dict."""
    with things["lock"], things["rlock"], things["rlock"], things["semaphore"], things["bounded"]:
        things["value"].value += 1
        things["raw"].value += 1
        things["array"][1] += 1.5
    things["event"].set()
    with things["condition"]:
        things["condition"].notify_all()
    things["queue"].put(things["text"].value)
    things["connection"].send("here")
    things["list"].append(os.getpid())
    things["namespace"].seen = True
    things["dict"]["done"] = True
    return "used"


def one_of_each() -> dict[str, Any]:
    """One object of each kind, and the end of a pipe to read from."""
    here, there = shared.Pipe()
    return {
        "lock": shared.Lock(),
        "rlock": shared.RLock(),
        "semaphore": shared.Semaphore(2),
        "bounded": shared.BoundedSemaphore(1),
        "event": shared.Event(),
        "condition": shared.Condition(),
        "barrier": shared.Barrier(2),
        "value": shared.Value("i", 1),
        "raw": shared.Value("q", 1, lock=False),
        "array": shared.Array("d", [0, 1, 2]),
        "text": shared.Array("c", b"text"),
        "queue": shared.Queue[Any](),
        "connection": there,
        "here": here,
        "dict": shared.Dict[str, Any](),
        "list": shared.List[int](),
        "namespace": shared.Namespace(seen=False),
    }


def assert_used(things: dict[str, Any], times: int = 1) -> None:
    """What `use` must have left behind."""
    assert things["value"].value == things["raw"].value == 1 + times
    assert things["array"][:] == [0, 1 + 1.5 * times, 2]
    assert things["event"].wait(30)
    for _ in range(times):
        assert things["queue"].get(timeout=30) == b"text"
        assert things["here"].recv() == "here"
    assert len(things["list"]) == times
    assert things["namespace"].seen is True
    assert things["dict"] == {"done": True}


def initialize(thing: Any) -> None:
    """A pool's initializer."""
    global initialized_with
    initialized_with = thing


def increment_what_came_first(times: int) -> None:
    """Raise the Value that the initializer got."""
    increment(initialized_with, times)


def pass_on(context_name: str, things: dict[str, Any]) -> None:
    """Send them on to a process of this process."""
    import multiprocessing

    context: Any = multiprocessing.get_context(context_name)
    child = context.Process(target=use, args=(things,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    child.join()
    assert child.exitcode == 0


def same(first: Any, second: Any) -> bool:
    """Whether what arrived twice is one object."""
    return first is second


def put_numbers(queue: Any, start: int, count: int) -> None:
    """Produce."""
    for number in range(start, start + count):
        queue.put(number)


def take_until_none(queue: Any, taken: Any) -> None:
    """Consume, and report what came."""
    mine: list[int] = []
    while (item := queue.get()) is not None:
        mine.append(item)
        queue.task_done()
    queue.task_done()
    taken.extend(mine)


def answer(connection: Any) -> None:
    """Send everything back, until there is no more."""
    with connection:
        while True:
            try:
                connection.send(connection.recv())
            except EOFError:
                return


def wait_in(condition: Any, waiting: Any) -> bool:
    """Wait to be notified."""
    with condition:
        waiting.value += 1
        woken: bool = condition.wait(60)
    with waiting.get_lock():
        waiting.value -= 1
    return woken


def write_keys(mapping: Any, name: str, count: int) -> None:
    """Set and change keys of one's own."""
    for number in range(count):
        mapping[name, number] = number
        mapping[name, number] = -number
    del mapping[name, 0]


def append_to(items: Any, name: str, count: int) -> None:
    """Append items of one's own."""
    for number in range(count):
        items.append((name, number))
