"""Functions that are run on clusters."""

from __future__ import annotations

import contextvars
import itertools
import logging
import os
import random
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from procession import background, current_task, isolated, parallel_map, per_worker, shared

COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@parallel_map
def square(x: int) -> int:
    """A cheap item."""
    return x * x


@parallel_map
def square_of_a_millisecond(x: int) -> int:
    """An item that takes a millisecond."""
    time.sleep(0.001)
    return x * x


@parallel_map
def pick(index: int, values: list[int]) -> int:
    """One of the values that go to every item."""
    return values[index]


@parallel_map(chunk=1)
def length(_: int, data: bytes) -> int:
    """How large what goes to every item is."""
    return len(data)


@parallel_map
def size_of(count: int) -> bytes:
    """A large result."""
    return bytes(count)


@parallel_map
def draw(_: int) -> float:
    """A random number."""
    return random.random()


@parallel_map
def kill_itself(x: int) -> int:
    """Item 3 kills its process."""
    if x == 3:
        os.kill(os.getpid(), 9)
    return x


@parallel_map(chunk=3000, retries=1, retry_on=LookupError)
def picky(x: int) -> int:
    """Some items are special."""
    task = current_task()
    assert task is not None
    if x == 10:
        logging.getLogger("far").warning("item 10 was here")
    if x == 1000:
        raise ZeroDivisionError
    if x == 1500 and task.attempt == 1:
        raise LookupError
    if x == 2000:
        os.kill(os.getpid(), 9)
    return x


@parallel_map
def hold(value: Any) -> str:
    """What kind of value has come."""
    return type(value).__name__


@background
def hang(mark: Path) -> None:
    """Tell which process runs this, and never end."""
    mark.with_suffix(".part").write_text(str(os.getpid()))
    mark.with_suffix(".part").rename(mark)
    while True:
        time.sleep(0.05)


@parallel_map
def hold_on(_: int, folder: Path) -> None:
    """Tell which process runs this, and never leave C code for long."""
    (folder / str(os.getpid())).touch()
    while True:
        sum(range(10**7))


@background
def where() -> tuple[str, int]:
    """The worker's name, and its process."""
    task = current_task()
    assert task is not None
    return task.worker, os.getpid()


@background
def look() -> str:
    """Log a record, warn, and give the caller's context variable."""
    logging.getLogger("far").warning("said over there")
    warnings.warn("seen over there", stacklevel=1)
    return COLOUR.get()


@parallel_map(chunk=5)
def overdo(x: int) -> int:
    """Item 1 never ends, item 3 takes all memory."""
    if x == 1:
        time.sleep(1000)
    if x == 3:
        held = [bytearray(b"x") * 10_000_000 for _ in range(100)]
        time.sleep(1000 * len(held))
    return x


@parallel_map
def meet(_: int, folder: Path, data: bytes = b"") -> int:
    """Wait until two items run at the same time."""
    (folder / str(os.getpid())).touch()
    while len(os.listdir(folder)) < 2:
        time.sleep(0.01)
    return len(data)


@parallel_map
def first_only(x: int, folder: Path) -> int:
    """Item 0 is done at once; others tell which process runs them, and never end."""
    if x:
        (folder / str(os.getpid())).touch()
        time.sleep(1000)
    return x


@parallel_map
def give(what: str) -> Any:
    """Give back something of `procession.shared`, made over there."""
    return shared.put([what]) if what == "put" else getattr(shared, what)()


@parallel_map
def fail(x: int) -> int:
    """Fail."""
    raise ZeroDivisionError(x)


STARTED: list[str] = []


def note_start(text: str) -> None:
    """An initializer."""
    STARTED.append(text)


@parallel_map
def started_by(_: int) -> list[str]:
    """What the worker's initializer has noted."""
    return STARTED


@isolated
def count_up(most: int) -> Iterator[int]:
    """A stream."""
    yield from range(most)


@isolated
def endless(folder: Path) -> Iterator[int]:
    """A stream that is always ahead of its reader."""
    (folder / str(os.getpid())).touch()
    yield from itertools.count()


@isolated
def silent(folder: Path) -> Iterator[int]:
    """A stream that gives one value, and never another."""
    (folder / str(os.getpid())).touch()
    yield 0
    while True:
        time.sleep(0.05)


@isolated
async def add(a: int, b: int) -> int:
    """A coroutine."""
    return a + b


connection = per_worker(lambda: os.getpid())


@parallel_map
def use_connection(_: int) -> bool:
    """Whether the worker's own value is its own."""
    value: int = connection.get()
    return value == os.getpid()
