"""What workers run, in a module that imports less than that of the tests."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np

from procession import parallel
from procession.buffers import receiver as arrivals
from procession.pickling.pickler import LARGE

N = LARGE // 8


@parallel(workers=2, inline=False, backend="process")
def filled(value: int) -> Any:
    """A large array."""
    return np.full(N, value)


@parallel(workers=2, inline=False, backend="process")
def doubled(frame: Any) -> Any:
    """Anything that can be added to itself."""
    return frame + frame


@parallel(workers=1, inline=False, backend="process", retries=1)
def spoil_and_die(array: Any) -> float:
    """Changes its argument and dies; the second attempt returns what it was given."""
    from procession import current_task

    task = current_task()
    assert task is not None
    seen = float(array[0])
    array[:] = 99
    if task.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return seen


@parallel(workers=1, inline=False, backend="process")
def die(array: Any) -> None:
    """Takes its worker down."""
    os.kill(os.getpid(), signal.SIGKILL)


def peek(index: int, array: Any) -> tuple[float, str]:
    """What it reads before it writes beside it, and where its memory is."""
    seen = float(array[0])
    array[1:] = index + 1
    address = array.ctypes.data
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, _, end = line.split()[0].partition("-")
            if int(start, 16) <= address < int(end, 16):
                return seen, line.split()[4]
    raise AssertionError("not mapped")


def increased(array: Any) -> tuple[Any, bool]:
    """Its argument plus one, in place, and whether it came through a segment."""
    array += 1
    return array, bool(arrivals._private)


def large_or_death(job: tuple[str, int]) -> Any:
    """Items 0, 2, … return something large; the others end the worker at once."""
    path, index = job
    with open(path, "a") as file:
        file.write(f"{index}\n")
    if index % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.full(N, index)
