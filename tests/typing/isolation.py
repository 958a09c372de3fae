# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: D101, D102, D103
"""Functions under `@isolated`: ordinary ones, coroutines and generators."""

import json
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, assert_type

from procession import Future, Outcome, isolated


@isolated(timeout=5)
def parse(text: str, depth: int = 0) -> list[int]:
    return []


@isolated
def loose(text: str) -> Any:
    return json.loads(text)


@isolated
async def fetch(url: str, retries: int = 0) -> bytes:
    return b""


@isolated(memory_limit="1GB")
def stream(count: int) -> Iterator[str]:
    yield ""


@isolated
def generate(count: int) -> Generator[str, None, int]:
    yield ""
    return count


class Client:
    @isolated
    async def fetch(self, url: str) -> bytes:
        return b""

    @isolated
    def lines(self, url: str) -> Iterator[str]:
        yield ""


def ordinary() -> None:
    assert_type(parse("a"), list[int])
    assert_type(parse.submit("a", 2), Future[list[int]])
    assert_type(parse.map(["a"], depth=2), list[list[int]])
    assert_type(parse.starmap([("a", 2)]), list[list[int]])
    assert_type(parse.starmap([["a", 2]]), list[list[int]])
    assert_type(parse.imap(["a"]), Iterator[list[int]])
    assert_type(parse.imap_unordered(["a"]), Iterator[list[int]])
    assert_type(parse.outcomes(["a"]), Iterator[Outcome[list[int]]])
    assert_type(parse.map_async(["a"]), Future[list[list[int]]])
    assert_type(parse.aimap(["a"]), AsyncIterator[list[int]])
    assert_type(loose("a"), Any)
    assert_type(loose.map(["a"]), list[Any])

    parse(3)  # type: ignore[arg-type]
    parse.map([3])  # type: ignore[list-item]
    parse.map(["a"], "b")  # type: ignore[arg-type]
    parse.submit(3)  # type: ignore[arg-type]
    parse.starmap([(3, 3)])  # type: ignore[list-item]
    loose.map([3])  # type: ignore[list-item]


async def coroutines() -> None:
    assert_type(await fetch("a"), bytes)
    assert_type(await fetch("a", retries=2), bytes)
    assert_type(await fetch.submit("a"), bytes)
    assert_type(fetch.map(["a"], 2), list[bytes])
    assert_type(fetch.starmap([("a", 2)]), list[bytes])
    assert_type(fetch.imap(["a"]), Iterator[bytes])
    assert_type(fetch.outcomes(["a"]), Iterator[Outcome[bytes]])
    assert_type(await fetch.map_async(["a"]), list[bytes])
    assert_type(await Client().fetch("a"), bytes)
    assert_type(Client().fetch.map(["a"]), list[bytes])
    async for body in fetch.aimap(["a"]):
        assert_type(body, bytes)

    await fetch(3)  # type: ignore[arg-type]
    fetch.map([3])  # type: ignore[list-item]
    await Client().fetch(3)  # type: ignore[arg-type]


def generators() -> None:
    for line in stream(3):
        assert_type(line, str)
    assert_type(list(generate(3)), list[str])
    assert_type(list(Client().lines("a")), list[str])
    generate(3).close()

    stream("a")  # type: ignore[arg-type]
