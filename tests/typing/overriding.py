# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: D101, D102, D103
"""Decorated methods that are overridden, abstract, or asked for by a protocol.

pyright compares attributes as they stand in the class, ``self`` included, which differs there.
``self: Any`` makes them alike; what the verbs take and give stays exact.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol, assert_type

from procession import Future, background, isolated, parallel, parallel_chunks, parallel_map


class Store(ABC):
    @parallel
    def read(self: Any, key: str) -> bytes:
        return b""

    @parallel_map
    def load(self: Any, key: str, size: int = 0) -> bytes:
        return b""

    @parallel_chunks
    def sizes(self: Any, keys: list[str]) -> list[int]:
        return []

    @background
    def save(self: Any, key: str) -> int:
        return 0

    @isolated
    @abstractmethod
    def check(self: Any, key: str) -> int: ...


class Archive(Store):
    @parallel
    def read(self: Any, key: str) -> bytes:
        return b""

    @parallel_map
    def load(self: Any, key: str, size: int = 0) -> bytes:
        return b""

    @parallel_chunks
    def sizes(self: Any, keys: list[str]) -> list[int]:
        return []

    @background
    def save(self: Any, key: str) -> int:
        return 0

    @isolated
    def check(self: Any, key: str) -> int:
        return 0


class Reader(Protocol):
    @parallel
    def read(self: Any, key: str) -> bytes: ...


class Wrong(Archive):
    @parallel
    def read(self: Any, key: int) -> bytes:  # type: ignore[override]
        return b""


def first(reader: Reader) -> list[bytes]:
    assert_type(reader.read("a"), bytes)
    return reader.read.map(["a"])


def overridden(archive: Archive) -> None:
    assert_type(archive.read("a"), bytes)
    assert_type(archive.read.map(["a"]), list[bytes])
    assert_type(archive.load(["a"], size=2), list[bytes])
    assert_type(archive.sizes(["a"]), list[int])
    assert_type(archive.save("a"), Future[int])
    assert_type(archive.check.map(["a"]), list[int])
    assert_type(first(archive), list[bytes])

    archive.read(3)  # type: ignore[arg-type]
    archive.read.map([3])  # type: ignore[list-item]
    archive.check(3)  # type: ignore[arg-type]
    first(3)  # type: ignore[arg-type]
