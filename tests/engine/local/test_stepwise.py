"""Isolated generators and coroutines mean the same where they run in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

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
