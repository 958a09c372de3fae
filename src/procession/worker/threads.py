"""The cap on OpenMP and BLAS threads in a worker."""

from __future__ import annotations

import os
import sys

from procession.errors import BackendUnavailable

__all__ = ["THREAD_VARIABLES", "cap_threads", "default_applies", "thread_environment"]

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


def thread_environment(threads: int) -> dict[str, str]:
    """The environment that caps the libraries' thread pools in a new process."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads))


def default_applies(forked: bool) -> bool:
    """Whether a cap that nobody asked for can be kept; forked workers need threadpoolctl."""
    if not forked or "numpy" not in sys.modules:
        return True
    import importlib.util

    return importlib.util.find_spec("threadpoolctl") is not None


def cap_threads(threads: int, *, numpy_is_loaded: bool) -> None:
    """Cap the thread pools of this process.

    Libraries that are not imported yet read the environment. Those that a forked worker has
    inherited need threadpoolctl.

    Raises:
        BackendUnavailable: numpy is loaded already, and threadpoolctl is not installed.
    """
    os.environ.update(thread_environment(threads))
    if not numpy_is_loaded or "numpy" not in sys.modules:
        return
    try:
        import threadpoolctl
    except ImportError as error:
        raise BackendUnavailable(
            f"threads_per_worker={threads} cannot be kept in forked workers: they inherit numpy's "
            "thread pools, which only threadpoolctl can cap. Run: pip install "
            "'procession[threads]', or write context='forkserver'."
        ) from error
    threadpoolctl.threadpool_limits(threads)
