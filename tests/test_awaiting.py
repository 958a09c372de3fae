"""Awaiting futures: what comes of it, and how often the event loop is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from procession import Future, parallel
from tests.support.waiting import wait_for_file, wait_until


@parallel(workers=2, inline=False)
def when_told(path: Path, what: Any) -> Any:
    """Give or raise something once there is a file."""
    wait_for_file(path)
    if isinstance(what, BaseException):
        raise what
    return what


class Counting(asyncio.SelectorEventLoop):
    """A loop that counts how often other threads have woken it."""

    woken = 0

    def call_soon_threadsafe(  # type: ignore[override]  # whatever it is given
        self, *args: Any, **kwargs: Any
    ) -> asyncio.Handle:
        """As any loop does."""
        self.woken += 1
        return super().call_soon_threadsafe(*args, **kwargs)


def run(what: Coroutine[Any, Any, Any]) -> int:
    """Run a coroutine; gives how often its loop was woken."""
    loop = Counting()
    try:
        loop.run_until_complete(what)
    finally:
        loop.close()
    return loop.woken


async def awaiting(future: Future[Any]) -> Any:
    """Await it."""
    return await future


def test_futures_that_are_done_meanwhile_wake_the_loop_once(tmp_path: Path) -> None:
    """However many they are, and whatever they give."""
    go = tmp_path / "go"

    async def several() -> None:
        given = [*range(50), ValueError("one"), StopIteration(2)]
        futures = [when_told.submit(go, each) for each in given]
        tasks = [asyncio.ensure_future(awaiting(future)) for future in futures]
        await asyncio.sleep(0)
        go.touch()
        wait_until(lambda: all(future.done() for future in futures))
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found[:50] == given[:50]
        assert isinstance(found[50], ValueError)
        assert isinstance(found[51], RuntimeError)
        assert isinstance(found[51].__cause__, StopIteration)

    assert run(several()) == 1


def test_one_that_is_done_is_awaited_at_once(tmp_path: Path) -> None:
    """The loop is not woken for it, and what it raised is raised."""
    go = tmp_path / "go"
    go.touch()
    fine, bad = when_told.submit(go, 1), when_told.submit(go, ValueError("bad"))
    wait_until(lambda: fine.done() and bad.done())

    async def both() -> None:
        assert await fine == 1
        with pytest.raises(ValueError, match="bad"):
            await bad

    assert run(both()) == 0


def test_cancelling_who_awaits_ends_the_call(tmp_path: Path) -> None:
    """And a call that is cancelled elsewhere cancels who awaits it."""

    async def cancelled() -> None:
        future = when_told.submit(tmp_path / "never", 1)
        task = asyncio.ensure_future(awaiting(future))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert future.cancelled()
        other = when_told.submit(tmp_path / "never", 2)
        task = asyncio.ensure_future(awaiting(other))
        await asyncio.sleep(0)
        assert other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled())
