"""Isolated generators and coroutines mean the same where they run in this process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import numpy
import pytest

from procession import TaskExited, current_task, isolated
from tests.support.raisers import ERRORS

EXITS = ("SystemExit", "KeyboardInterrupt")
WRAPPED = ("StopIteration", "StopAsyncIteration")


@isolated(backend="serial")
def numbers(name: str) -> Iterator[int]:
    """Gives one number, and fails."""
    yield 1
    raise ERRORS[name]("late")


@isolated(backend="serial")
async def answer(name: str) -> int:
    """Fails."""
    raise ERRORS[name]("soon")


def expected(name: str) -> type[BaseException]:
    """What arrives of an error."""
    return TaskExited if name in EXITS else RuntimeError if name in WRAPPED else ERRORS[name]


def note_of(error: BaseException) -> str:
    """The note that names the call."""
    return " ".join(error.__notes__)


@pytest.mark.parametrize("name", [name for name in ERRORS if name != "GeneratorExit"])
def test_what_a_generator_raises(name: str) -> None:
    """It comes after the values, ends neither program nor loop, and names the call."""
    values = numbers(name)
    assert next(values) == 1
    with pytest.raises(expected(name)) as caught:
        next(values)
    assert f"numbers({name!r}) was running" in note_of(caught.value)
    assert list(values) == []


@pytest.mark.parametrize(
    "name", [n for n in ERRORS if n not in ("GeneratorExit", "CancelledError")]
)
def test_what_a_coroutine_raises(name: str) -> None:
    """It ends neither program nor loop, and names the call."""

    async def main() -> BaseException:
        with pytest.raises(expected(name)) as caught:
            await answer(name)
        return caught.value

    assert f"answer({name!r}) was running" in note_of(asyncio.run(main()))


@isolated(backend="serial")
def open_ended(closed: list[str]) -> Iterator[str]:
    """Gives the name of its task, for ever."""
    try:
        while True:
            task = current_task()
            yield "none" if task is None else task.function
    finally:
        closed.append("closed")


def test_a_stream_is_closed_by_a_with_block() -> None:
    """As one of a worker is; and `current_task` is known in each step, and not between them."""
    closed: list[str] = []
    stream: Any = open_ended(closed)
    with stream as values:
        assert [next(values), next(values)] == ["open_ended", "open_ended"]
        assert current_task() is None
    assert closed == ["closed"]
    assert list(values) == []


@isolated(backend="serial")
async def named() -> str:
    """The name of its task."""
    await asyncio.sleep(0)
    task = current_task()
    return "none" if task is None else task.function


def test_a_coroutine_knows_its_task() -> None:
    """And others of the same loop do not."""

    async def main() -> tuple[str, Any]:
        return await named(), current_task()

    assert asyncio.run(main()) == ("named", None)


def refuse() -> None:
    """An initializer that fails."""
    raise LookupError("not ready")


def stop() -> None:
    """An initializer that would end a loop."""
    raise StopIteration("not ready")


@pytest.mark.parametrize("backend", ["serial", "process", "loky"])
@pytest.mark.parametrize("fails", [refuse, stop])
def test_an_initializer_that_fails(backend: str, fails: Any) -> None:
    """Its error is that of the call, of each kind, wherever it runs."""
    kind = LookupError if fails is refuse else RuntimeError
    options: dict[str, Any] = {"backend": backend, "initializer": fails}
    with pytest.raises(kind):
        isolated(**options)(len)([1])
    if backend != "loky":
        with pytest.raises(kind):
            list(isolated(**options)(numbers.__wrapped__)("ValueError"))
        with pytest.raises(kind):
            asyncio.run(isolated(**options)(answer.__wrapped__)("ValueError"))
    if fails is stop:
        future = isolated(**options)(len).submit([1])
        with pytest.raises(RuntimeError, match=r"the initializer stop\(\) raised StopIteration"):
            future.result()
        with pytest.raises(RuntimeError):
            asyncio.run(_wrapped(future))


async def _wrapped(future: Any) -> Any:
    return await asyncio.wrap_future(future)


def draws() -> Iterator[list[float]]:
    """Draws from each generator in four steps."""
    for _ in range(4):
        yield [random.random(), random.gauss(), numpy.random.rand(), numpy.random.normal()]


async def awaited_draws() -> list[list[float]]:
    """The same, with a pause between the steps."""
    found: list[list[float]] = []
    for numbers in draws():
        found.append(numbers)
        await asyncio.sleep(0)
    return found


def own_draws(times: int) -> list[float]:
    """What the caller draws meanwhile."""
    return [number for _ in range(times) for number in (random.random(), numpy.random.normal())]


def begin_own() -> None:
    """The caller's generators, as they are before."""
    random.seed(1)
    numpy.random.seed(1)


@pytest.mark.parametrize("backend", ["serial", "process"])
def test_a_seed_holds_in_each_step(backend: str) -> None:
    """Numbers depend on nothing else, and the caller's go on as if nothing was drawn between."""
    options: dict[str, Any] = {"backend": backend, "seed": 3, "pickling": "by-value"}
    expected = isolated(**options)(lambda: list(draws()))()
    begin_own()
    own = own_draws(5)
    begin_own()
    found: list[list[float]] = []
    kept = own_draws(1)
    for numbers in isolated(**options)(draws)():
        found.append(numbers)
        kept += own_draws(1)
    assert (found, kept) == (expected, own)

    async def main() -> tuple[list[list[float]], list[list[float]]]:
        call = isolated(**options)(awaited_draws)
        return await asyncio.gather(call(), call())

    begin_own()
    first, second = asyncio.run(main())
    assert first == expected
    assert second != expected
    assert own_draws(5) == own


@pytest.mark.parametrize("ending", ["closed", "cancelled", "raised"])
def test_a_step_that_ends_it(ending: str) -> None:
    """Closed, cancelled or failed, the caller's numbers are its own, and it has ended."""
    ended: list[str] = []

    async def waiting() -> None:
        try:
            random.seed()
            if ending == "raised":
                raise LookupError
            await asyncio.sleep(60)
        finally:
            ended.append(ending)

    async def main() -> None:
        call = isolated(backend="serial", seed=1)(waiting)
        if ending == "closed":
            awaitable = call().__await__()
            next(awaitable)
            awaitable.close()
        elif ending == "cancelled":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call(), 0.01)
        else:
            with pytest.raises(LookupError):
                await call()

    begin_own()
    own = own_draws(1)
    begin_own()
    asyncio.run(main())
    assert ended == [ending]
    assert own_draws(1) == own
