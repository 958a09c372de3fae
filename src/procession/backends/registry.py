"""The pools of this process: one per set of worker-shaping options, made when first needed."""

from __future__ import annotations

import gc
import os
import weakref
from collections import deque
from weakref import WeakSet

from procession.backends.pool_choice import Choice, forget_large_initializers
from procession.backends.pool_factory import open_backend
from procession.contract import Backend
from procession.functions import reloads
from procession.hints import Any
from procession.system import after_fork
from procession.system.identity import Identity, glance, identity
from procession.system.interrupts import is_collecting, watch_collections
from procession.system.pristine import time
from procession.user_threads import user_threads
from procession.worker.current import is_loading, refuse_while_loading

_lock = after_fork.rlock()
_pools: dict[Any, Backend] = {}
"""By `Choice.key`."""
_former: WeakSet[Any] = WeakSet()
"""Pools that are used no more, and may still be at work."""
_held: WeakSet[Any] = WeakSet()
"""The `Pool` objects there are."""
_dropped: deque[Backend] = deque()
"""Pools of `Pool` objects that have gone, until they are closed."""
_ending: deque[Backend] = deque(maxlen=64)
"""Of those, the last that were closed; some may not have ended."""
_pool_epoch = 0
_worker_epoch = 0
_generation = 0
_identity: Identity | None = None
_looked = 0.0
_looked_closely = 0.0
_seen: Any = None
_users: tuple[Any, ...] = ()
_user_ids: Any = getattr(os, "getresuid", tuple)
_group_ids: Any = getattr(os, "getresgid", tuple)
_clock = time.monotonic

_LOOK_AGAIN = 0.001
"""Seconds for which single calls take what the kernel allows this process (`system.identity`) for
unchanged, but for its users. To look takes some 5 µs, and 40 after a pause."""

_LOOK_CLOSELY = 0.05
"""The same for limits, niceness and the root folder, which programs hardly ever change while they
run. To look takes 20 µs, and 90 after a pause."""


def _after_fork() -> None:
    """A child has none of its parent's pools: their workers answer the parent."""
    forget_routes()
    _pools.clear()
    _former.clear()
    _dropped.clear()


after_fork.renew_in_child(_after_fork)


# -- finding pools ---------------------------------------------------------------------------


def backend_for(choice: Choice) -> Backend:
    """The pool for these options; it is made, but its workers start when there is work.

    Raises:
        BackendUnavailable: The backend's library is not installed, or it cannot run here.
        NestedParallelism: A worker loads something, and makes a call that starts processes.
        NotPicklable: The initializer or its arguments cannot cross.
    """
    if is_loading():
        raise refuse_while_loading("A call that needs workers was made")
    _follow()
    key = choice.key  # without the lock: to pickle an initializer runs code of the user's
    pool = _pools.get(key)
    if pool is not None:
        return pool
    watch_collections()
    made = open_backend(choice)
    with _lock:
        pool = _pools.setdefault(key, made)
    if pool is not made:  # another thread was faster
        made.close(wait=False)
    return pool


def none_open() -> bool:
    """Whether no pool is open, of any kind."""
    return not _pools


def find(choice: Choice) -> Backend | None:
    """The pool for these options, if one was made."""
    _follow()
    return _pools.get(choice.key)


# -- when pools are not to be used any more --------------------------------------------------


def pool_epoch() -> int:
    """A number that changes whenever pools that were handed out are not to be used any more."""
    users = (_user_ids(), _group_ids())
    if reloads.generation() != _generation or users != _users or _clock() - _looked > _LOOK_AGAIN:
        _glance(users)
    return -_pool_epoch - 1 if is_collecting() else _pool_epoch


def worker_epoch() -> int:
    """A number that changes whenever workers from before are not to be used any more."""
    pool_epoch()
    return _worker_epoch


def _glance(users: tuple[Any, ...]) -> None:
    """Follow what differs at a glance, and from time to time what does not."""
    global _looked
    _looked = _clock()
    seen = glance(), users, reloads.generation()
    if seen != _seen or _looked - _looked_closely > _LOOK_CLOSELY:
        _follow()


def _follow() -> None:
    """Use no pool any more whose workers have what this process has not, or not any more.

    They may have imported older code than the program has now, or be of another user, or have
    other limits. What runs there goes on, as it began like that.
    """
    global _generation, _identity, _looked, _looked_closely, _seen, _users
    now = identity()
    _looked = _looked_closely = _clock()
    _users = now.credentials[:2]
    before, generation = _identity, reloads.generation()
    _seen = glance(), _users, generation
    if generation == _generation and (before is None or now == before):
        _identity = now
        return
    with _lock:
        _generation, _identity = generation, now
        _retire_all()


def _retire_all() -> None:
    global _worker_epoch
    _worker_epoch += 1
    forget_routes()
    for key, pool in list(_pools.items()):
        if pool.kills:  # its workers are Procession's, and processes
            del _pools[key]
            _former.add(pool)
            pool.retire()


def forget_routes() -> None:
    """Have the next call of each function ask anew where it goes."""
    global _pool_epoch
    _pool_epoch += 1


# -- pools of `Pool` objects, and the end ----------------------------------------------------


def hold(holder: Any, pool: Backend) -> None:
    """End a pool when its `Pool` object has gone."""
    _held.add(holder)
    finalizer = weakref.finalize(holder, _drop, pool, os.getpid())
    finalizer.atexit = False


def _drop(pool: Backend, process: int) -> None:
    """Its `Pool` object has gone. In a finalizer, so take no lock."""
    if os.getpid() != process:
        return  # a forked child's parent has it
    _dropped.append(pool)
    user_threads.defer(_close_dropped)


def _close_dropped() -> None:
    while _dropped:
        try:
            pool = _dropped.popleft()
        except IndexError:
            return  # another thread does it
        _ending.append(pool)
        pool.close(wait=False)


def all_pools() -> list[Backend]:
    """All that may be at work."""
    ending = [pool for pool in list(_ending) if pool.at_work]
    return [*list(_pools.values()), *_dropped, *list(_former), *ending]


def in_use() -> list[Backend]:
    """The pools that take calls: those of decorated functions, and of `Pool` objects."""
    held = [pool for each in list(_held) for pool in each.backends]
    return [*list(_pools.values()), *held]


def take_all() -> list[Backend]:
    """All pools, to be closed: the next calls make new ones. Also those that may not have ended."""
    if any(each.may_run for each in list(_held)):
        gc.collect()  # among them may be some that only a cycle holds
    with _lock:
        forget_routes()
        pools = [*_pools.values(), *_former, *_dropped, *_ending]
        for each in (_pools, _former, _dropped, _ending):
            each.clear()
        forget_large_initializers()
    return pools


# -- what they do ----------------------------------------------------------------------------


def stats() -> dict[str, dict[str, int]]:
    """Plain numbers for each pool of this process, cheap enough for a metrics endpoint.

        {"process[4]": {"workers": 4, "busy": 2, "waiting": 0, "done": 1807, ...}}

    A pool's name is its backend and how many workers it may have; ``isolated[...]`` are the
    processes of isolated calls. Pools of one name, such as those that differ in their initializer,
    are ``#2``, ``#3`` and so on. The pools are those that decorated functions use and those of
    `Pool` objects. A pool that has ended is not listed any more. Calls that ran in this process
    are in no pool, and are not counted. In a forked child there are none at first.

    Returns:
        For each pool

        * ``workers``, ``busy``, ``waiting``: workers that are up, those that have work, and chunks
          or calls that wait for one, now;
        * ``done``, ``failed``: items and calls that gave a result, or failed for good;
        * ``died``: chunks or calls whose worker died;
        * ``retried``: attempts that were followed by another;
        * ``started``: workers so far (for executors, as many as were asked for);
        * ``bytes_out``, ``bytes_back``: bytes of what was sent, and of what came home.
    """
    found: dict[str, dict[str, int]] = {}
    for backend in in_use():
        name = unique = f"{backend.kind}[{backend.workers}]"
        number = 1
        while unique in found:
            number += 1
            unique = f"{name}#{number}"
        found[unique] = _numbers(backend)
    return found


def _numbers(backend: Backend) -> dict[str, int]:
    load, tally = backend.load, backend.tally
    return {
        "workers": load.workers,
        "busy": load.busy,
        "waiting": load.waiting,
        "done": tally.done,
        "failed": tally.failed,
        "died": tally.died,
        "retried": tally.retried,
        "started": load.started,
        "bytes_out": tally.bytes_out,
        "bytes_back": tally.bytes_back,
    }
