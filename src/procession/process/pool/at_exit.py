"""Nothing survives us: pools end with the interpreter, and helpers with the pools."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

from procession.buffers.sender import segments
from procession.hints import Protocol
from procession.process.io.reactor import reactor
from procession.system import after_fork, cpython, cpython_processes, lifeline
from procession.system.pristine import time
from procession.user_threads import user_threads

_LOOK = 0.002
"""Seconds between two looks whether work is left, at exit."""

_SAID = "KeyboardInterrupt: what still ran when the program ended was ended, and its results lost\n"


class Ends(Protocol):
    """What is to be ended with the interpreter: a pool of workers, ours or an executor's."""

    @property
    def at_work(self) -> bool:
        """Whether it runs something, or has something to tell."""
        ...

    def drop_abandoned(self) -> None:
        """End the chunks whose listener has an attribute ``abandoned`` that is true."""
        ...

    def close(self, *, wait: bool = True, kill: bool = False) -> None:
        """Take no more work, and end; see `procession.contract.Backend.close`."""
        ...

    def renew(self) -> None:
        """In a forked child: forget everything, as it is the parent's."""
        ...


_Pools = WeakValueDictionary[int, Ends]

_pools: _Pools = WeakValueDictionary()
_executors: _Pools = WeakValueDictionary()
_early: _Pools = WeakValueDictionary()
_kinds: set[str] = set()
_registered = False
_ended = False


def register(pool: Ends) -> None:
    """Have a pool ended at exit, and renewed in forked children."""
    global _registered
    if not _registered:
        _registered = True
        import atexit
        import importlib

        importlib.import_module("multiprocessing.util")  # its exit handler is to run after ours

        atexit.register(at_exit)
        after_fork.renew_in_child(_renew)
    _pools[id(pool)] = pool
    reactor.serve(_afresh)


def before_executors(pool: Ends, kind: str) -> None:
    """Have what an executor runs finished before that kind's own exit handler runs.

    That one waits for everything that was submitted, though no one may read it, and cannot be
    interrupted. Such handlers run when the main thread has ended, the last one registered first;
    so call this after the executor has taken its first work. Registering is private to CPython
    (`concurrent.futures` and loky do it): without it, a program's end waits for abandoned work.
    """
    _executors[id(pool)] = pool
    _once(kind, _finish_executors)


def end_with_threads(pool: Ends, kind: str) -> None:
    """Have a pool finish and close before the threads that it needs end with the main thread.

    Those of an engine that runs in this process, for example.
    """
    _early[id(pool)] = pool
    _once(kind, _end_early)


def _once(kind: str, end: Callable[[], None]) -> None:
    """Have it called when the main thread has ended, once for each kind of pool."""
    if kind in _kinds:
        return
    _kinds.add(kind)
    try:
        cpython.at_threads_end(end)
    except RuntimeError:
        pass  # the main thread has ended already


def has_ended() -> bool:
    """Whether the interpreter is ending, so that no new work is taken."""
    return _ended


def _living(pools: _Pools) -> list[Ends]:
    """Those there are, though other threads add and remove some."""
    return [pool for each in pools.valuerefs() if (pool := each()) is not None]


def _renew() -> None:
    for pool in _living(_pools):
        pool.renew()


class _Afresh:
    """What else is known by descriptors, if the program has closed those."""

    is_pool = False

    def fail(self, error: BaseException) -> None:
        """End it, or forget it; the next call makes it anew."""
        if not isinstance(error, OSError):
            return
        lifeline.broken()
        cpython_processes.lose_tracker()
        server = cpython.loaded("procession.process.start.fork_server")
        if server is not None:
            server.stop_all()
        segments.lose()


_afresh = _Afresh()


def shutdown(*, wait: bool = True, kill: bool = False) -> None:
    """Close all pools of this process, and end the fork servers."""
    pools = _living(_pools)
    for pool in pools:
        pool.close(wait=False, kill=kill)
    if wait:
        for pool in pools:
            pool.close(wait=True, kill=kill)
        server = cpython.loaded("procession.process.start.fork_server")
        if server is not None:
            server.stop_all(wait=not _ended)  # at the end they hear at once that it is there


def at_exit() -> None:
    """Let submitted work finish, as the standard library's pools do; Ctrl-C ends it at once.

    Work that no one will read is not finished: chunks whose listener says ``abandoned``.
    """
    global _ended
    _ended = True
    try:
        _finish_all()
        shutdown()
        user_threads.finish()
    except KeyboardInterrupt:
        _interrupted()
    except BaseException:
        shutdown(kill=True)
        raise


def _finish_all() -> None:
    """Let work finish, and what it tells; callbacks may have begun more work."""
    _finish(_living(_pools))
    while user_threads.finish() and any(pool.at_work for pool in _living(_pools)):
        _finish(_living(_pools))


def _finish_executors() -> None:
    pools = _living(_executors)
    try:
        # A thread of the user's that still runs may be reading what would else be abandoned.
        alone = not _others_run()
        _finish(pools, abandon=alone)
        if alone:
            # An executor's own handler wakes its thread. That one may have told its last result
            # just now, and be closing by what it is woken (CPython 3.11 to 3.13).
            for pool in pools:
                pool.close()
    except KeyboardInterrupt:
        _interrupted()


def _end_early() -> None:
    try:
        _finish(_living(_early), abandon=not _others_run())
    except KeyboardInterrupt:
        _interrupted()
    for pool in _living(_early):
        pool.close()


def _finish(pools: Sequence[Ends], *, abandon: bool = True) -> None:
    """Wait until nothing runs that may still be wanted."""
    if isinstance(getattr(sys, "last_value", None), KeyboardInterrupt):
        shutdown(kill=True)  # the program was interrupted, so no one waits for what still runs
    if abandon:
        for pool in pools:
            pool.drop_abandoned()
    while any(pool.at_work for pool in pools):
        time.sleep(_LOOK)


def _others_run() -> bool:
    """Whether a thread runs that Python waits for, other than this one and the executors'."""
    return any(
        not (thread.daemon or thread.name.startswith("Dask-"))
        and type(thread).__name__ != "_ExecutorManagerThread"
        for thread in threading.enumerate()
        if thread is not threading.current_thread()
    )


def _interrupted() -> None:
    """Ctrl-C while the program's end waited for its work: end that, and say so in one line.

    (Raised from here it would come as a traceback through our own code, and change nothing.)
    """
    shutdown(kill=True)
    try:
        sys.stderr.write(_SAID)
    except Exception:
        pass  # there is no stderr any more
