"""Executors that the user gives as ``backend=``: whether they can work in this process."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from weakref import WeakKeyDictionary

from procession.errors import PoolClosed
from procession.system import after_fork, cpython

__all__ = ["refuse_inherited"]

_users: WeakKeyDictionary[Executor, int] = WeakKeyDictionary()
"""The process that first used each executor."""


def refuse_inherited(executor: Executor) -> None:
    """Refuse an executor whose workers are those of the process that this one was forked from.

    Raises:
        PoolClosed: It is one; nobody would run what it is given.
    """
    if _stayed_behind(executor):
        raise PoolClosed(
            f"the executor given as backend= ({type(executor).__name__}) was used before this "
            f"process ({os.getpid()}) was forked, and its workers stayed in the parent. Make a new "
            "one here, after the fork, or write backend='process'."
        )


def _stayed_behind(executor: Executor) -> bool:
    if getattr(executor, "_starts_its_own", False):
        return False  # our own Pool starts new workers
    if _users.setdefault(executor, os.getpid()) != os.getpid():
        return True
    if not after_fork.in_child:
        return False
    # Somebody else may have used it; this is how the standard library's and loky's look then.
    threads = cpython.executor_threads(executor)
    return bool(threads) and not any(thread.is_alive() for thread in threads)
