"""joblib on Procession's workers: scikit-learn, and all else that calls `joblib.Parallel`.

    import joblib
    import procession.joblib

    procession.joblib.register()
    with joblib.parallel_config(backend="procession", n_jobs=4, retries=1, timeout=600):
        cross_val_score(model, X, y)

Large arrays go to the workers once for each call of `joblib.Parallel`, without a file. What a task
sees of them is what joblib documents for `mmap_mode`. With ``"r"`` it is read-only, with ``"c"`` a
private copy. With ``"r+"`` it is memory that all tasks of the call write to. An array on a file of
the user's (`numpy.memmap`) is mapped from that file in the workers, and written through.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any

from procession.errors import BackendUnavailable, OptionError, TaskExited

try:
    from joblib.parallel import (
        AutoBatchingMixin,
        FallbackToBackend,
        ParallelBackendBase,
        SequentialBackend,
        register_parallel_backend,
    )
except ImportError as missing:
    raise BackendUnavailable(
        "procession.joblib needs joblib, which is not installed. Install it with "
        "'pip install procession[joblib]'."
    ) from missing

from procession.decorators import parallel
from procession.futures import Future
from procession.joblib_arrays import CallArrays
from procession.system.resources import usable_cpus
from procession.worker.current import in_worker

__all__ = ["ProcessionBackend", "register"]

_joblib_only = frozenset({"context", "prefer", "require", "temp_folder", "verbose"})
"""What `joblib.Parallel` tells every backend and what has no meaning here. Arrays need no folder;
``context`` is joblib's own choice, made for `multiprocessing`."""


def register(*, make_default: bool = False) -> None:
    """Make ``backend="procession"`` known to joblib.

    Args:
        make_default: Use it also where no backend is named.

    Raises:
        BackendUnavailable: joblib is not installed (raised when `procession.joblib` is imported).
    """
    register_parallel_backend("procession", ProcessionBackend, make_default=make_default)


class ProcessionBackend(AutoBatchingMixin, ParallelBackendBase):
    """The backend that `register` tells joblib of.

    Args:
        nesting_level: joblib's.
        inner_max_num_threads: Threads of BLAS and OpenMP in each worker: `threads_per_worker`.
        options: Options of Procession but `workers`, which is joblib's ``n_jobs``: ``retries``,
            ``timeout`` (seconds for each batch of tasks), ``memory_limit``, ``context`` and so on.

    Raises:
        OptionError: An option's name or value cannot be used.
    """

    supports_inner_max_num_threads = True
    supports_retrieve_callback = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **options
        )
        parallel(**_checked(options))(_run_as("joblib"))  # refuses wrong options now
        self.parallel: Any = None
        self._calling = False
        self._futures: weakref.WeakSet[Future[Any]] = weakref.WeakSet()
        self._arrays = CallArrays(None, None)
        self._options: dict[str, Any] = {}
        self._runs: dict[str, Any] = {}

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many workers a number means: -1 is all usable CPUs, -2 all but one."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or in_worker():
            return 1
        return max(usable_cpus() + 1 + n_jobs, 1) if n_jobs < 0 else n_jobs

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        max_nbytes: int | None = None,
        mmap_mode: str | None = "r",
        **options: Any,
    ) -> int:
        """Get ready for the calls of a `joblib.Parallel`; give its number of workers.

        Raises:
            OptionError: An option's name or value cannot be used.
        """
        if self._calling and parallel is not self.parallel:  # two of them at once: each has its own
            raise FallbackToBackend(self._another())
        given = {key: value for key, value in options.items() if key not in _joblib_only}
        given = _checked({**self.backend_kwargs, **given})
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1 and (not given or in_worker()):
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if self.inner_max_num_threads is not None:
            given.setdefault("threads_per_worker", self.inner_max_num_threads)
        given.setdefault("pickling", "by-value")
        self._options = {**given, "workers": workers}
        self._runs = {}
        self._arrays = CallArrays(max_nbytes, mmap_mode)
        self.parallel = parallel
        return max(2, workers)  # told 1, joblib would run all in this process, under no limit

    def _another(self) -> ProcessionBackend:
        return type(self)(
            nesting_level=self.nesting_level,
            inner_max_num_threads=self.inner_max_num_threads,
            **self.backend_kwargs,
        )

    def start_call(self) -> None:
        """A call of the `joblib.Parallel` begins."""
        self._calling = True
        self._arrays.clear()

    def stop_call(self) -> None:
        """The call is over: the arrays that it sent are seen anew by the next one."""
        self._calling = False
        self._arrays.clear()

    def compute_batch_size(self) -> int:
        """How many tasks go into the next batch: while they are short, four times as many.

        joblib doubles it. Procession's messages cost less, so fewer steps to the right size gain
        more than a smaller last step loses (2,000 calls of `abs`: 50 messages, 25 now).
        """
        before = self._effective_batch_size
        size = super().compute_batch_size()
        if size == 2 * before:
            size = self._effective_batch_size = 2 * size
        return size

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Future[Any]:
        """Start a batch of tasks in a worker; its arguments are pickled now."""
        name = _name(func)
        run = self._runs.get(name)
        if run is None:
            run = self._runs[name] = parallel(**self._options)(_run_as(name))
        with self._arrays:
            future = run.submit(func)
        self._futures.add(future)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        """What the batch gave, or raise what it raised, `KeyboardInterrupt` included."""
        try:
            return future.result()
        except TaskExited as exited:
            raise exited.__cause__ or exited from None

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the batches of this call that wait or run; other calls go on."""
        for future in list(self._futures):
            future.cancel()

    def terminate(self) -> None:
        """No more calls come: forget what was learnt. The workers stay for the next one."""
        self._arrays.clear()
        self.reset_batch_stats()


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    if "workers" in options:
        raise OptionError(
            f"workers={options['workers']!r} was given to joblib's backend 'procession': write "
            "n_jobs= there, which is joblib's name for it."
        )
    return options


def _name(batch: Any) -> str:
    """The name of the function that a batch calls, for messages."""
    try:
        function = batch.items[0][0]
        return str(getattr(function, "__name__", None) or type(function).__name__)
    except (AttributeError, IndexError, TypeError):
        return "joblib"


def _run_as(name: str) -> FunctionType:
    """A function that runs a batch, under the name of the function that the batch calls."""

    def run(batch: Any) -> Any:
        return batch()

    run.__name__ = run.__qualname__ = name
    assert isinstance(run, FunctionType)
    return run
