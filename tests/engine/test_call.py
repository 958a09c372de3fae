"""Single calls are counted: each draws numbers of its own from a seed, the same in every run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procession import Pool, background, current_task, isolated, parallel
from procession.pickling.pickler import dumps, loads
from procession.worker.seeding import seeded


def draw(*_: object) -> float:
    """A number from the seeded generator."""
    return random.random()


class Maker:
    """Whose method draws."""

    @parallel(seed=3, workers=2)
    def draw(self) -> float:
        """A number from the seeded generator."""
        return random.random()


def values() -> Iterator[float]:
    """Two numbers, one after another."""
    yield random.random()
    yield random.random()


async def awaited() -> float:
    """A number from the seeded generator."""
    return random.random()


def expected(*indexes: int, seed: int = 3) -> list[float]:
    """What items with these indexes draw."""
    drawn: list[float] = []
    for index in indexes:
        with seeded(seed, index):
            drawn.append(random.random())
    return drawn


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib", "thread", "serial"])
def test_single_calls_count_up(backend: Any) -> None:
    """The n-th call draws what item n draws, wherever it runs; copies count with their original."""
    work = parallel(workers=2, backend=backend, seed=3)(draw)
    futures = [work.submit() for _ in range(3)]
    futures.append(work.with_options(nested="error").submit())
    futures.append(work.submit())
    assert [future.result() for future in futures] == expected(0, 1, 2, 3, 4)
    assert work.map(range(2)) == expected(0, 1)  # a map counts its own items
    assert parallel(workers=2, backend=backend, seed=3)(draw).submit().result() == expected(0)[0]


def test_every_kind_of_single_call_counts() -> None:
    """Background and isolated calls, coroutines, generators and methods."""
    later, alone = background(workers=2, seed=3)(draw), isolated(seed=3)(draw)
    assert [later().result(), later().result()] == expected(0, 1)
    assert [alone(), alone(), alone.submit().result()] == expected(0, 1, 2)
    stream = isolated(seed=3)(values)
    assert [next(iter(stream())), next(iter(stream()))] == expected(0, 1)
    coroutine = isolated(seed=3)(awaited)
    assert [asyncio.run(_await(coroutine)) for _ in range(2)] == expected(0, 1)
    one, other = Maker(), Maker()
    start = Maker.draw.submit(one).result()
    assert [start, one.draw.submit().result(), other.draw.submit().result()] == expected(0, 1, 2)


async def _await(function: Callable[[], Any]) -> Any:
    return await function()


@pytest.mark.parametrize("backend", ["process", "thread"])
def test_a_pool_counts_its_calls(backend: Any) -> None:
    """Each pool counts its own, whatever it runs."""
    for _ in range(2):
        with Pool(2, backend=backend, seed=3) as pool:
            drawn = [pool.submit(draw), pool.submit(random.random)]
            assert [future.result() for future in drawn] == expected(0, 1)
            assert list(pool.map(draw, range(2))) == expected(2, 3)


def fail_once(path: Path) -> float:
    """Draw, and fail the first time."""
    drawn = random.random()
    if not path.exists():
        path.touch()
        raise OSError
    return drawn


@pytest.mark.parametrize("backend", ["process", "serial"])
def test_a_retry_keeps_its_number(backend: Any, tmp_path: Path) -> None:
    """The second attempt draws what the first one drew."""
    work = parallel(workers=1, backend=backend, seed=3, retries=2, retry_on=OSError)(fail_once)
    assert work.submit(tmp_path / "a").result() == expected(0)[0]
    assert work.submit(tmp_path / "a").result() == expected(1)[0]


inner = parallel(seed=5)(draw)


def nested(item: int) -> list[float]:
    """Two single calls inside an item."""
    return [inner.submit().result(), inner.submit().result()]


@pytest.mark.parametrize("inline", [True, False])
def test_calls_inside_an_item_do_not_depend_on_its_worker(inline: bool) -> None:
    """They count from 0 in each item, here or there, in any chunk."""
    work = parallel(workers=2, inline="auto" if inline else False, chunk=2)(nested)
    assert work.map(range(5)) == [expected(0, 1, seed=5)] * 5


def test_functions_of_the_global_generators_are_these() -> None:
    """``random.random`` draws from the worker's generator, not from a copy of the caller's."""
    numpy = pytest.importorskip("numpy")
    functions: list[Any] = [random.random, numpy.random.random]
    for function in functions:
        work = parallel(workers=1)(function)
        assert len({work.submit().result() for _ in range(4)}) == 4
        assert loads(dumps(function)).__self__ is function.__self__
    own = random.Random(5)
    assert loads(dumps(own)).random() == random.Random(5).random()


def index(_: object) -> int:
    """The index of this call."""
    task = current_task()
    return -1 if task is None else task.index


def test_the_number_is_the_index_of_the_task() -> None:
    """Without a seed as well, so that a call can seed a generator of its own."""
    work = parallel(workers=1)(index)
    assert [work.submit(0).result() for _ in range(3)] == [0, 1, 2]
