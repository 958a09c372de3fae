"""Waiting for something that another thread or process does, with a deadline and no luck."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

from procession.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 60.0
"""Seconds after which a wait is a failure; guessed, far above what any test here needs."""


def wait_until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Poll until `condition()` is true.

    Raises:
        AssertionError: It was still false after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true within {seconds} seconds: {condition!r}")
        time.sleep(0.005)


def wait_for_file(path: Path | str, seconds: float = DEADLINE) -> None:
    """Wait until a file exists: how one process tells another that it has come so far."""
    wait_until(partial(os.path.exists, path), seconds)
