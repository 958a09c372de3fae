"""`retry_delay`: the time before another attempt, during which others go on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import DeadlineExceeded, OptionError, background, isolated, parallel
from procession.engine.policy.blame import Rules
from procession.engine.retrying import pause_before
from procession.items import Item


def stamp(item: tuple[str, int]) -> list[float]:
    """Take down when each attempt began; pass at the one that the item says."""
    path, passes = item
    with open(path, "a") as file:
        print(time.monotonic(), file=file)
    times = [float(line) for line in Path(path).read_text().split()]
    if len(times) < passes:
        raise OSError("again")
    return times


def die(item: tuple[str, int]) -> list[float]:
    """The same, but die."""
    try:
        return stamp(item)
    except OSError:
        os._exit(3)


def growing(attempt: int) -> float:
    """More for later attempts: the first retry is number 2."""
    return 0.1 * attempt


def broken(attempt: int) -> float:
    """Raises."""
    raise LookupError(attempt)


def negative(attempt: int) -> float:
    """Gives no number of seconds."""
    return -1.0


pytestmark = pytest.mark.usefixtures("pools_end")


@pytest.mark.parametrize("delay", [2.0, lambda attempt: float(attempt)])
def test_attempts_that_failed_together_come_back_apart(delay: Any) -> None:
    """Up to a tenth of the pause is added, at random."""
    item = Item(0, None, attempt=2)
    pauses = {pause_before(item, Rules("f", 1, (), delay=delay)) for _ in range(100)}
    assert len(pauses) > 10
    assert all(2.0 <= each <= 2.2 for each in pauses)


@pytest.mark.parametrize("backend", ["process", "loky", "thread", "serial"])
def test_attempts_are_apart(backend: str, tmp_path: Path) -> None:
    """Maps and calls wait as long as is said, wherever the item runs."""
    f = parallel(backend=backend, retries=2, retry_on=OSError, retry_delay=growing)(stamp)
    runs: list[Callable[[Any], list[float]]] = [
        lambda item: f.map([item])[0],
        lambda item: f.submit(item).result(),
    ]
    for number, run in enumerate(runs):
        first, second, third = run((f"{tmp_path}/{number}", 3))
        assert second - first >= 0.2
        assert third - second >= 0.3


def test_deaths_wait_too(tmp_path: Path) -> None:
    """A death is followed by the same delay; neighbours do not wait for it."""
    f = parallel(workers=1, chunk=1, retries=1, retry_delay=0.5)(die)
    items = [(f"{tmp_path}/a", 2), (f"{tmp_path}/b", 1)]
    a, b = f.map(items)
    assert a[1] - a[0] >= 0.5
    assert b[0] < a[1]


def test_isolated_calls_here(tmp_path: Path) -> None:
    """An awaited call under ``backend="serial"`` waits without blocking its loop."""

    async def work(item: tuple[str, int]) -> list[float]:
        return stamp(item)

    async def run() -> list[float]:
        f = isolated(retries=1, retry_on=OSError, retry_delay=0.2)(work)
        return await f((f"{tmp_path}/c", 2))

    with procession.options(backend="serial"):
        first, second = asyncio.run(run())
    assert second - first >= 0.2


def test_a_rest_can_be_cut_short(tmp_path: Path) -> None:
    """`cancel` and a deadline end a call that waits for its next attempt."""
    f = background(workers=1, retries=1, retry_on=OSError, retry_delay=600)(stamp)
    late = f.with_options(deadline=1.0)
    item = (f"{tmp_path}/d", 2)
    assert isinstance(late.submit(item).exception(), DeadlineExceeded)
    assert isinstance(late.map_async([(f"{tmp_path}/e", 2)]).exception(), DeadlineExceeded)
    waiting = f((f"{tmp_path}/f", 2))
    while not os.path.exists(f"{tmp_path}/f"):
        time.sleep(0.01)
    assert waiting.cancel()
    assert waiting.cancelled()


@pytest.mark.parametrize("backend", ["process", "serial"])
def test_a_function_that_cannot_tell(backend: str, tmp_path: Path) -> None:
    """Its error, or a value that is none, ends the item."""
    f = parallel(backend=backend, retries=1, retry_on=OSError)(stamp)
    for number, (delay, error) in enumerate({broken: LookupError, negative: ValueError}.items()):
        item = (f"{tmp_path}/{number}", 2)
        found = f.with_options(retry_delay=delay).submit(item).exception()
        assert found is not None
        told = [str(found), type(found).__name__, *getattr(found, "__notes__", ())]
        assert isinstance(found, (OSError, error))
        assert any("LookupError" in t or "2" in t or "retry_delay" in t for t in told)


def test_values() -> None:
    """What is no number of seconds is refused."""
    for value in (-1, float("nan"), "soon", True):
        with pytest.raises(OptionError, match="retry_delay must be"):
            parallel(retry_delay=value)(stamp)  # type: ignore[arg-type]
