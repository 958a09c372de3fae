"""What the tests of `test_what_crosses` run in the workers."""

from __future__ import annotations

import contextvars
import logging
import os
import random
import sys
import warnings
from typing import Any

import procession
from procession import parallel
from procession.tasks import PerWorker

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")
logger = logging.getLogger("tests.conformance.worker")


class OurWarning(UserWarning):
    """A category of the tests' own."""


@parallel
def read_variable(_: object) -> str:
    """The context variable's value here."""
    return variable.get()


@parallel
def set_variable(value: str) -> str:
    """The value before, after which it is another."""
    before = variable.get()
    variable.set(value)
    return before


@parallel
def log(x: int) -> int:
    """Log one record, with an argument."""
    logger.info("item %d", x)
    return x


@parallel
def log_and_fail(x: int) -> int:
    """Log one record, then raise."""
    logger.info("about to fail")
    raise ValueError(x)


@parallel
def warn(x: int) -> int:
    """Warn once."""
    warnings.warn(f"about {x}", OurWarning, stacklevel=1)
    return x


@parallel
def describe_task(_: object) -> dict[str, Any]:
    """What an item knows about itself."""
    task = procession.current_task()
    assert task is not None
    return {"index": task.index, "attempt": task.attempt, "function": str(task.function)}


@parallel
def attempt_until(attempts: int) -> int:
    """Fail until so many attempts were made."""
    task = procession.current_task()
    assert task is not None
    if task.attempt < attempts:
        raise ValueError("once more")
    return task.attempt


class Connection:
    """Something that is expensive to make and cannot be sent."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __reduce__(self) -> str:
        raise TypeError("a connection cannot be pickled")


connection = procession.per_worker(Connection)


@parallel
def use_connection(_: int) -> tuple[int, int]:
    """Where this ran, and which connection it used."""
    return os.getpid(), id(connection.value)


@parallel
def use_handle(handle: PerWorker[Connection]) -> bool:
    """Whether the handle means the connection that this very worker has made."""
    return handle.value is connection.value and handle.value.pid == os.getpid()


@parallel
def random_numbers(_: int) -> tuple[float, float]:
    """One number of each global generator."""
    import numpy as np

    return random.random(), float(np.random.random())


initialized: list[int] = []


def initialize(value: int) -> None:
    """An initializer."""
    initialized.append(value)


def fail_to_initialize() -> None:
    """An initializer that fails."""
    raise LookupError("cannot initialize")


@parallel
def count_initializations(_: int) -> tuple[int, int]:
    """How often the initializer ran here, and with what."""
    return len(initialized), initialized[-1]


@parallel
def thread_settings(_: int) -> tuple[str | None, str | None]:
    """What OpenMP and OpenBLAS would be told here."""
    return os.environ.get("OMP_NUM_THREADS"), os.environ.get("OPENBLAS_NUM_THREADS")


@parallel
def has_rare(_: object) -> bool:
    """Whether the module of a rare warning is loaded here."""
    return "tests.conformance.rare" in sys.modules


@parallel
def warn_rarely(x: int) -> int:
    """Give a warning whose module is loaded only now."""
    from tests.conformance.rare import RareWarning

    warnings.warn(f"rarely {x}", RareWarning, stacklevel=1)
    return x
