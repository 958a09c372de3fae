"""What a function can ask while it runs: which task it is, and what its worker keeps."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from itertools import count
from typing import Any, Generic, TypeVar

from procession.once import Once
from procession.system import after_fork
from procession.system.interrupts import strikes
from procession.system.pristine import threading
from procession.worker.current import CurrentTask, current_task, in_worker, in_worker_process

__all__ = ["CurrentTask", "PerWorker", "current_task", "per_worker"]

T = TypeVar("T")

_lock = after_fork.rlock()
_values: dict[Any, tuple[int, Once[Any]]] = {}
_ordinals: dict[Any, Any] = {}
_thread_values = threading.local()
_closing: int | None = None
"""In which process values are closed at its end."""


class _OfThread:
    """The values of one thread. They are closed when it ends, and lets go of this."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        self._process = os.getpid()

    def close(self) -> None:
        """Close what can be closed, last made first."""
        while self.values:
            _close(self.values.popitem()[1])

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ending() and os.getpid() == self._process:  # in a forked child they are the parent's
            self.close()


class PerWorker(Generic[T]):
    """A value that each worker builds once, on first use, and keeps: what `per_worker` returns.

    Call the handle, or read its `value`, inside the function. It pickles by reference: the value
    itself never crosses.
    """

    def __init__(self, factory: Callable[[], T], identity: Any) -> None:
        self._factory = factory
        self._identity = identity

    @property
    def value(self) -> T:
        """This worker's value; built by the factory on first use here.

        Raises:
            BaseException: What the factory raises; it is called again the next time.
        """
        if in_worker() and current_task() is not None and not in_worker_process():
            return self._thread_value()
        with _lock:
            pid, once = _values.get(self._identity, (0, None))
            if once is None or pid != os.getpid():
                _close_at_exit()
                once = Once(self._factory)
                _values[self._identity] = (os.getpid(), once)
        kept: T = once()  # without the lock: a factory may use other values, or wait for threads
        return kept

    def __call__(self) -> T:
        """The same as `value`."""
        return self.value

    def get(self) -> T:
        """The same as `value`."""
        return self.value

    def _thread_value(self) -> T:
        """On the thread backend a worker is a thread, so each thread has a value of its own."""
        kept: _OfThread | None = getattr(_thread_values, "kept", None)
        if kept is None:
            _close_at_exit()
            kept = _thread_values.kept = _OfThread()
        values = kept.values
        if self._identity not in values:
            values[self._identity] = self._factory()
        value: T = values[self._identity]
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        from procession.pickling.importable import find
        from procession.pickling.references import may_name, naming, resolve

        module = getattr(self._factory, "__module__", None) or ""
        name = getattr(self._factory, "__qualname__", None) or ""
        # As a decorator it stands where its factory's name leads: that cannot be found by name.
        if find(module, name) is self and may_name(naming(sys._getframe(1), module), module):
            return resolve, (module, name)
        return _restore, (self._factory, self._identity)

    def __repr__(self) -> str:
        return f"per_worker({getattr(self._factory, '__qualname__', self._factory)})"


def per_worker(factory: Callable[[], T]) -> PerWorker[T]:
    """A handle for something that each worker builds once: a database connection, a model.

        database = per_worker(connect)

        @parallel_map
        def load(row: Row) -> None:
            database.value.insert(row)

    The factory runs in the worker at the first use there; later items in that worker get the same
    object. When the worker ends, the object's ``close()`` (or else ``__exit__``) is called if it
    has one; not when the worker is killed. (On the thread backend a worker is a thread.) Outside
    workers, and for items that run inline, this process has a value of its own.

    Args:
        factory: Takes no arguments and makes the value. It must be able to cross to a worker.

    Returns:
        The handle; its ``value`` is this worker's. It can be a global, an argument or a default.

    Raises:
        TypeError: `factory` cannot be called.
    """
    if not callable(factory):
        raise TypeError(
            f"per_worker() takes a function that makes the value, not the value: {factory!r} "
            "cannot be called. Write per_worker(lambda: ...), or pass the value as an argument."
        )
    return PerWorker(factory, _identify(factory))


def _identify(factory: Any) -> Any:
    """The same handle, made by the same module in another process, must have the same identity.

    So a factory that has a name counts its handles, in the order in which its module makes them;
    one without a name (a lambda, a partial) is told apart by the process and a number.
    """
    module = getattr(factory, "__module__", None)
    qualname = getattr(factory, "__qualname__", None)
    if module is None or qualname is None or module == "__main__" or "<" in qualname:
        named: Any = os.getpid()
    else:
        named = (module, qualname)
    with _lock:
        numbers = _ordinals.setdefault(named, count())
        return named, next(numbers)


def _restore(factory: Callable[[], T], identity: Any) -> PerWorker[T]:
    return PerWorker(factory, identity)


def _close_at_exit() -> None:
    """Not at import: a forked worker has none of its parent's exit handlers."""
    global _closing
    if _closing != os.getpid():
        _closing = os.getpid()
        atexit.register(_close_all)


def _close_all() -> None:
    """At the normal end of the process: close what can be closed, last made first."""
    for pid, once in reversed(list(_values.values())):
        if pid == os.getpid() and once.made:
            _close(once())
    _values.clear()
    kept: _OfThread | None = getattr(_thread_values, "kept", None)
    if kept is not None:  # of items that ran in the main thread
        kept.close()


def _close(value: Any) -> None:
    try:
        if callable(getattr(value, "close", None)):
            value.close()
        elif callable(getattr(value, "__exit__", None)):
            value.__exit__(None, None, None)
    except BaseException as error:  # the others are to be closed all the same
        if strikes(error):
            raise
        import traceback

        traceback.print_exc()
