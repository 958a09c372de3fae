"""Options hold on every backend and for every verb, and an initializer ends no program."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest

import procession
from procession import NestedParallelism, OptionError, TaskExited, background, isolated, parallel
from tests.conformance.places import Place, at
from tests.support import things


class Tries:
    """Counts, in the process that it is in."""

    made = 0

    def clear(self) -> None:
        """Count anew."""
        self.made = 0

    def fail_twice(self) -> None:
        """Fail twice, then pass."""
        self.made += 1
        if self.made % 3:
            raise OSError("again")


tries = Tries()


@parallel(inline=False)
def flaky(x: int) -> int:
    """Fails twice in a process, then passes."""
    tries.fail_twice()
    return x


@parallel(inline=False)
def inner(x: int) -> int:
    """Called by `outer`."""
    return x


@parallel(inline=False)
def outer(x: int) -> list[int]:
    """Makes a decorated call in its worker."""
    return inner.with_options(backend="serial").map([x])


@parallel(inline=False)
def outer_in_thread(x: int) -> list[int]:
    """Makes a decorated call in a thread of its own."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(inner.map([x]))
        except NestedParallelism as error:
            got.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(got[0], NestedParallelism):
        raise got[0]
    return list(got[0])


def leave() -> None:
    """An initializer that ends the program."""
    sys.exit(3)


def interrupt() -> None:
    """An initializer that is interrupted."""
    raise KeyboardInterrupt


def freeze() -> None:
    """An initializer that fails."""
    raise things.FrozenError(5)


@pytest.mark.parametrize("backend", ["process", "thread", "serial"])
def test_retries_hold_for_single_calls(backend: str) -> None:
    """`submit` and background calls are tried again, also where they run here."""
    tries.clear()
    options: dict[str, Any] = {"backend": backend, "retries": 2, "retry_on": OSError}
    if backend == "process":
        options["workers"] = 1
    assert flaky.with_options(**options).submit(5).result() == 5
    tries.clear()
    with pytest.raises(OSError, match="again"):
        flaky.with_options(**{**options, "retries": 1}).submit(5).result()
    tries.clear()
    assert background(**options)(flaky.__wrapped__)(6).result() == 6
    procession.shutdown()


async def _flaky() -> int:
    tries.fail_twice()
    return 7


def _values() -> Any:
    yield 1


def test_retries_hold_for_isolated_calls_here() -> None:
    """Under ``backend="serial"``: awaited ones are tried again; streams refuse retries."""
    tries.clear()
    with procession.options(backend="serial"):
        assert isolated(retries=2, retry_on=OSError)(flaky.__wrapped__)(5) == 5
        tries.clear()
        assert asyncio.run(_call(isolated(retries=2, retry_on=OSError)(_flaky))) == 7
        with pytest.raises(OptionError, match="retries"):
            next(isolated(retries=2, retry_on=OSError)(_values)())


async def _call(function: Any) -> Any:
    return await function()


def test_nested_error_holds(place: Place) -> None:
    """A decorated call inside an item is refused under ``nested="error"``, and only then."""
    strict = at(place, outer, nested="error")
    with pytest.raises(NestedParallelism, match="inner"):
        strict.map([1, 2])
    with pytest.raises(NestedParallelism, match="inner"):
        strict.submit(1).result()
    assert at(place, outer).map([1, 2]) == [[1], [2]]
    assert at(place, outer).submit(1).result() == [1]


def test_nested_error_holds_here() -> None:
    """It does not depend on where a short map's items run."""
    with pytest.raises(NestedParallelism, match="inner"):
        outer.with_options(nested="error", inline="auto").map([1, 2])
    assert outer.with_options(inline="auto").map([1, 2]) == [[1], [2]]


def test_nested_error_holds_in_an_item_s_threads(processes: Place) -> None:
    """Threads that an item starts in a worker are inside that item."""
    with pytest.raises(NestedParallelism, match="inner"):
        at(processes, outer_in_thread, nested="error").map([1])


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib", "thread", "serial"])
def test_an_initializer_cannot_end_the_program(backend: str) -> None:
    """`sys.exit` in an initializer is one TaskExited that names it, for each verb."""
    function = at(Place(backend), inner, initializer=leave)
    for call in (lambda: function.map([1, 2]), lambda: function.submit(1).result()):
        with pytest.raises(
            TaskExited, match=r"initializer leave\(\) raised SystemExit\(3\)"
        ) as raised:
            call()
        assert raised.value.code == 3
    errors = [outcome.error for outcome in function.outcomes([1, 2])]
    assert [type(error) for error in errors] == [TaskExited] * 2
    procession.shutdown()


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib", "thread", "serial"])
def test_an_initializer_that_raises_what_nothing_can_be_set_on(backend: str) -> None:
    """Its error arrives as itself, one for each item, also the second time."""
    function = at(Place(backend), inner, initializer=freeze)
    for _ in range(2):
        errors: list[Any] = [outcome.error for outcome in function.outcomes([1, 2])]
        assert [type(error) for error in errors] == [things.FrozenError] * 2
        assert [str(error.__notes__).count("could not run item") for error in errors] == [1, 1]
    assert type(function.submit(1).exception()) is things.FrozenError
    procession.shutdown()


@pytest.mark.parametrize("backend", ["process", "loky", "thread", "serial"])
def test_an_interrupted_initializer(backend: str) -> None:
    """KeyboardInterrupt in a worker's initializer is no Ctrl-C of the caller's."""
    function = at(Place(backend), inner, initializer=interrupt)
    with pytest.raises(TaskExited, match="KeyboardInterrupt"):
        function.map([1])
    procession.shutdown()
