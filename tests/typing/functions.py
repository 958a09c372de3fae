# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: D103
"""Verbs and plain calls of decorated functions."""

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, assert_type

from procession import Future, Options, Outcome, background, parallel, parallel_chunks, parallel_map
from procession.typing import Background, Parallel, ParallelChunks, ParallelMap


@parallel
def measure(path: Path, depth: int = 1, *, scale: float = 1.0) -> bytes:
    return b""


@parallel_map
def mapped(path: Path, depth: int = 1, *, scale: float = 1.0) -> bytes:
    return b""


@parallel_chunks
def squares(numbers: list[int], offset: int = 0) -> list[float]:
    return [number * 2.0 + offset for number in numbers]


@background
def render(scene: str, width: int = 80) -> bytes:
    return b""


@parallel
def pair(number: int, word: str, *, scale: float = 1.0) -> bytes:
    return b""


@parallel
def quad(a: int, b: str, c: bytes, d: float) -> Path:
    return Path()


@parallel
def many(a: int, b: str, c: bytes, d: float, e: complex, f: bool) -> Path:
    return Path()


@parallel_map
def tokens(record: dict[str, Any]) -> dict[str, Any]:
    return record


@parallel_map
def total(*numbers: int) -> int:
    return sum(numbers)


@parallel_map
def keywords(item: int, **settings: str) -> int:
    return item


@parallel
def owned(item: int, self: int = 1) -> int:
    return item


@parallel
def nothing() -> int:
    return 0


paths = [Path("a"), Path("b")]


def types_of_decorated_functions() -> None:
    assert_type(measure.local(Path()), bytes)
    assert_type(measure.local(Path(), 2, scale=2.0), bytes)
    assert_type(measure.options, Options)
    assert_type(measure.__name__, str)
    assert_type(measure.__wrapped__(Path()), bytes)
    plain: Callable[[Path], bytes] = measure
    keeping: Parallel[[int, str], str] = parallel(lambda number, word: word * number)
    mapping: ParallelMap[[int], str] = parallel_map(str_of)
    chunking: ParallelChunks[[list[int]], list[float]] = parallel_chunks(plain_squares)
    starting: Background[[int], str] = background(str_of)
    assert_type(plain(Path()), bytes)
    assert_type(keeping(1, "a"), str)
    assert_type(mapping([1]), list[str])
    assert_type(chunking([1]), list[float])
    assert_type(starting(1), Future[str])


def str_of(number: int) -> str:
    return str(number)


def plain_squares(numbers: list[int]) -> list[float]:
    return [number * 2.0 for number in numbers]


def plain_calls() -> None:
    assert_type(measure(Path(), 2), bytes)
    assert_type(mapped(paths), list[bytes])
    assert_type(mapped(iter(paths), 2), list[bytes])
    assert_type(mapped({Path()}, depth=2, scale=0.5), list[bytes])
    assert_type(squares([1, 2], offset=1), list[float])
    assert_type(render("a"), Future[bytes])
    assert_type(render("a", width=3).result(), bytes)
    assert_type(tokens([{"a": 1}]), list[dict[str, Any]])
    assert_type(total([1, 2]), list[int])
    assert_type(keywords([1], colour="red"), list[int])
    assert_type(nothing(), int)
    assert_type(owned(1, self=2), int)
    assert_type(owned.submit(1, self=2), Future[int])
    assert_type(owned.map([1], self=2), list[int])

    measure("a")  # type: ignore[arg-type]
    measure(Path(), scale="a")  # type: ignore[arg-type]
    mapped(["a"])  # type: ignore[list-item]
    mapped(Path())  # type: ignore[arg-type]
    mapped(paths, "deep")  # type: ignore[arg-type]
    mapped(paths, scale="a")  # type: ignore[arg-type]
    mapped(paths, deep=1)  # type: ignore[call-arg]
    squares(["a"])  # type: ignore[list-item]
    render(3)  # type: ignore[arg-type]
    keywords([1], colour=3)  # type: ignore[arg-type]
    nothing(3)  # type: ignore[call-arg]


def verbs_over_items() -> None:
    assert_type(measure.map(paths), list[bytes])
    assert_type(mapped.map(paths, 2, scale=0.5), list[bytes])
    assert_type(squares.map([[1], [2]]), list[list[float]])
    assert_type(render.map("abc"), list[bytes])
    assert_type(measure.imap(paths), Iterator[bytes])
    assert_type(measure.imap(paths, 2), Iterator[bytes])
    assert_type(measure.imap_unordered(paths, depth=2), Iterator[bytes])
    assert_type(measure.outcomes(paths), Iterator[Outcome[bytes]])
    assert_type([outcome.value for outcome in measure.outcomes(paths)], list[bytes])
    assert_type(measure.map_async(paths), Future[list[bytes]])
    assert_type(measure.aimap(paths), AsyncIterator[bytes])
    assert_type(pair.map([1], "a", scale=2.0), list[bytes])
    assert_type(pair.map(range(3), "a"), list[bytes])
    assert_type(total.map([1], 2, 3), list[int])

    measure.map(["a"])  # type: ignore[list-item]
    measure.map(Path())  # type: ignore[arg-type]
    measure.map(paths, "deep")  # type: ignore[arg-type]
    measure.map(paths, deep=1)  # type: ignore[call-arg]
    measure.map()  # type: ignore[call-arg]
    measure.imap(["a"])  # type: ignore[list-item]
    measure.imap(paths, "deep")  # type: ignore[arg-type]
    measure.imap_unordered(["a"])  # type: ignore[list-item]
    measure.outcomes(["a"])  # type: ignore[list-item]
    measure.map_async(["a"])  # type: ignore[list-item]
    measure.aimap(["a"])  # type: ignore[list-item]
    pair.map([1])  # type: ignore[call-arg]
    pair.map([1], 2)  # type: ignore[arg-type]
    nothing.map([1])  # type: ignore[misc]
    squares.map([1])  # type: ignore[list-item]
    squares.map([["a"]])  # type: ignore[list-item]


def verbs_over_argument_tuples() -> None:
    assert_type(pair.starmap([(1, "a"), (2, "b")]), list[bytes])
    assert_type(pair.starmap(zip([1, 2], "ab", strict=True)), list[bytes])
    assert_type(pair.starmap(product([1, 2], "ab")), list[bytes])
    assert_type(pair.starmap(enumerate("ab"), scale=2.0), list[bytes])
    assert_type(pair.starmap([(1,)], "a"), list[bytes])
    assert_type(pair.starmap([[1, "a"]]), list[bytes])
    assert_type(measure.starmap([(Path(),)]), list[bytes])
    assert_type(measure.starmap([(Path(), 2)]), list[bytes])
    assert_type(quad.starmap([(1, "a", b"", 0.5)]), list[Path])
    assert_type(many.starmap([(1, "a", b"", 0.5, 1j, True)]), list[Path])
    assert_type(total.starmap([(1, 2, 3)]), list[int])

    pair.starmap([("a", 1)])  # type: ignore[list-item]
    pair.starmap([(1,)])  # type: ignore[list-item]
    pair.starmap([(1, "a", 3)])  # type: ignore[list-item]
    pair.starmap([(1, "a")], scale="a")  # type: ignore[list-item]
    pair.starmap(zip("ab", "ab", strict=True))  # type: ignore[arg-type]
    quad.starmap([(1, "a", b"", "b")])  # type: ignore[list-item]
    many.starmap([(1, "a", b"", 0.5, "a", True)])  # type: ignore[list-item]
    total.starmap([(1, "a")])  # type: ignore[list-item]


def single_calls() -> None:
    assert_type(measure.submit(Path()), Future[bytes])
    assert_type(mapped.submit(Path(), 2, scale=0.5), Future[bytes])
    assert_type(squares.submit([1]), Future[list[float]])
    assert_type(render.submit("a"), Future[bytes])
    assert_type(mapped.submit(Path()).result(timeout=1.0), bytes)

    mapped.submit(paths)  # type: ignore[arg-type]
    measure.submit(Path(), "deep")  # type: ignore[arg-type]
    measure.submit()  # type: ignore[call-arg]


async def in_coroutines() -> None:
    assert_type(await measure.submit(Path()), bytes)
    assert_type(await render("a"), bytes)
    assert_type(await measure.map_async(paths), list[bytes])
    async for size in measure.aimap(paths):
        assert_type(size, bytes)
