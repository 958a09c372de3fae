"""Items that wait, fail and kill, in a module that imports less than that of the tests."""

from __future__ import annotations

import os
import time
from pathlib import Path

from procession import current_task, parallel
from tests.support.waiting import wait_for_file

FEW = 30
"""An item that waits stands behind so many tiny ones: with them in a slice."""


@parallel(workers=2)
def wait_for_last(x: int, last: int, folder: Path) -> int:
    """Item `FEW` waits for the last one, which leaves a mark."""
    if x == last:
        (folder / "last").touch()
    if x == FEW:
        wait_for_file(folder / "last")
    return x


@parallel(workers=2)
def fail_behind(x: int, last: int, folder: Path) -> int:
    """Item `FEW` waits for an item behind it, which fails; so do others behind."""
    if x > last - 20:
        (folder / "last").touch()
        raise ValueError(x)
    if x == FEW:
        wait_for_file(folder / "last")
    return x


@parallel
def place(x: int) -> int:
    """The index as the item sees it."""
    task = current_task()
    assert task is not None
    return task.index


@parallel(workers=2)
def wait_for(x: int, hangs: int, folder: Path) -> int:
    """Item `hangs` waits for the last one, which leaves a mark."""
    if x == hangs:
        wait_for_file(folder / "mark")
    if x == FEW:
        (folder / "mark").touch()
    return x


@parallel(workers=2)
def first_waits(x: int, folder: Path) -> int:
    """Item 0 is not over before the last one has been run for a while."""
    if x == 0:
        wait_for_file(folder / "last")
        time.sleep(0.2)
    if x == FEW:
        (folder / "last").touch()
    return x


@parallel(workers=2)
def deadly(x: int, kills: int = -1) -> int:
    """The process that this item runs in, unless it ends it."""
    if x == kills:
        os._exit(3)
    return os.getpid()
