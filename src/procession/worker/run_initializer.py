"""Running the user's initializer: in a worker that starts, or in this process if it is one."""

from __future__ import annotations

import operator
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from procession.errors import TaskExited
from procession.forwarding.adopt_settings import initialized
from procession.forwarding.interpreter_settings import read
from procession.pickling.packed_initializer import Packed, open_initializer
from procession.system import after_fork
from procession.user_threads import Once
from procession.worker.current import base_context
from procession.worker.loading import allowed, watching

__all__ = [
    "forget_initializers",
    "initialize",
    "run_initializer",
    "run_initializer_here",
    "run_unpacked",
]

_here: list[tuple[Any, tuple[Any, ...], Once[BaseException | None]]] = []
_lock = after_fork.rlock()


def run_initializer(packed: Packed) -> None:
    """Run the initializer; what it sets in the context holds for every item.

    Raises:
        BaseException: What the initializer raises. As the standard library does, it is logged too,
            if the worker's logging is set up.
    """
    try:
        base_context.run(run_unpacked, packed)
    except BaseException:
        logging: Any = sys.modules.get("logging")
        logger = None if logging is None else logging.getLogger("concurrent.futures")
        if logger is not None and logger.hasHandlers():
            logger.critical("Exception in initializer:", exc_info=True)
        raise


def run_unpacked(packed: Packed) -> None:
    """Run the initializer as a plain function."""
    from procession.pickling.shared_globals import arriving

    with watching(), arriving() as arrivals:
        initializer, initargs = open_initializer(packed)
    arrivals.look()
    before = read()
    try:
        with allowed():
            initializer(*initargs)
    except (SystemExit, KeyboardInterrupt) as error:
        raise _exited(error, initializer) from error
    initialized(before)
    arrivals.keep()


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
    """Call an initializer in this thread; return what it raised."""
    try:
        try:
            initializer(*initargs)
        except SystemExit as error:
            raise _exited(error, initializer) from error
        except KeyboardInterrupt as error:
            if threading.current_thread() is threading.main_thread():
                raise  # the user's own Ctrl-C, as far as anyone can tell
            raise _exited(error, initializer) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        error.add_note("raised by the initializer")
        return error
    return None


def _exited(error: BaseException, initializer: Callable[..., object]) -> TaskExited:
    name = getattr(initializer, "__name__", None) or type(initializer).__name__
    what = f"SystemExit({error.code!r})" if isinstance(error, SystemExit) else "KeyboardInterrupt"
    return TaskExited(
        f"The initializer {name}() raised {what}. An initializer cannot end the program, and a "
        "worker without it is of no use: have it raise an exception that says what is wrong.",
        code=error.code if isinstance(error, SystemExit) else None,
    )


def _same(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def forget_initializers() -> None:
    """Run each again when it is needed."""
    _here.clear()


after_fork.renew_in_child(forget_initializers)
