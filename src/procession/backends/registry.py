"""The pools of this process: one per set of worker-shaping options, made when first needed."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections import deque
from typing import Any
from weakref import WeakSet

from procession.backends.draining import Draining, aside, hand_over, seconds_of
from procession.backends.library_settings import warn_of_settings
from procession.configuration import Options, precedence
from procession.contract import Backend
from procession.errors import BackendUnavailable
from procession.functions import reloads
from procession.pickling.packed_initializer import Packed, pack_initializer
from procession.process.pool.at_exit import has_ended
from procession.system import NamedTuple, after_fork
from procession.system.identity import Identity, identity, who
from procession.system.interrupts import is_collecting, watch_collections
from procession.system.limits import must_be_main_interpreter
from procession.system.pristine import natural, queues_are_natural, threading, time
from procession.user_threads import teller
from procession.worker.current import is_loading, refuse_while_loading
from procession.worker.preparing import Cap, default_applies, default_cap

__all__ = [
    "Choice",
    "age",
    "backend_for",
    "era",
    "hold",
    "is_loaded",
    "is_warm",
    "let_go",
    "none_open",
    "one_by_one",
    "open_backend",
    "shutdown",
    "thread_cap",
]


class Choice(NamedTuple):
    """Which pool a call needs.

    Attributes:
        options: Of which the worker-shaping ones count.
        isolated: Whether each item has a process of its own.
        module: The module that an isolated function's spare process has already imported.
    """

    options: Options
    isolated: bool = False
    module: str = ""

    @property
    def out_of_band(self) -> bool:
        """Whether large buffers may travel beside the pickle."""
        return self.isolated or self.options.backend in ("process", "loky", "stdlib")


_MODULES = {
    "process": "procession.backends.process",
    "loky": "loky.process_executor",
    "stdlib": "concurrent.futures.process",
}

_LARGE = 64 * 1024
"""Bytes of an initializer's pickled arguments from which on it is not made again at each call. A
guess: below it, that takes some 20 µs."""

_LARGE_KEPT = 16
"""Of how many the key is kept. A guess: a program has one."""

_lock = after_fork.rlock()
_large: dict[tuple[int, int], tuple[Any, Any, Any]] = {}
_dropped: deque[Backend] = deque()
"""Pools of `Pool` objects that nobody holds any more, until they are closed."""
_ending: deque[Backend] = deque(maxlen=64)
"""Of those, the last that were closed; some may not have ended."""
_held: WeakSet[Any] = WeakSet()
"""The `Pool` objects there are."""
_pools: dict[Any, Backend] = {}
_foreign: dict[int, tuple[Any, Backend]] = {}
_former: WeakSet[Any] = WeakSet()
_age = 0
_era = 0
_generation = 0
_identity: Identity | None = None
_looked = 0.0

_LOOK_AGAIN = 0.001
"""Seconds for which single calls take what the kernel allows this process (`system.identity`) for
unchanged, but for its users. To look takes some 20 µs, half of the time of a call."""


def _after_fork() -> None:
    """A child has none of its parent's pools: their workers answer the parent."""
    global _age
    _age += 1
    _pools.clear()
    _foreign.clear()
    _former.clear()
    _dropped.clear()


after_fork.renew_in_child(_after_fork)


def age() -> int:
    """A number that changes whenever pools that were handed out are not to be used any more."""
    _follow_quickly()
    return -_age - 1 if is_collecting() else _age


def era() -> int:
    """A number that changes whenever workers from before are not to be used any more."""
    _follow_quickly()
    return _era


def _follow() -> None:
    """Use no pool any more whose workers have what this process has not, or not any more.

    They may have imported older code than the program has now, or be of another user, or have
    other limits. What runs there goes on, as it began like that.
    """
    global _generation, _identity, _looked
    now = identity()
    _looked = time.monotonic()
    before, generation = _identity, reloads.generation()
    if generation == _generation and (before is None or now == before):
        _identity = now
        return
    with _lock:
        _generation, _identity = generation, now
        _retire_all()


def _follow_quickly() -> None:
    """The same, where calls may follow one another within microseconds: users always, and the rest
    if some time has passed."""
    known = _identity
    if (
        known is None
        or reloads.generation() != _generation
        or time.monotonic() - _looked > _LOOK_AGAIN
        or who() != known.credentials[:2]
    ):
        _follow()


def _retire_all() -> None:
    global _age, _era
    _age += 1
    _era += 1
    for key, pool in list(_pools.items()):
        if not isinstance(pool, _in_this_process()):
            del _pools[key]
            _former.add(pool)
            let_go(pool)


def _in_this_process() -> tuple[type, ...]:
    threads: Any = sys.modules.get("procession.backends.thread")
    return () if threads is None else (threads.ThreadBackend,)


def let_go(backend: Backend) -> None:
    """Have the workers of a pool that is not to be used any more end when they are idle."""
    retire = getattr(backend, "retire", None)
    if retire is not None:
        retire()


def _key(choice: Choice) -> Any:
    options = choice.options
    context = options.context
    return (
        # What a finalizer waits for must not be held by the code that it struck: a worker that was
        # given a chunk which is not sent yet, the lock of a channel.
        is_collecting(),
        choice.isolated,
        choice.module,
        options.backend,
        options.workers,
        context if context is None or isinstance(context, str) else id(context),
        _initializer_key(options),
        options.max_tasks_per_worker,
        thread_cap(options),
    )


def _initializer_key(options: Options) -> Any:
    """What tells initializers apart; the pool keeps alive what is known by its identity.

    Arguments are compared by their pickles, but for large ones, which are not pickled again for
    each call: the same tuple counts as the same, and what is changed in it later is not seen.
    """
    if options.initializer is None:
        return b""
    if options.backend == "thread":  # nothing is sent
        return (id(options.initializer), *map(id, options.initargs))
    same = (id(options.initializer), id(options.initargs))
    known = _large.get(same)
    if known is not None:
        return known[-1]
    packed = _initializer(options)
    if not isinstance(packed, bytes):
        return (packed[0], *map(id, packed[1]))
    if len(packed) < _LARGE:
        return packed
    from hashlib import sha256

    key = (len(packed), sha256(packed).digest())
    _large[same] = (options.initializer, options.initargs, key)
    while len(_large) > _LARGE_KEPT:
        _large.pop(next(iter(_large)), None)
    return key


def _initializer(options: Options) -> Packed:
    """The initializer and its arguments as they are sent, which is also what tells them apart.

    Raises:
        NotPicklable: The initializer cannot cross.
    """
    try:
        return pack_initializer(options.initializer, options.initargs)
    except Exception as error:
        from procession.explaining.explain import explain

        raise explain(
            error,
            options.initializer,
            where="argument",
            function="initializer",
            root="initializer",
            pickling=options.pickling,
        ) from None


def backend_for(choice: Choice) -> Backend:
    """The pool for these options; it is made, but its workers start when there is work.

    Raises:
        BackendUnavailable: The backend's library is not installed, or it cannot run here.
        NestedParallelism: A worker loads something, and makes a call that starts processes.
        NotPicklable: The initializer or its arguments cannot cross.
    """
    if is_loading():
        raise refuse_while_loading("A call that needs workers was made")
    executor = choice.options.backend
    _follow()
    with _lock:
        if not isinstance(executor, str) and not choice.isolated:
            known = _foreign.get(id(executor))
            if known is None:
                known = _foreign[id(executor)] = (executor, open_backend(choice))
            return known[1]
    key = _key(choice)  # without the lock: to pickle an initializer runs code of the user's
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
    return not (_pools or _foreign)


def is_warm(choice: Choice) -> bool:
    """Whether a chunk for these options would start at once."""
    _follow()
    if not isinstance(choice.options.backend, str):
        return True
    pool = _pools.get(_key(choice))
    return pool is not None and pool.warm


def is_loaded(backend: Any) -> bool:
    """Whether the modules that such a backend's pools need are loaded, which may take 100 ms."""
    return _MODULES.get(backend, "sys") in sys.modules if isinstance(backend, str) else True


def one_by_one(choice: Choice) -> bool:
    """Whether each message must hold one item: whoever counts or isolates does so by message."""
    options = choice.options
    limited = options.timeout is not None or options.memory_limit is not None
    return (
        choice.isolated
        or options.max_tasks_per_worker is not None
        or (limited and options.backend != "process")
    )


def open_backend(choice: Choice) -> Backend:
    """Make a new backend for these options."""
    options = choice.options
    warn_of_settings(options)
    if choice.isolated or options.backend in ("process", "loky", "stdlib"):
        must_be_main_interpreter()
    if choice.isolated or options.backend == "process":
        return _process(choice)
    if not (natural() and queues_are_natural()):
        _refuse_greenlets(options.backend)
    if options.backend == "thread":
        from procession.backends.thread import ThreadBackend

        return ThreadBackend(options.workers, options.initializer, options.initargs)
    from procession.backends.executors.executor_pools import executor_backend

    return executor_backend(options, _initializer(options))


def _refuse_greenlets(backend: Any) -> None:
    """An executor that waits by greenlets hangs as soon as somebody waits for it in a thread.

    Raises:
        BackendUnavailable: It does.
    """
    kind = type(backend).__module__
    if backend in ("thread", "loky", "stdlib") or kind.startswith(("concurrent.", "loky.")):
        raise BackendUnavailable(
            f"backend={backend!r} cannot run here: gevent or eventlet has put greenlets in the "
            "place of its threads and queues, so its calls would never end. Write "
            "backend='process', which runs under these patches."
        )


def thread_cap(options: Options) -> Cap | None:
    """The cap on OpenMP and BLAS threads, but no default that forked workers could not keep."""
    threads = options.threads_per_worker
    if threads is None:
        return None
    if "threads_per_worker" in options.given:
        return Cap(threads)
    from procession.configuration.compatibility import context_name
    from procession.process.start.starting import default_method

    ours = options.context is None and options.backend == "process"
    method = default_method() if ours else context_name(options.context or "spawn")
    forked = method == "fork"
    return default_cap(threads) if default_applies(forked) else None


def _process(choice: Choice) -> Backend:
    from procession.process.start.starting import prepare

    options = choice.options
    if not is_loading():
        prepare(options.context)  # first of all: it boots while the rest is loaded here
    from procession.backends.process import ProcessBackend, WorkerSpec

    spec = WorkerSpec(
        options.context,
        options.initializer,
        options.initargs,
        options.max_tasks_per_worker,
        thread_cap(options),
    )
    if not choice.isolated:
        return ProcessBackend(spec, options.workers)
    from procession.backends.isolated import IsolatedBackend, isolated_spec

    return IsolatedBackend(isolated_spec(spec, choice.module or None), options.workers)


def hold(holder: Any, pool: Backend) -> None:
    """End a pool when nobody holds its `Pool` object any more."""
    _held.add(holder)
    finalizer = weakref.finalize(holder, _drop, pool, os.getpid())
    finalizer.atexit = False


def _drop(pool: Backend, process: int) -> None:
    """Its `Pool` object has gone. In a finalizer, so take no lock."""
    if os.getpid() != process:
        return  # a forked child's parent has it
    _dropped.append(pool)
    teller.defer(_close_dropped)


def _close_dropped() -> None:
    while _dropped:
        try:
            pool = _dropped.popleft()
        except IndexError:
            return  # another thread does it
        _ending.append(pool)
        pool.close(wait=False)


def _everything() -> list[Backend]:
    pools = [*_pools.values(), *(pool for _, pool in list(_foreign.values())), *_dropped]
    pools += list(_former)
    return [*pools, *(pool for pool in list(_ending) if pool.at_work)]


def shutdown(*, wait: bool = True, drain: float | None = None) -> None:
    """End all pools of this process now; the next call makes new ones.

    What still runs is ended, and its caller gets `PoolClosed`. Idle workers end in order: their
    exit handlers run, and values of `per_worker` are closed. Pools end by themselves when they are
    idle, and when the program ends: this is for those who must know that nothing is left. A `Pool`
    object that somebody holds is that one's to end.

    Args:
        wait: Return only when every worker has ended.
        drain: First let what was submitted go on for so many seconds at most, and take no new calls
            meanwhile: they raise `PoolClosed`. May be called in a signal handler, for example of
            SIGTERM; what the interrupted code itself has yet to submit does not count.

    Raises:
        OptionError: `drain` is no number of seconds, or below 0.
    """
    if drain is None:
        _end(wait, late=False)
        return
    if has_ended():
        return  # the program's end lets what was submitted finish anyhow
    draining = Draining(seconds_of(drain), _everything, threading.get_ident())

    def finish() -> None:
        with draining:
            in_time = draining.wait()
            _end(wait, late=not in_time)

    draining.begin()
    _renew_routes()  # only now: what finds its way from here on is refused
    hand_over(_everything())
    aside(finish, draining)


def _renew_routes() -> None:
    """Have the next call of each function ask anew where it goes."""
    global _age
    _age += 1


def _end(wait: bool, *, late: bool) -> None:
    """End all pools; `late` says that what is still at work cannot be waited for any longer."""
    if len(_held):
        gc.collect()  # among them may be some that only a cycle holds
    with _lock:
        _renew_routes()
        pools = [*_pools.values(), *(pool for _, pool in _foreign.values()), *_former]
        pools += [*_dropped, *_ending]
        _former.clear()
        _pools.clear()
        _foreign.clear()
        _dropped.clear()
        _ending.clear()
        _large.clear()
    for pool in pools:
        stuck = late and pool.at_work and not pool.kills
        pool.close(wait=wait and not stuck, kill=True)
    precedence.forget()
    initializing = sys.modules.get("procession.worker.preparing")
    if initializing is not None:
        initializing.forget_initializers()
    if wait:
        _stop_helpers()


def _stop_helpers() -> None:
    """End the fork server and the helper thread, and give back memory kept for the next use."""
    # Not by way of our own pools: executors start processes from our fork server, too.
    server = sys.modules.get("procession.process.forkserver.client")
    if server is not None:
        server.stop_unused()
    teller.stop()
    alarm = sys.modules.get("procession.system.alarm")
    if alarm is not None:
        alarm.stop()
    housekeeping = sys.modules.get("procession.buffers.housekeeping")
    if housekeeping is not None:
        housekeeping.housekeeper.clear()
