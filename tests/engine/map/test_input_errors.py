"""Input that raises, whatever it raises: what was computed before is given, then that, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procession import parallel, parallel_map


@parallel(workers=2)
def plain(x: int) -> int:
    """The plainest function."""
    return x


@parallel_map(workers=2)
def mapped(x: int) -> int:
    """The plainest function, mapped by a plain call."""
    return x


class Bare(BaseException):
    """An exception that is no `Exception`."""


ERRORS: list[type[BaseException]] = [
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    pytest.fail.Exception,
    Bare,
    LookupError,
]


def rows(error: type[BaseException]) -> Iterator[int]:
    """Five items, and the error."""
    yield from range(5)
    raise error("broken")


PLACES: dict[str, dict[str, Any]] = {
    "auto": {},
    "process": {"inline": False},
    "loky": {"backend": "loky"},
    "stdlib": {"backend": "stdlib"},
    "thread": {"backend": "thread"},
    "serial": {"backend": "serial"},
    "inline": {"inline": True},
}
LISTS: dict[str, Callable[[Any, Any], Any]] = {
    "map": lambda f, items: f.map(items),
    "starmap": lambda f, items: f.starmap((item,) for item in items),
    "map_async": lambda f, items: f.map_async(items).result(60),
}
LAZY = ["imap", "imap_unordered", "outcomes"]


def at(place: str, **more: Any) -> Any:
    """The function at a place."""
    return plain.with_options(**PLACES[place], **more)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", LISTS)
def test_a_list_is_never_short(verb: str, place: str) -> None:
    """`map` and its like raise what the input raised."""
    for window in ({}, {"window": 1}):
        for error in ERRORS:
            with pytest.raises(error, match="broken"):
                LISTS[verb](at(place, **window), rows(error))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_a_plain_call(error: type[BaseException]) -> None:
    """A plain call of a `parallel_map` function does, too."""
    with pytest.raises(error, match="broken"):
        mapped(rows(error))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", LAZY)
def test_results_come_before_the_error(verb: str, place: str) -> None:
    """All five results, then the error, and then the iterator is at its end."""
    for window in ({}, {"window": 1}):
        for error in ERRORS:
            results = getattr(at(place, **window), verb)(rows(error))
            seen: list[Any] = []
            with pytest.raises(error, match="broken"):
                seen.extend(each.value if verb == "outcomes" else each for each in results)
            assert sorted(seen) == [0, 1, 2, 3, 4]
            assert list(results) == []


@pytest.mark.parametrize("error", ERRORS[-2:], ids=lambda error: error.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_in_a_coroutine(place: str, error: type[BaseException]) -> None:
    """`aimap` gives the results first, as well."""

    async def consume() -> list[int]:
        seen: list[int] = []
        with pytest.raises(error, match="broken"):
            async for each in at(place).aimap(rows(error)):
                seen += [each]
        return seen

    assert asyncio.run(consume()) == [0, 1, 2, 3, 4]


class Refuses:
    """Raises when it is iterated over at all."""

    def __iter__(self) -> Iterator[int]:
        raise SystemExit("no input")


@pytest.mark.parametrize("verb", [*LISTS, *LAZY])
def test_input_that_cannot_be_begun(verb: str) -> None:
    """What `iter` of the input raises is raised, too; `map_async` has it in its future."""
    call = LISTS.get(verb) or (lambda f, items: list(getattr(f, verb)(items)))
    for place in ("process", "serial"):
        with pytest.raises(SystemExit, match="no input"):
            call(at(place), Refuses()) if verb != "starmap" else at(place).starmap(Refuses())


class Stops:
    """Raises the end of an asynchronous loop when it is iterated over at all."""

    def __iter__(self) -> Iterator[int]:
        raise StopAsyncIteration("no input")


@pytest.mark.parametrize("items", [rows(StopAsyncIteration), Stops()])
def test_what_would_end_the_loop(items: Any) -> None:
    """`aimap` raises an error if its input raises the end of an asynchronous loop."""

    async def consume() -> None:
        async for _ in plain.aimap(items):
            pass

    with pytest.raises(
        RuntimeError, match=r"the input of aimap\(\) raised StopAsyncIteration"
    ) as got:
        asyncio.run(consume())
    assert isinstance(got.value.__cause__, StopAsyncIteration)
