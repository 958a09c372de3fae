"""The pools of this process: one per set of worker-shaping options, made when first needed."""

from __future__ import annotations

import sys
from typing import Any
from weakref import WeakSet

from procession import forked
from procession.backends.base import Backend
from procession.backends.library_settings import warn_of_settings
from procession.configuration import Options, precedence
from procession.errors import BackendUnavailable
from procession.records import NamedTuple
from procession.system.pristine import natural, queues_are_natural
from procession.telling import teller
from procession.wire import reloads
from procession.wire.initializing import Packed, pack_initializer
from procession.worker.loading import loading, refuse
from procession.worker.threads import Cap, default_applies, default_cap

__all__ = [
    "Choice",
    "age",
    "backend_for",
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

_lock = forked.rlock()
_pools: dict[Any, Backend] = {}
_foreign: dict[int, tuple[Any, Backend]] = {}
_former: WeakSet[Any] = WeakSet()
_age = 0
_generation = 0


def _after_fork() -> None:
    """A child has none of its parent's pools: their workers answer the parent."""
    global _age
    _age += 1
    _pools.clear()
    _foreign.clear()
    _former.clear()


forked.renew_in_child(_after_fork)


def age() -> int:
    """A number that changes whenever pools that were handed out are not to be used any more."""
    _follow_reloads()
    return _age


def _follow_reloads() -> None:
    """Use no pool any more whose workers may have imported older code than the program has now.

    What runs there goes on, as it began with the older code.
    """
    global _age, _generation
    if reloads.generation() == _generation:
        return
    with _lock:
        _age += 1
        _generation = reloads.generation()
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
    """What tells initializers apart; the pool keeps alive what is known by its identity."""
    if options.backend == "thread":  # nothing is sent
        return (id(options.initializer), *map(id, options.initargs))
    packed = _initializer(options)
    return packed if isinstance(packed, bytes) else (packed[0], *map(id, packed[1]))


def _initializer(options: Options) -> Packed:
    """The initializer and its arguments as they are sent, which is also what tells them apart.

    Raises:
        NotPicklable: The initializer cannot cross.
    """
    try:
        return pack_initializer(options.initializer, options.initargs)
    except Exception as error:
        from procession.wire.explain import explain

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
    if loading():
        raise refuse("A call that needs workers was made")
    executor = choice.options.backend
    _follow_reloads()
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
    _follow_reloads()
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
    if choice.isolated or options.backend == "process":
        return _process(choice)
    if not (natural() and queues_are_natural()):
        _refuse_greenlets(options.backend)
    if options.backend == "thread":
        from procession.backends.thread import ThreadBackend

        return ThreadBackend(options.workers, options.initializer, options.initargs)
    from procession.backends.pools import executor_backend

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
    from procession.process.starting import default_method

    ours = options.context is None and options.backend == "process"
    method = default_method() if ours else context_name(options.context or "spawn")
    forked = method == "fork"
    return default_cap(threads) if default_applies(forked) else None


def _process(choice: Choice) -> Backend:
    from procession.process.starting import prepare

    options = choice.options
    if not loading():
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
    from procession.process.isolated import IsolatedBackend, isolated_spec

    return IsolatedBackend(isolated_spec(spec, choice.module or None), options.workers)


def shutdown(*, wait: bool = True) -> None:
    """End all pools of this process now; the next call makes new ones.

    What still runs is ended, and its caller gets `PoolClosed`. Pools end by themselves when they
    are idle, and when the program ends: this is for those who must know that nothing is left.

    Args:
        wait: Return only when every worker has ended.
    """
    global _age
    with _lock:
        _age += 1
        pools = [*_pools.values(), *(pool for _, pool in _foreign.values()), *_former]
        _former.clear()
        _pools.clear()
        _foreign.clear()
    for pool in pools:
        pool.close(wait=wait, kill=True)
    precedence.forget()
    initializing = sys.modules.get("procession.worker.initializing")
    if initializing is not None:
        initializing.forget_initializers()
    if wait:
        _stop_helpers()


def _stop_helpers() -> None:
    """End the fork server and the helper thread, and give back memory kept for the next use."""
    # Not by way of our own pools: executors start processes from our fork server, too.
    server = sys.modules.get("procession.process.server")
    if server is not None:
        server.stop_unused()
    teller.stop()
    alarm = sys.modules.get("procession.engine.alarm")
    if alarm is not None:
        alarm.stop()
    housekeeping = sys.modules.get("procession.wire.housekeeping")
    if housekeeping is not None:
        housekeeping.housekeeper.clear()
