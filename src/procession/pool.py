"""`Pool`: a `concurrent.futures.Executor` on Procession's workers."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NoReturn, TypeVar, Unpack

from procession.backends import registry
from procession.backends.pool_choice import Choice
from procession.backends.pool_factory import open_backend
from procession.configuration import Options, OptionValues, resolve, validate
from procession.contract import Backend, Chunk, End
from procession.engine.call import Call
from procession.engine.job import make_job, thread_job
from procession.engine.packing import packer
from procession.engine.policy.blame import Rules
from procession.engine.single_call import SingleCall
from procession.errors import OptionError, PoolClosed
from procession.futures import Future
from procession.pickling.references import is_decorated
from procession.process.pool.at_exit import has_ended
from procession.system import after_fork
from procession.system.pristine import time
from procession.user_threads import user_threads
from procession.worker.current import is_loading, refuse_while_loading

T = TypeVar("T")

_LOOK = 0.002
"""Seconds between two looks whether all callbacks were called."""

_INSTEAD = {
    "starmap": "decorate the function and call f.starmap(argtuples), or pool.map(f, xs, ys)",
    "imap": "pool.map(f, items) is lazy already; or decorate the function and call f.imap(items)",
    "imap_unordered": "decorate the function and call f.imap_unordered(items)",
    "apply": "write pool.submit(f, *args).result()",
    "apply_async": "write pool.submit(f, *args)",
    "map_async": "decorate the function and call f.map_async(items)",
    "starmap_async": "decorate the function and call f.submit(*args) for each",
    "close": "write pool.shutdown(wait=False), or use the pool in a with block",
    "terminate": "write pool.kill_workers() or pool.terminate_workers()",
    "join": "write pool.shutdown(), or use the pool in a with block",
    "outcomes": "decorate the function and call f.outcomes(items)",
}


class Pool(Executor):
    """A `concurrent.futures.Executor` whose workers are Procession's.

        with Pool(4) as pool:
            future = pool.submit(pow, 2, 10)

    Use it where a library wants an executor, or to hold workers of your own; decorated functions
    need none. A worker that dies costs only the call it ran: the pool is not broken. Futures
    carry what the function raised, `SystemExit` and `KeyboardInterrupt` included. `Future.cancel`
    ends a call also while it runs; the end of the ``with`` block waits for what was submitted.

    Args:
        workers: Number of workers; default `usable_cpus()`. ``max_workers=`` is taken as well, and
            so are ``mp_context=``, ``initializer=``, ``initargs=`` and ``max_tasks_per_child=``.
        options: Any option of `Options`.

    Raises:
        OptionError: An option's name or value cannot be used. It is a `ValueError`.
    """

    _starts_its_own = True
    """Read by the backends: in a forked child this executor starts new workers."""

    def __init__(
        self,
        count: int | None = None,
        start: Any = None,
        initialise: Callable[..., object] | None = None,
        arguments: tuple[Any, ...] = (),
        /,
        *,
        max_workers: int | None = None,
        mp_context: Any = None,
        max_tasks_per_child: int | None = None,
        **options: Unpack[OptionValues],
    ) -> None:
        # The standard library's positional order, and its names.
        standard = (
            ("workers", count),
            ("context", start),
            ("initializer", initialise),
            ("initargs", arguments or None),
            ("workers", max_workers),
            ("context", mp_context),
            ("max_tasks_per_worker", max_tasks_per_child),
        )
        given = _by_our_names(standard, dict(options))
        self._given = validate(given, caller="Pool")
        self._options: Options = self._resolved()
        choice = Choice(self._options)
        self._shares = self._options.backend == "thread"
        self._out_of_band = choice.out_of_band
        self._epoch = registry.worker_epoch()
        self._former: list[Backend] = []
        self._backend = open_backend(choice)
        registry.hold(self, self._backend)
        self._lock = after_fork.lock()
        self._open = True
        self._broken = ""
        self._calls: weakref.WeakSet[SingleCall] = weakref.WeakSet()
        self._telling: set[Any] = set()
        self._numbers = itertools.count()

    @property
    def _max_workers(self) -> int:
        """How many calls run at once: dask and others read it, as of the standard library's."""
        return self._backend.workers

    @property
    def backends(self) -> list[Backend]:
        """Where its calls run: none any more when it was shut down."""
        with self._lock:
            return [self._backend, *self._former] if self._open else []

    @property
    def may_run(self) -> bool:
        """Whether its workers may be at work. Takes no lock: a signal handler may ask."""
        return self._open or any(each.at_work for each in (self._backend, *self._former))

    def _resolved(self) -> Options:
        options = resolve(self._given)
        if options.backend == "serial":
            return replace(options, backend="thread", workers=1)
        return options

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start one call and return its future. Arguments are pickled now.

        Args:
            fn: Any function that can cross, decorated or not.
            *args: Its arguments.
            **kwargs: The same, by name.

        Returns:
            The future, which carries what goes wrong with the call.

        Raises:
            PoolClosed: The pool was shut down. It is a `RuntimeError`.
            WorkerDied: The pool's initializer has failed, so no worker can be had.
        """
        self._check_open()
        self._follow()
        call = self._call(fn)
        single = _PoolCall(self, call.rules(single=True))
        with self._lock:
            self._check_open()
            self._calls.add(single)
        # Without the lock: to pickle runs code of the user's, which may call us.
        try:
            if is_loading():
                raise refuse_while_loading(f"Pool.submit({call.name}) was called")
            single.admit(self._options.max_pending)
            single.expire_after(self._options.deadline)
            if self._shares:
                job = thread_job(call, exits=True)
            else:
                job = make_job(call, exits=True, out_of_band=self._out_of_band)
            pack = packer(call, shares=self._shares, out_of_band=self._out_of_band)
            single.start(job, pack(next(self._numbers), (args, kwargs)))
        except Exception as error:
            single.refuse(error)  # or the future would be outstanding for ever
            if isinstance(error, PoolClosed) and not self._open:
                raise
        return single.future

    def _check_open(self) -> None:
        if self._broken:
            raise self._broken_error()
        if not self._open:
            raise PoolClosed("cannot schedule new futures after shutdown")
        if has_ended():
            raise PoolClosed("cannot schedule new futures after interpreter shutdown")

    def _follow(self) -> None:
        """Have other workers where those from before are not to be used any more."""
        now = registry.worker_epoch()
        with self._lock:
            if now == self._epoch:
                return
            self._epoch = now
        if isinstance(self._options.backend, str) and not self._shares:
            backend = open_backend(Choice(self._options))
            self._former.append(self._backend)
            self._backend, before = backend, self._backend
            before.retire()

    def _break(self, error: BaseException | None) -> None:
        """The initializer has failed: no worker can be had."""
        self._broken = f"its initializer raised {error!r}"

    def _broken_error(self) -> BaseException:
        from procession.errors import WorkerDied

        return WorkerDied(
            f"No worker of this Pool could be set up: {self._broken}. Mend the initializer, and "
            "make a new Pool."
        )

    def _call(self, fn: Any) -> Call:
        call = Call(fn, None, "", (), self._options)
        if is_decorated(fn):
            own: Call = fn._call()
            call = call._replace(function=fn.local) if own.prefix else own
        name = getattr(call.function, "__name__", None) or type(call.function).__name__
        return call._replace(name=name, options=self._options, isolated=False)

    def map(  # pyright: ignore[reportIncompatibleMethodOverride] (fn by position, as documented)
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Run a function over zipped iterables; yield the results in order.

        The first error, a timeout and closing the iterator cancel what is left.

        Args:
            fn: Takes as many arguments as there are iterables.
            iterables: Zipped; the shortest decides.
            timeout: Seconds until the last result must be there.
            chunksize: Items per message.
            buffersize: Most items taken from the iterables and not yet yielded. `None` takes
                them all at once, as the standard library does.

        Returns:
            An iterator of the results.

        Raises:
            BaseException: By ``next``, the first error in the order of the items.
            TimeoutError: A result was not there in time.
            ValueError: `chunksize` or `buffersize` is less than 1.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize must be >= 1, and is {chunksize}.")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be None or >= 1, and is {buffersize}.")
        end = None if timeout is None else time.monotonic() + timeout
        argtuples = zip(*iterables, strict=False)
        if chunksize == 1:
            calls = ((fn, args) for args in argtuples)
            return self._results(calls, end, buffersize)
        chunks = iter(lambda: list(islice(argtuples, chunksize)), [])
        pieces = ((_Several(fn), (chunk,)) for chunk in chunks)
        return _flat(self._results(pieces, end, buffersize))

    def _results(
        self, calls: Iterator[tuple[Any, Any]], end: float | None, buffersize: int | None
    ) -> Iterator[Any]:
        futures = deque(self.submit(fn, *args) for fn, args in islice(calls, buffersize))
        return self._yield(futures, calls, end)

    def _yield(
        self, futures: deque[Future[Any]], calls: Iterator[tuple[Any, Any]], end: float | None
    ) -> Iterator[Any]:
        try:
            while futures:
                future = futures.popleft()
                for fn, args in islice(calls, 1):
                    futures.append(self.submit(fn, *args))
                slot = [future]
                del future
                yield _taken(slot, end)
        except GeneratorExit:
            # Perhaps the collector has found it, amid anything: no lock is to be taken here.
            user_threads.defer(partial(_cancel_all, futures))
            raise
        except BaseException:
            _cancel_all(futures)
            raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; the workers end when they have done what was submitted.

        Args:
            wait: Return only when the workers have ended.
            cancel_futures: Cancel the calls that no worker has begun.
        """
        with self._lock:
            self._open = False
            calls = list(self._calls)
        if cancel_futures:
            for call in calls:
                call.cancel_queued()
        for backend in (*self._former, self._backend):
            backend.close(wait=wait)
        if wait:
            self._wait_until_told()

    def _wait_until_told(self) -> None:
        """As in the standard library, what was to be called when calls are done has been called.

        Unless one of those functions asks for it.
        """
        while self._telling and not user_threads.here:
            user_threads.look()
            time.sleep(_LOOK)

    def terminate_workers(self) -> None:
        """End the workers now, and the pool with them; what runs gets `PoolClosed`."""
        self.kill_workers()

    def kill_workers(self) -> None:
        """End the workers now, and the pool with them; what runs gets `PoolClosed`."""
        with self._lock:
            self._open = False
        for backend in (*self._former, self._backend):
            backend.close(wait=True, kill=True)

    def __getattr__(self, name: str) -> NoReturn:
        if name in _INSTEAD:
            raise AttributeError(f"Pool has no {name}(): {_INSTEAD[name]}.")
        raise AttributeError(f"Pool has no attribute {name!r}")


def _cancel_all(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.cancel()


def _taken(slot: list[Future[Any]], end: float | None) -> Any:
    """The result of the future in the slot, kept by no one else; one that fails is cancelled."""
    future = slot.pop()
    try:
        return future.result(None if end is None else end - time.monotonic())
    finally:
        future.cancel()


def _by_our_names(standard: Iterable[tuple[str, Any]], options: dict[str, Any]) -> dict[str, Any]:
    """What was given by the standard library's names, together with options.

    Raises:
        OptionError: Something was given twice, or it is no number of workers.
    """
    for name, value in standard:
        if value is None:
            continue
        if name == "workers" and isinstance(value, int) and value <= 0:
            raise OptionError(
                f"max_workers must be greater than 0, and is {value}. Leave it out for all "
                "usable CPUs."
            )
        if name in options:
            raise OptionError(
                f"Pool() was given {name} twice, {options[name]!r} and {value!r}: leave one out."
            )
        options[name] = value
    return options


class _PoolCall(SingleCall):
    """A call of a pool, which a failing initializer breaks, as it does the standard library's."""

    def __init__(self, pool: Pool, rules: Rules) -> None:
        super().__init__(pool._backend, rules)
        self._pool = pool
        self.future._telling = pool._telling

    def ended(self, chunk: Chunk, end: End) -> None:
        """The worker is done with it, one way or another."""
        failed = end.kind == "refused" and not isinstance(end.error, PoolClosed)
        if failed and self._pool._options.initializer is not None:
            self._pool._break(end.error)
            self._over(None, self._pool._broken_error())
        else:
            super().ended(chunk, end)


class _Several:
    """Calls a function for each of several argument tuples: one message of ``chunksize`` items."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, argtuples: list[tuple[Any, ...]]) -> list[Any]:
        return [self.fn(*args) for args in argtuples]


def _flat(chunks: Iterator[list[Any]]) -> Iterator[Any]:
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()
