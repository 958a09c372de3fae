"""What a worker does before its first item: caps on threads, random numbers, the initializer.

The initializer also runs in the caller's own process, where that is what runs the items.
"""

from __future__ import annotations

import gc
import operator
import os
import sys
from collections.abc import Callable
from functools import partial

from procession.errors import BackendUnavailable, TaskExited
from procession.hints import Any
from procession.once import Once
from procession.pickling.pickler import PackedInitializer, open_initializer
from procession.system import NamedTuple, after_fork
from procession.system.identity import variables
from procession.system.interrupts import strikes
from procession.worker import current

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
    """The cap of who asks for none: what the user's own environment says goes first."""
    own = variables()
    return Cap(threads, tuple([(name, own[name]) for name in THREAD_VARIABLES if name in own]))


def default_applies(forked: bool) -> bool:
    """Whether a default cap can be kept; forked workers need threadpoolctl for that."""
    if not forked or "numpy" not in sys.modules:
        return True
    import importlib.util

    return importlib.util.find_spec("threadpoolctl") is not None


def prepare(threads: Cap | None, *, forked: bool) -> None:
    """Cap this worker's threads, and give it random numbers of its own.

    Raises:
        BackendUnavailable: As `_cap_threads`.
    """
    if threads is not None:
        _cap_threads(threads, numpy_is_loaded=forked)
    from procession.worker.seeding import reseed  # which no caller needs

    reseed(forked=forked)
    if not forked:
        gc.freeze()  # what is loaded by now stays, and looking through it takes 10 ms each time


def _cap_threads(cap: Cap, *, numpy_is_loaded: bool) -> None:
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


# -- the initializer -------------------------------------------------------------------------

_here: list[tuple[Any, tuple[Any, ...], Once[BaseException | None]]] = []
_lock = after_fork.rlock()


def run_initializer(packed: PackedInitializer) -> None:
    """Run the initializer; what it sets in the context holds for every item.

    Raises:
        BaseException: What the initializer raises. As the standard library does, it is logged too,
            if the worker's logging is set up.
    """
    try:
        current.base_context.run(run_unpacked, packed)
    except BaseException:
        logging: Any = sys.modules.get("logging")
        logger = None if logging is None else logging.getLogger("concurrent.futures")
        if logger is not None and logger.hasHandlers():
            logger.critical("Exception in initializer:", exc_info=True)
        raise


def run_unpacked(packed: PackedInitializer) -> None:
    """Run the initializer as a plain function."""
    from procession.forwarding.interpreter_settings import keep_changes, read
    from procession.pickling.dynamic_code import arriving

    with current.while_loading(), arriving() as arrivals:
        initializer, initargs = open_initializer(packed)
    arrivals.look()
    before = read()
    try:
        with current.while_initializing():
            initializer(*initargs)
    except BaseException as error:
        raise _told(error, initializer)  # noqa: B904 - its cause is set
    keep_changes(before)
    arrivals.keep()


def begin_far_worker(host: str, initializer: Any) -> None:
    """On a machine of a cluster: learn what it is called, and run the user's initializer.

    Args:
        host: The machine's name.
        initializer: The user's, packed with its arguments; or empty.
    """
    from procession.pickling.out_of_band import home_is_far

    current.name_host(host)
    home_is_far()
    if initializer:
        run_unpacked(initializer)


def run_initializer_here(
    initializer: Callable[..., object], initargs: tuple[Any, ...]
) -> BaseException | None:
    """Run an initializer in this process, unless it has run here already (backend="serial").

    Returns:
        What it raised, then or now.
    """
    with _lock:
        ran = [o for known, args, o in _here if known is initializer and _same(args, initargs)]
        once = ran[0] if ran else Once(partial(initialize, initializer, initargs))
        if not ran:
            _here.append((initializer, initargs, once))
    return once()  # without the lock


def initialize(
    initializer: Callable[..., object], initargs: tuple[Any, ...]
) -> BaseException | None:
    """Call an initializer in this thread; return what it raised.

    Raises:
        BaseException: What a signal handler has raised. It is the caller's, not the initializer's.
    """
    try:
        initializer(*initargs)
        return None
    except BaseException as error:
        if strikes(error):
            raise
        raised = _told(error, initializer)
    from procession.pickling.notes import IN_INITIALIZER, add_note

    add_note(raised, IN_INITIALIZER)
    return raised


def _told(error: BaseException, initializer: Callable[..., object]) -> BaseException:
    """What the caller is told of an error: itself, if it ends no program and no loop."""
    from procession.pickling.exceptions import raisable

    name = getattr(initializer, "__name__", None) or type(initializer).__name__
    if not isinstance(error, (SystemExit, KeyboardInterrupt)):
        return raisable(error, f"the initializer {name}()")
    what = f"SystemExit({error.code!r})" if isinstance(error, SystemExit) else "KeyboardInterrupt"
    exited = TaskExited(
        f"The initializer {name}() raised {what}. An initializer cannot end the program, and a "
        "worker without it is of no use: have it raise an exception that says what is wrong.",
        code=error.code if isinstance(error, SystemExit) else None,
    )
    exited.__cause__ = error
    return exited


def _same(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def forget_initializers() -> None:
    """Run each again when it is needed."""
    _here.clear()


after_fork.renew_in_child(forget_initializers)
