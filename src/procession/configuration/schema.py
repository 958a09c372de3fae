"""Every option: its type as it is written (`OptionValues`) and as it is used (`Options`)."""

from __future__ import annotations

from collections.abc import Callable

from procession.configuration.compatibility import CLUSTERS, backend_name
from procession.hints import TYPE_CHECKING, Any, Literal, Protocol, TypedDict
from procession.system.posix import default_backend

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from dataclasses import dataclass as frozen
    from dataclasses import field
    from multiprocessing.context import BaseContext
else:
    from procession.configuration.frozen_class import field, frozen

DEFAULT_BACKEND = default_backend()

BackendName = Literal["process", "loky", "stdlib", "thread", "serial", "dask", "ray"]
ContextName = Literal["fork", "spawn", "forkserver", "loky"]

NEVER_INLINE = frozenset(
    {
        "timeout",
        "deadline",
        "memory_limit",
        "retries",
        "initializer",
        "max_tasks_per_worker",
        "threads_per_worker",
        "backend",
        "context",
    }
)
"""Options that, set on a function, keep ``inline="auto"`` from running its items here."""


class ClusterClient(Protocol):
    """A `distributed.Client`, by what is used to tell it from other objects."""

    def get_versions(self, check: bool = ..., packages: Any = ...) -> Any:
        """What is installed on the cluster."""
        ...


class OptionValues(TypedDict, total=False):
    """The options as they are written: `Options` says what each one means."""

    workers: int | None
    backend: BackendName | str | Executor | ClusterClient
    address: str | None
    context: ContextName | str | BaseContext | None
    chunk: int | Literal["auto"]
    window: int | None
    inline: bool | Literal["auto"]
    timeout: float | None
    deadline: float | None
    max_pending: int | None
    retries: int
    retry_on: type[Exception] | tuple[type[Exception], ...]
    retry_delay: float | Callable[[int], float]
    memory_limit: int | str | None
    max_tasks_per_worker: int | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    threads_per_worker: int | None
    seed: int | None
    pickling: Literal["strict", "by-value"]
    progress: bool | str | Callable[[int, int | None], object]
    nested: Literal["serial", "error"]
    forward_logs: bool
    combine: Callable[[list[Any]], Any] | None


@frozen(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one decorated function, resolved: what ``f.options`` gives.

    Attributes:
        workers: Processes (or threads) in the pool. Default: `usable_cpus()`.
        backend: Where items run: ``"process"``, ``"loky"``, ``"stdlib"`` (ProcessPoolExecutor),
            ``"thread"``, ``"serial"``, ``"dask"`` or ``"ray"``. Or a `distributed.Client`, or any
            `concurrent.futures.Executor` instance.
        address: Address of the cluster, such as ``"tcp://scheduler:8786"`` (Dask) or
            ``"host:6379"`` (Ray). `None`: the Ray that is initialised, or else a cluster of this
            machine, which ends with the program.
        context: How worker processes start: ``"fork"``, ``"spawn"``, ``"forkserver"``,
            ``"loky"``, or a `multiprocessing` context object. `None`: the backend's own choice,
            which is never fork.
        chunk: Items per message, or ``"auto"``: sized by measured time.
        window: Most items taken from the input and not yet yielded. `None`: bounded by the engine.
            A chunk is never larger than the window.
        inline: Whether items may run in this process: ``"auto"`` while that is faster, `False`
            never, `True` always.
        timeout: Seconds one item or call may run, in a chunk of any size. Then its process is
            killed, and the other items go on. `None`: no limit.
        deadline: Seconds from a call to its result, waiting for a worker included; for a map, to
            its last one. Past it what is not done is ended, with `DeadlineExceeded`. `None`: none.
        max_pending: Calls (`submit`, `@background`, `@isolated`, `Pool`) that may wait for a
            worker: one more fails at once with `Overloaded`, in its future (a blocking call raises
            it). Maps have their `window`. `None`: no limit.
        retries: Further attempts after a crash or a timeout, and after exceptions in `retry_on`.
        retry_on: Exception classes after which an item runs again, as long as `retries` last.
        retry_delay: Seconds before another attempt, or a function that gives them for its number
            (2 is the first retry). Up to a tenth is added, at random, so that what failed together
            does not come back together. Other items go on meanwhile.
        memory_limit: Bytes of private memory one worker may reach in one item. `None`: no limit.
        max_tasks_per_worker: Items after which a worker is replaced. `None`: never.
        initializer: Called once in each worker before its first item.
        initargs: The initializer's arguments.
        threads_per_worker: Threads that OpenMP and BLAS pools may use in one worker. Default:
            usable CPUs // workers. `None` on backends without worker processes of ours.
        seed: Seeds `random` and numpy's global generators before each item, from (seed, index).
        pickling: ``"strict"`` refuses lambdas and closures, ``"by-value"`` sends them.
        progress: `True`, a label, ``"lines"`` (a line every 10 s, also where stderr is no
            terminal), or a callable that is given (done, total).
        nested: What a decorated call inside a worker does: ``"serial"``, run there, or
            ``"error"``.
        forward_logs: Whether log records, warnings and context variables cross to and from
            workers.
        combine: Joins the pieces of a `parallel_chunks` function: takes the list of the pieces'
            results. `None`: by their type.
        explicit: Names of the options that were set on the function itself (decorator or
            `with_options`) to something else than "off" (`None`, no retries).
        given: Names of the options that were set anywhere; the others have their defaults.
    """

    workers: int
    backend: str | Executor | ClusterClient = DEFAULT_BACKEND
    address: str | None = None
    context: str | BaseContext | None = None
    chunk: int | Literal["auto"] = "auto"
    window: int | None = None
    inline: bool | Literal["auto"] = "auto"
    timeout: float | None = None
    deadline: float | None = None
    max_pending: int | None = None
    retries: int = 0
    retry_on: tuple[type[Exception], ...] = ()
    retry_delay: float | Callable[[int], float] = 0.0
    memory_limit: int | None = None
    max_tasks_per_worker: int | None = None
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    threads_per_worker: int | None = None
    seed: int | None = None
    pickling: Literal["strict", "by-value"] = "strict"
    progress: bool | str | Callable[[int, int | None], object] = False
    nested: Literal["serial", "error"] = "serial"
    forward_logs: bool = True
    combine: Callable[[list[Any]], Any] | None = None
    explicit: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __hash__(self) -> int:
        # Of plain values only: initargs and callables need not be hashable.
        backend = self.backend if isinstance(self.backend, str) else id(self.backend)
        return hash((self.workers, backend, self.chunk, self.timeout, self.retries, self.seed))

    @property
    def on_cluster(self) -> bool:
        """Whether items run on other machines."""
        return backend_name(self.backend) in CLUSTERS

    @property
    def may_inline(self) -> bool:
        """Whether blocking map verbs may run items in this process at all."""
        if isinstance(self.inline, bool):
            return self.inline
        if self.on_cluster:
            return False
        return not self.needs_workers

    @property
    def needs_workers(self) -> bool:
        """Whether something is asked for that only workers have, or that a map is to see to."""
        # A limit from configure() or the environment binds here as one on the function does, and
        # no initializer has run here.
        limits = self.timeout, self.deadline, self.memory_limit
        limited = any(limit is not None for limit in limits)
        return limited or self.initializer is not None or not self.explicit.isdisjoint(NEVER_INLINE)
