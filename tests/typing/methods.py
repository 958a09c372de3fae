# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: D101, D102, D103
"""Decorated methods, classmethods and staticmethods, through instances, classes and subclasses."""

from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar, assert_type

from procession import (
    Future,
    Outcome,
    background,
    isolated,
    parallel,
    parallel_chunks,
    parallel_map,
)

T = TypeVar("T")


class Store:
    @parallel
    def read(self, key: str, size: int = 0) -> bytes:
        assert_type(self.read(key), bytes)
        assert_type(self.read.map([key], size), list[bytes])
        return b""

    @parallel_map(workers=2)
    def load(self, key: str, size: int = 0) -> bytes:
        assert_type(self.load([key]), list[bytes])
        return b""

    @parallel_chunks
    def sizes(self, keys: list[str]) -> list[int]:
        return []

    @background
    def save(self, key: str) -> int:
        return 0

    @isolated
    def check(self, key: str) -> int:
        return 0

    @parallel_map
    @classmethod
    def named(cls, name: str, size: int = 0) -> int:
        assert_type(cls.named([name]), list[int])
        return 0

    @parallel(workers=2)
    @classmethod
    def opened(cls, name: str) -> "Store":
        return cls()

    @isolated
    @classmethod
    def probed(cls, name: str) -> int:
        return 0

    @parallel_map
    @staticmethod
    def hashed(key: str, size: int = 0) -> int:
        return 0

    @background(workers=2)
    @staticmethod
    def packed(key: str) -> bytes:
        return b""

    @parallel
    @staticmethod
    def counted() -> int:
        return 0


class Archive(Store):
    def all(self) -> None:
        assert_type(super().read("a"), bytes)
        assert_type(super().load(["a"]), list[bytes])
        assert_type(self.load.map(["a"]), list[bytes])
        assert_type(self.named(["a"]), list[int])
        assert_type(self.hashed.map(["a"]), list[int])


store, archive = Store(), Archive()


def methods() -> None:
    assert_type(store.read("a"), bytes)
    assert_type(store.read.local("a", 3), bytes)
    assert_type(store.read.map(["a"], 3), list[bytes])
    assert_type(store.load(["a"], size=3), list[bytes])
    assert_type(store.load.map(["a"]), list[bytes])
    assert_type(store.load.imap(["a"]), Iterator[bytes])
    assert_type(store.load.imap_unordered(["a"]), Iterator[bytes])
    assert_type(store.load.outcomes(["a"]), Iterator[Outcome[bytes]])
    assert_type(store.load.map_async(["a"]), Future[list[bytes]])
    assert_type(store.load.aimap(["a"]), AsyncIterator[bytes])
    assert_type(store.load.submit("a", 3), Future[bytes])
    assert_type(store.load.starmap([("a", 3)]), list[bytes])
    assert_type(store.load.with_options(workers=2)(["a"]), list[bytes])
    assert_type(store.sizes(["a"]), list[int])
    assert_type(store.save("a"), Future[int])
    assert_type(store.check("a"), int)
    assert_type(store.check.map(["a"]), list[int])
    assert_type(archive.load(["a"]), list[bytes])
    assert_type(archive.check("a"), int)

    store.read(3)  # type: ignore[arg-type]
    store.read.map([3])  # type: ignore[list-item]
    store.read.map(["a"], "b")  # type: ignore[arg-type]
    store.load([3])  # type: ignore[list-item]
    store.load(["a"], "b")  # type: ignore[arg-type]
    store.load.submit(3)  # type: ignore[arg-type]
    store.load.starmap([(3, "a")])  # type: ignore[list-item]
    store.sizes([3])  # type: ignore[list-item]
    store.save(3)  # type: ignore[arg-type]
    store.check.map([3])  # type: ignore[list-item]
    archive.load([3])  # type: ignore[list-item]


def methods_through_the_class() -> None:
    assert_type(Store.read(store, "a"), bytes)
    assert_type(Store.read.map([store], "a"), list[bytes])
    assert_type(Store.load([store, archive], "a"), list[bytes])
    assert_type(Store.load.starmap([(store, "a")]), list[bytes])

    Store.read("a")  # type: ignore[arg-type, call-arg]
    Store.load(["a"], "a")  # type: ignore[list-item]


def classmethods() -> None:
    assert_type(Store.named(["a"]), list[int])
    assert_type(Store.named(["a"], size=3), list[int])
    assert_type(Store.named.map(["a"], 3), list[int])
    assert_type(Store.named.imap(["a"]), Iterator[int])
    assert_type(Store.named.submit("a"), Future[int])
    assert_type(Store.named.starmap([("a", 3)]), list[int])
    assert_type(store.named(["a"]), list[int])
    assert_type(store.named.map(["a"]), list[int])
    assert_type(Archive.named(["a"]), list[int])
    assert_type(archive.named.outcomes(["a"]), Iterator[Outcome[int]])
    assert_type(Store.opened("a"), Store)
    assert_type(Store.opened.map(["a"]), list[Store])
    assert_type(Store.probed("a"), int)
    assert_type(Store.probed.map(["a"]), list[int])

    Store.named([3])  # type: ignore[list-item]
    Store.named.map([3])  # type: ignore[list-item]
    Store.named(["a"], "b")  # type: ignore[arg-type]
    store.named([3])  # type: ignore[list-item]
    Archive.named.submit(3)  # type: ignore[arg-type]
    Store.opened(3)  # type: ignore[arg-type]
    Store.probed.map([3])  # type: ignore[list-item]


def staticmethods() -> None:
    assert_type(Store.hashed(["a"]), list[int])
    assert_type(Store.hashed.map(["a"], 3), list[int])
    assert_type(Store.hashed.submit("a"), Future[int])
    assert_type(store.hashed(["a"], size=3), list[int])
    assert_type(store.hashed.map(["a"]), list[int])
    assert_type(archive.hashed.imap(["a"]), Iterator[int])
    assert_type(Store.packed("a"), Future[bytes])
    assert_type(store.packed("a"), Future[bytes])
    assert_type(Store.counted(), int)
    assert_type(store.counted.submit(), Future[int])

    Store.hashed([3])  # type: ignore[list-item]
    store.hashed([3])  # type: ignore[list-item]
    store.hashed.map([3])  # type: ignore[list-item]
    store.hashed(["a"], "b")  # type: ignore[arg-type]
    store.packed(3)  # type: ignore[arg-type]


class Box(Generic[T]):
    @parallel_map
    def put(self, item: T, times: int = 1) -> list[T]:
        assert_type(self.put([item]), list[list[T]])
        return [item]


class Numbers(Box[int]):
    pass


def generic_classes(box: Box[str], numbers: Numbers) -> None:
    assert_type(box.put(["a"]), list[list[str]])
    assert_type(box.put.map(["a"], 2), list[list[str]])
    assert_type(numbers.put([1]), list[list[int]])
    assert_type(numbers.put.submit(1), Future[list[int]])

    box.put([1])  # type: ignore[list-item]
    numbers.put.map(["a"])  # type: ignore[list-item]
