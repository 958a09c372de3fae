"""Switches for tests of code that uses Procession, under any test runner.

    class TestReports(unittest.TestCase):
        def setUp(self):
            self.enterContext(procession.testing.inline())

        @procession.testing.strict()
        def test_totals(self): ...

Both work as context managers and as decorators of functions, ``async def`` included. Under pytest,
the fixtures ``procession_inline`` and ``procession_strict`` do the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

__all__ = ["inline", "strict"]

_F = TypeVar("_F", bound=Callable[..., Any])


class _Switch(AbstractContextManager[None]):
    """A context manager that can be entered again, and decorates functions of both kinds."""

    def __init__(self, name: str, switch: Callable[[], AbstractContextManager[None]]) -> None:
        self._name = name
        self._switch = switch
        self._entered: list[ExitStack] = []

    def __enter__(self) -> None:
        stack = ExitStack()
        stack.enter_context(self._switch())
        self._entered.append(stack)

    def __exit__(self, *_: object) -> None:
        self._entered.pop().close()

    def __call__(self, function: _F) -> _F:
        import functools
        import inspect

        if inspect.isclass(function):
            raise TypeError(
                f"procession.testing.{self._name}() decorates functions, and {function.__name__} "
                f"is a class. Write self.enterContext(procession.testing.{self._name}()) in its "
                "setUp, or decorate its methods."
            )
        wrapped: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with self._switch():
                    return await function(*args, **kwargs)

            wrapped = awaited
        else:

            @functools.wraps(function)
            def called(*args: Any, **kwargs: Any) -> Any:
                with self._switch():
                    return function(*args, **kwargs)

            wrapped = called
        return wrapped  # type: ignore[no-any-return]


def inline() -> _Switch:
    """Run every decorated function in this process, also where its options say otherwise.

        with procession.testing.inline():
            assert totals(["a", "b"]) == [6, 6]

    No worker is started; debuggers, mocks and coverage reach the function, and it sees the
    caller's own objects. A ``timeout`` or ``memory_limit`` does not hold meanwhile, since nothing
    could end the call. It is as strong as ``PROCESSION_BACKEND=serial`` in the environment, and
    holds for the whole process, threads included.

    Returns:
        A context manager, which also decorates functions (``async def`` too).
    """
    return _Switch("inline", _serial)


def strict() -> _Switch:
    """Pickle arguments and results of calls that run in this process, as if they crossed.

        with procession.testing.inline(), procession.testing.strict():
            assert totals(["a", "b"]) == [6, 6]

    The function works on copies, as it would in a worker, and what cannot cross raises
    `procession.NotPicklable`, as it would there. Together with `inline` it finds such faults
    without starting a process. Holds for the whole process, threads included.

    Returns:
        A context manager, which also decorates functions (``async def`` too).
    """
    return _Switch("strict", _strict)


@contextmanager
def command_line(
    backend: str | None = None, workers: str | None = None, strict: bool = False
) -> Generator[None, None, None]:
    """Put into force what pytest's command line sets (for the plugin).

    Raises:
        OptionError: A value is none of its option's.
    """
    from procession.configuration.validation import parse_option

    given: dict[str, str] = {}
    if backend is not None:
        parse_option("backend", backend, f"--procession-backend={backend}")
        given["PROCESSION_BACKEND"] = backend
    if workers is not None:
        number: Any = int(workers) if workers.strip().lstrip("-").isdecimal() else workers
        parse_option("workers", number, f"--procession-workers={workers}")
        given["PROCESSION_WORKERS"] = workers
    with ExitStack() as stack:
        stack.enter_context(_environment(given))
        if strict:
            stack.enter_context(_strict())
        yield


@contextmanager
def _strict() -> Generator[None, None, None]:
    from procession.engine.local.in_process import set_strict

    before = set_strict(True)
    try:
        yield
    finally:
        set_strict(before)


_LIMITS_DO_NOT_HOLD = r".* is ignored, because of PROCESSION_BACKEND=serial"


@contextmanager
def _serial() -> Generator[None, None, None]:
    import warnings

    from procession.errors import ParallelWarning

    with _environment({"PROCESSION_BACKEND": "serial"}), warnings.catch_warnings():
        # An operator is warned that limits do not hold; a test that asks for this knows.
        warnings.filterwarnings("ignore", _LIMITS_DO_NOT_HOLD, ParallelWarning)
        yield


@contextmanager
def _environment(values: dict[str, str]) -> Generator[None, None, None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
