"""Iterators of a map that are closed: they give nothing more, wherever the items run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from procession import parallel

PLACES: dict[str, dict[str, Any]] = {
    "auto": {},
    "process": {"inline": False},
    "loky": {"backend": "loky"},
    "thread": {"backend": "thread"},
    "serial": {"backend": "serial"},
}


@parallel(workers=2)
def plain(x: int) -> int:
    """The plainest function."""
    return x


@pytest.mark.parametrize("verb", ["imap", "imap_unordered", "outcomes"])
@pytest.mark.parametrize("place", PLACES)
def test_what_was_not_read_is_lost(place: str, verb: str) -> None:
    """Also what is there already, in one batch with a value that was read."""
    function: Any = plain.with_options(**PLACES[place])
    function.map(range(100))  # the pool is up
    for read in (0, 1, 3):
        results = getattr(function, verb)(range(1000))
        for _ in range(read):
            next(results)
        results.close()
        assert list(results) == []
    with function.imap(range(1000)) as results:
        next(results)
    assert list(results) == []


@pytest.mark.parametrize("place", PLACES)
def test_in_a_coroutine(place: str) -> None:
    """The same holds for `aclose`, also before the first result was asked for."""
    function: Any = plain.with_options(**PLACES[place])

    async def main() -> list[int]:
        left: list[int] = []
        for read in (0, 1, 3):
            results = function.aimap(range(1000))
            for _ in range(read):
                await anext(results)
            await results.aclose()
            left += [each async for each in results]
        return left

    assert asyncio.run(main()) == []
