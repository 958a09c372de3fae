"""Which pool a call needs, by the options that shape its workers."""

from __future__ import annotations

from procession.configuration import Options
from procession.hints import Any
from procession.pickling.pickler import PackedInitializer, pack_initializer
from procession.system import NamedTuple
from procession.system.interrupts import is_collecting
from procession.worker.preparing import Cap, default_applies, default_cap

_LARGE = 64 * 1024
"""Bytes of an initializer's pickled arguments from which on it is not made again at each call. A
guess: below it, that takes some 20 µs."""

_LARGE_KEPT = 16
"""Of how many the key is kept. A guess: a program has one."""

_large: dict[tuple[int, int], tuple[Any, Any, Any]] = {}


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
        """Whether large buffers may travel next to the pickle."""
        if self.on_cluster:
            return False
        return self.isolated or self.options.backend in ("process", "loky", "stdlib")

    @property
    def on_cluster(self) -> bool:
        """Whether its workers are on other machines."""
        return self.options.on_cluster

    @property
    def one_by_one(self) -> bool:
        """Whether each message must hold one item: what is counted or isolated is a message."""
        options = self.options
        limited = options.timeout is not None or options.memory_limit is not None
        return (
            self.isolated
            or options.max_tasks_per_worker is not None
            or (limited and options.backend != "process" and not self.on_cluster)
        )

    @property
    def key(self) -> Any:
        """What tells this choice's pool from others."""
        options = self.options
        backend = options.backend
        if not isinstance(backend, str):
            if not (self.isolated or self.on_cluster):
                return id(backend)  # which its pool keeps alive
            backend = f"{id(backend)}" if self.on_cluster else "process"
        context = options.context
        return (
            # What a finalizer waits for must not be held by the code that it struck: a worker that
            # was given a chunk which is not sent yet, the lock of a channel.
            is_collecting(),
            self.isolated,
            self.module,
            backend,
            options.address,
            options.workers,
            context if context is None or isinstance(context, str) else id(context),
            _initializer_key(options),
            options.max_tasks_per_worker,
            thread_cap(options),
        )


def thread_cap(options: Options) -> Cap | None:
    """The cap on OpenMP and BLAS threads, but no default that forked workers could not keep."""
    threads = options.threads_per_worker
    if threads is None:
        return None
    if "threads_per_worker" in options.given:
        return Cap(threads)
    from procession.configuration.compatibility import context_name
    from procession.process.start.start_methods import default_method

    ours = options.context is None and options.backend == "process"
    method = default_method() if ours else context_name(options.context or "spawn")
    forked = method == "fork"
    return default_cap(threads) if default_applies(forked) else None


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
    packed = packed_initializer(options)
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


def packed_initializer(options: Options) -> PackedInitializer:
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


def forget_large_initializers() -> None:
    """Pickle each again when it is needed."""
    _large.clear()
