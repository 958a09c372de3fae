"""Nothing survives us: pools end with the interpreter, and helpers with the pools."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING
from weakref import WeakSet

from procession.process import forks

if TYPE_CHECKING:
    from procession.process.pool import WorkerPool

__all__ = ["at_exit", "has_ended", "register", "shutdown"]

_pools: WeakSet[WorkerPool] = WeakSet()
_registered = False
_ended = False


def register(pool: WorkerPool) -> None:
    """Have a pool ended at exit, and renewed in forked children."""
    global _registered
    if not _registered:
        _registered = True
        import atexit
        import importlib

        importlib.import_module("multiprocessing.util")  # its exit handler is to run after ours

        atexit.register(at_exit)
        forks.renew_in_child(_renew)
    _pools.add(pool)


def has_ended() -> bool:
    """Whether the interpreter is ending, so that no new work is taken."""
    return _ended


def _renew() -> None:
    for pool in list(_pools):
        pool.renew()


def shutdown(*, wait: bool = True, kill: bool = False) -> None:
    """Close all pools of this process, and end the fork servers."""
    pools = list(_pools)
    for pool in pools:
        pool.close(wait=False, kill=kill)
    if wait:
        for pool in pools:
            pool.close(wait=True, kill=kill)
        server = sys.modules.get("procession.process.server")
        if server is not None:
            server.stop_all()


def at_exit() -> None:
    """Let submitted work finish, as the standard library's pools do; Ctrl-C ends it at once.

    Work that nobody will read is not finished: chunks whose listener says ``abandoned``.
    """
    global _ended
    _ended = True
    try:
        if isinstance(getattr(sys, "last_value", None), KeyboardInterrupt):
            shutdown(kill=True)  # the program was interrupted, so nobody waits for what still runs
        for pool in list(_pools):
            pool.drop_abandoned()
        while any(pool.at_work for pool in list(_pools)):
            time.sleep(0.002)
        shutdown()
    except BaseException:
        shutdown(kill=True)
        raise
