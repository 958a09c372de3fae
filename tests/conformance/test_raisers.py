"""What pickles, rebuilds or prints a value may raise anything: it is that item's error alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

import procession
from procession import NotPicklable, TaskExited, parallel, shared
from tests.support.raisers import ERRORS, KINDS, Mute, Rebuilt, RebuiltElsewhere

Kind = Callable[[str], object]

EXPECTED = (NotPicklable, TaskExited, MemoryError)


@parallel(workers=2, inline=False)
def echo(value: Any, also: Any = None) -> str:
    """What came, by its type."""
    return type(value).__name__


@parallel(workers=2, inline=False)
def make(kind: Kind | None, name: str) -> Any:
    """An object of a kind."""
    return [kind(name)] if kind is not None else "good"


@parallel(workers=2, inline=False)
def attached(kind: Kind | None, name: str) -> str:
    """Raises an error that holds such an object."""
    if kind is None:
        return "good"
    error: Any = LookupError("of the item")
    error.held = kind(name)
    raise error


@parallel(workers=2, inline=False)
def mute(_: object) -> None:
    """Raises an error whose ``str`` ends the program."""
    raise Mute


def cases() -> list[tuple[str, str]]:
    """Each error in our workers, and two in an executor's: their far side is the same."""
    return [*(("process", name) for name in ERRORS), ("loky", "Own"), ("loky", "StopIteration")]


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where these run."""
    with procession.options(backend=request.param):
        yield


everywhere = pytest.mark.parametrize(("backend", "name"), cases(), indirect=["backend"])


def errors_of(function: Any, kind: Kind, *name: str) -> list[BaseException | None]:
    """The errors of a good item, one of that kind, and a good one."""
    return [outcome.error for outcome in function.outcomes([None, kind, None], *name)]


@everywhere
@pytest.mark.usefixtures("backend")
def test_an_argument_that_raises(name: str) -> None:
    """It is the error of its item, in a map and in a future."""
    for kind in KINDS:
        good, bad, also = [one.error for one in echo.outcomes([1, kind(name), 3])]
        assert [good, also] == [None, None]
        assert isinstance(bad, EXPECTED), kind
        assert isinstance(echo.submit(kind(name)).exception(), type(bad))
        with pytest.raises(type(bad)):
            echo.map([1, kind(name), 3])
        with pytest.raises(type(bad)):
            echo.map([1, 2], kind(name))


@everywhere
@pytest.mark.usefixtures("backend")
def test_a_result_that_raises(name: str) -> None:
    """It is the error of its item, and shortens no list."""
    for kind in KINDS:
        good, bad, also = errors_of(make, kind, name)
        assert [good, also] == [None, None]
        assert isinstance(bad, EXPECTED), kind
        assert isinstance(make.submit(kind, name).exception(), type(bad))
        with pytest.raises(type(bad)):
            make.map([None, kind, None], name)
        with pytest.raises(type(bad)):
            make.map([kind], name)
        with pytest.raises(type(bad)):
            list(make.imap([kind], name))


@everywhere
@pytest.mark.usefixtures("backend")
def test_an_error_that_holds_what_raises(name: str) -> None:
    """It arrives as itself, or as a `NotPicklable` that tells of it."""
    for kind in KINDS:
        good, bad, also = errors_of(attached, kind, name)
        assert [good, also] == [None, None]
        assert isinstance(bad, (LookupError, NotPicklable)), kind
        assert isinstance(attached.submit(kind, name).exception(), type(bad))


def test_an_error_that_cannot_say_what_it_is() -> None:
    """It arrives as itself."""
    assert type(mute.submit(1).exception()) is Mute
    (outcome,) = mute.outcomes([1])
    assert type(outcome.error) is Mute


@parallel(workers=2, inline=False)
def logged(kind: Kind, name: str) -> str:
    """Logs a record that holds such an object."""
    logging.getLogger("raisers").warning("held", extra={"held": kind(name)})
    return "good"


@everywhere
@pytest.mark.usefixtures("backend")
def test_a_record_that_holds_what_raises(name: str) -> None:
    """It costs no item."""
    with handling("raisers") as records:
        assert logged.map(KINDS, name) == ["good"] * len(KINDS)
        assert logged.submit(KINDS[0], name).result() == "good"
    assert len(records) == len(KINDS) + 1


@contextmanager
def handling(name: str) -> Iterator[list[logging.LogRecord]]:
    """What a logger is given."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


held: ContextVar[object] = ContextVar("held", default=None)


@everywhere
@pytest.mark.usefixtures("backend")
def test_a_context_variable_that_holds_what_raises(name: str) -> None:
    """It stays at home."""
    for kind in KINDS:
        token = held.set(kind(name))
        try:
            assert echo.map([1, 2]) == ["int", "int"]
            assert echo.submit("a").result() == "str"
        finally:
            held.reset(token)


@everywhere
@pytest.mark.usefixtures("backend")
def test_a_function_that_uses_what_raises(name: str) -> None:
    """It is refused, in its future and in a map; or its job cannot be opened in the worker."""
    for kind in KINDS:
        used = kind(name)
        function: Any = parallel(workers=2, inline=False, pickling="by-value")(using(used))
        assert isinstance(function.submit(1).exception(), (*EXPECTED, ERRORS[name], RuntimeError))
        with pytest.raises((*EXPECTED, ERRORS[name], RuntimeError)):
            function.map([1, 2])


def using(value: object) -> Callable[[object], object]:
    """A function that uses a value."""

    def use(_: object) -> object:
        return value

    return use


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_put_that_raises(name: str) -> None:
    """It is refused by `shared.put`."""
    for kind in KINDS:
        if kind not in (Rebuilt, RebuiltElsewhere):
            with pytest.raises(EXPECTED):
                shared.put([kind(name)])


class Equals(type):
    """A metaclass with an ``==`` of its own, and so no hash."""

    def __eq__(cls, other: object) -> bool:
        return cls is other


class Plain(metaclass=Equals):
    """Pickle cannot take it: it looks classes up in a dict."""


@pytest.mark.parametrize("inline", [False, "auto"])
def test_a_class_without_a_hash_is_refused_by_its_place(inline: Any) -> None:
    """The error names the argument and its part; here and in a worker."""
    told = echo.with_options(inline=inline)
    good, bad, also = [one.error for one in told.outcomes([1, [2, Plain()], 3])]
    assert [good, also] == [None, None]
    assert isinstance(bad, NotPicklable)
    assert bad.path == "value[1]"
    assert "Plain" in str(bad)
    with pytest.raises(NotPicklable, match="also"):
        told.map([1], also=(Plain(),))


def test_a_class_whose_equality_raises_crosses() -> None:
    """What pickle can take arrives, also beside what stops it."""
    assert echo.map([1, Odd(), 3]) == ["int", "Odd", "int"]
    (outcome,) = echo.outcomes([[Odd(), Plain()]])
    assert isinstance(outcome.error, NotPicklable)
    assert outcome.error.path == "value[1]"


class Raises(type):
    """A metaclass whose ``==`` raises."""

    def __eq__(cls, other: object) -> bool:
        raise LookupError

    __hash__ = type.__hash__


class Odd(metaclass=Raises):
    """Pickle takes it."""


@parallel(workers=2, retries=1)
def failing(x: int) -> int:
    """Fails."""
    raise LookupError(x)


@pytest.mark.parametrize("place", ["process", "thread", "serial"])
@pytest.mark.parametrize("name", ERRORS)
def test_a_class_to_retry_on_that_raises(place: str, name: str) -> None:
    """It asks for no other attempt, and each item has its own error."""

    def failing_check(*_: object) -> bool:
        raise ERRORS[name]

    kind: Any = type("Kind", (type,), {"__instancecheck__": failing_check})
    options: Any = {"backend": place, "retry_on": (kind("Error", (Exception,), {}),)}
    function = failing.with_options(**options)
    outcomes = list(function.outcomes([1, 2, 3]))
    assert [(type(one.error), one.attempts) for one in outcomes] == [(LookupError, 1)] * 3
    assert type(function.submit(1).exception()) is LookupError
    with pytest.raises(LookupError):
        function.map([1, 2])
