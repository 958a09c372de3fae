"""On a machine of the cluster: Procession's own workers there, and what lies there for them.

There is one pool for each set of options. The pools live in the process that the cluster's engine
has started, and end with it: workers hold its lifeline. A pool's workers end by themselves when
they have had nothing to do for some seconds.

What was put (`procession.shared.put`) lies there once for all workers. Its content comes with each
order that needs it, from the engine's own memory on this machine. It goes when no order has needed
it for a while.
"""

from __future__ import annotations

import pickle
import platform
import sys
from collections import OrderedDict, deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pickle import PickleBuffer

from procession.backends.cluster.wire import Order
from procession.buffers.housekeeping import housekeeper
from procession.buffers.nameless_memory import BroadcastBytes
from procession.buffers.sender import Placed, segments
from procession.hints import Any
from procession.items import Job
from procession.pickling.out_of_band import with_tickets
from procession.pickling.pickler import loads
from procession.process.io.reactor import reactor
from procession.process.pool.worker_pool import IDLE, WorkerPool
from procession.process.pool.worker_starts import WorkerSpec
from procession.system import NamedTuple, after_fork
from procession.system.pristine import time
from procession.system.resources import usable_cpus
from procession.worker.preparing import Cap, begin_far_worker, default_cap

_SPARE = 10.0
"""Seconds that a spare worker for isolated calls waits for the next one; as on one machine."""

_STARTS_KEPT = 256
"""Starts of workers that wait to be told."""

_JOBS_KEPT = 64
"""Jobs that are remembered; the least recently used is forgotten. As in a worker."""


class Shape(NamedTuple):
    """What shapes the workers of a pool.

    Attributes:
        initializer: The initializer and its arguments, packed; or empty.
        max_tasks: Items after which a worker is replaced, or `None`.
        threads: Cap for OpenMP and BLAS pools, or `None`: the machine's share of a worker.
        isolated: Whether each item has a process of its own.
        module: The module that an isolated function's spare process has already imported.
    """

    initializer: Any = b""
    max_tasks: int | None = None
    threads: int | None = None
    isolated: bool = False
    module: str = ""

    def pack(self) -> bytes:
        """The shape as bytes, which also tell it from others."""
        return pickle.dumps(tuple(self), 5)


def host_name() -> str:
    """What this machine is called in messages."""
    return platform.node() or "localhost"


class Starts:
    """Workers that have started here, until a task tells its caller."""

    def __init__(self) -> None:
        self._found: deque[tuple[int, float, float]] = deque(maxlen=_STARTS_KEPT)

    def add(self, pid: int, began: float, ended: float) -> None:
        """One has started."""
        self._found.append((pid, began, ended))

    def take(self, since: float) -> list[tuple[int, float, float]]:
        """Those that have since then; none is told twice, but for one that is told in parts."""
        taken: list[tuple[int, float, float]] = []
        while self._found:
            try:
                taken.append(self._found.popleft())
            except IndexError:  # another task was faster
                break
        return [each for each in taken if each[2] >= since]


class FarPools:
    """All pools of this process that work for callers on other machines.

    Attributes:
        starts: Of their workers.
    """

    def __init__(self) -> None:
        self.starts = Starts()
        self._lock = after_fork.rlock()
        self._pools: dict[Any, WorkerPool] = {}
        self._jobs: OrderedDict[Any, Job] = OrderedDict()
        self._keys = 0
        self._clusters = 0

    def begin(self) -> None:
        """A cluster in this process begins, whose tasks will use them."""
        with self._lock:
            self._clusters += 1

    def pool(self, shape: bytes, workers: int) -> WorkerPool:
        """The pool for a shape; made when it is first needed.

        Args:
            shape: The packed `Shape`.
            workers: How many chunks may run at once.
        """
        key = shape, workers, tuple(sys.path)  # a module that was sent lies in a folder of its own
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                housekeeper.use_clock(reactor.call_later)
                made = _pool(Shape(*pickle.loads(shape)), workers, self.starts)
                pool = self._pools[key] = made
            return pool

    def job(self, order: Order, header: Any, tickets: Mapping[Any, Any]) -> Job:
        """The job of an order, which workers know again by its key.

        Args:
            order: The order.
            header: What a worker needs once for the job, if it came apart; else empty.
            tickets: Where what was put lies on this machine.
        """
        own = {key: tickets[key] for key in order.puts[: order.shared]}
        key = order.job, tuple(own.values())
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                self._keys += 1
                packed = with_tickets(bytes(header) or order.header, own)
                limits = order.timeout, order.memory_limit
                job = Job(self._keys, order.name, packed, (), *limits)
                self._jobs[key] = job
            self._jobs.move_to_end(key)
            while len(self._jobs) > _JOBS_KEPT:
                self._jobs.popitem(last=False)
            return job

    def close(self) -> None:
        """A cluster in this process has ended; after the last one, end all pools.

        It may end late, in another thread, when the next one uses them already.
        """
        with self._lock:
            self._clusters -= 1
            if self._clusters > 0:
                return
            pools = list(self._pools.values())
            self._pools.clear()
            self._jobs.clear()
        for pool in pools:
            pool.close(wait=True, kill=True)

    def renew(self) -> None:
        """In a forked child: they are the parent's."""
        self._clusters = 0
        self._pools.clear()
        self._jobs.clear()


def _pool(shape: Shape, workers: int, starts: Starts) -> WorkerPool:
    threads = shape.threads
    cap = Cap(threads) if threads else default_cap(max(1, usable_cpus() // workers))
    preload = (shape.module,) if shape.module else ()
    spec = WorkerSpec(
        None,
        begin_far_worker,
        (host_name(), shape.initializer),
        shape.max_tasks,
        cap,
        preload=preload,
        tell=starts.add,
    )
    idle = _SPARE if shape.isolated else IDLE
    return WorkerPool(spec, workers, idle=idle, single_use=shape.isolated)


far_pools = FarPools()
"""This process's."""

after_fork.renew_in_child(far_pools.renew)

# -- what was put ----------------------------------------------------------------------------

_KEPT = 60.0
"""Seconds for which what no order needs is kept. A guess: longer than most pauses between calls."""


class _Joined:
    """A pickle with its buffers, as one pickle."""

    def __init__(self, blob: bytes, *buffers: bytes) -> None:
        self._parts = blob, buffers

    def __reduce__(self) -> tuple[Any, ...]:
        return loads, self._parts


class _Laid:
    """What lies here, and how many orders use it."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        placed = segments.place([PickleBuffer(part) for part in parts], private=True)
        self._lies: Placed | BroadcastBytes
        if placed is None:
            self._lies = BroadcastBytes(pickle.dumps(_Joined(*parts), 5))
        else:
            self._lies = placed
        self.users = 0
        self.since = 0.0

    @property
    def ticket(self) -> Any:
        lies = self._lies
        return lies.ticket if isinstance(lies, BroadcastBytes) else tuple(lies)

    def drop(self) -> None:
        """Tell the workers that they need not keep it."""
        if isinstance(self._lies, Placed):
            self._lies.drop()


_lock = after_fork.rlock()
_laid: dict[Any, _Laid] = {}

after_fork.renew_in_child(_laid.clear)


@contextmanager
def laid_down(keys: Sequence[Any], contents: Sequence[Any]) -> Generator[Mapping[Any, Any]]:
    """Have what was put lie here within a ``with`` block; gives the tickets by key.

    Args:
        keys: Of what is needed.
        contents: The content of each: its pickle and its large buffers, pickled together.
    """
    if not keys:
        yield {}
        return
    housekeeper.use_clock(reactor.call_later)
    with _lock:
        for key, content in zip(keys, contents, strict=True):
            if key not in _laid:
                _laid[key] = _Laid(pickle.loads(content))
        used = {key: _laid[key] for key in keys}
        for laid in used.values():
            laid.users += 1
    try:
        yield {key: laid.ticket for key, laid in used.items()}
    finally:
        with _lock:
            now = time.monotonic()
            for laid in used.values():
                laid.users -= 1
                laid.since = now
            for key, laid in list(_laid.items()):
                if not laid.users and now - laid.since > _KEPT:
                    del _laid[key]
                    laid.drop()
