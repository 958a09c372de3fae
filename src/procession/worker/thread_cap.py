"""The cap on OpenMP and BLAS threads in a worker."""

from __future__ import annotations

import os
import sys

from procession.errors import BackendUnavailable
from procession.system.named_tuple import NamedTuple

__all__ = ["THREAD_VARIABLES", "Cap", "cap_threads", "default_applies", "default_cap"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
"""Read by the libraries when they are imported (the list is joblib's, and polars')."""

_OF_BLAS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Cap(NamedTuple):
    """How many threads a library may use in a worker.

    Attributes:
        threads: The number.
        own: The variables that the user has set, which win over a default; with their values.
    """

    threads: int
    own: tuple[tuple[str, str], ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What says so in the environment of a new process."""
        return {**dict.fromkeys(THREAD_VARIABLES, str(self.threads)), **dict(self.own)}


def default_cap(threads: int) -> Cap:
    """A cap that nobody asked for: what the user's own environment says goes first."""
    get = os.environ.get
    return Cap(
        threads,
        tuple([(name, own) for name in THREAD_VARIABLES if (own := get(name)) is not None]),
    )


def default_applies(forked: bool) -> bool:
    """Whether a cap that nobody asked for can be kept; forked workers need threadpoolctl."""
    if not forked or "numpy" not in sys.modules:
        return True
    import importlib.util

    return importlib.util.find_spec("threadpoolctl") is not None


def cap_threads(cap: Cap, *, numpy_is_loaded: bool) -> None:
    """Cap the thread pools of this process.

    Libraries that are not imported yet read the environment. Those that a forked worker has
    inherited need threadpoolctl.

    Raises:
        BackendUnavailable: numpy is loaded already, and threadpoolctl is not installed.
    """
    os.environ.update(cap.environment)
    if not numpy_is_loaded or "numpy" not in sys.modules:
        return
    limits = _limits(cap)
    if not limits:
        return
    try:
        import threadpoolctl
    except ImportError as error:
        raise BackendUnavailable(
            f"threads_per_worker={cap.threads} cannot be kept in forked workers: they inherit "
            "numpy's thread pools, which only threadpoolctl can cap. Run: pip install "
            "'procession[threads]', or write context='forkserver'."
        ) from error
    threadpoolctl.threadpool_limits(limits)


def _limits(cap: Cap) -> dict[str, int]:
    """For what is loaded already, by kind: the user's variable has had its effect on it."""
    own = {name for name, _ in cap.own}
    limits: dict[str, int] = {}
    if not own.intersection(_OF_BLAS):
        limits["blas"] = cap.threads
    if "OMP_NUM_THREADS" not in own:
        limits["openmp"] = cap.threads
    return limits
