"""Classes and functions that can be imported, for the tests of what crosses."""

from __future__ import annotations

import collections
import dataclasses
import enum
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple


class Box:
    """Holds anything in an attribute."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = object.__hash__

    def method(self) -> Any:
        """A bound method to send."""
        return self.value

    def __private(self) -> str:
        return "private"

    def private(self) -> Callable[[], str]:
        """A bound method whose name does not lead to it."""
        return self.__private


class Store:
    """Holds a cache."""

    def __init__(self, culprit: Any) -> None:
        self._cache = {"lru": [1, 2, culprit]}


class Job:
    """The job of the documentation's example."""

    def __init__(self, culprit: Any) -> None:
        self.store = Store(culprit)


@dataclasses.dataclass
class Record:
    """A dataclass."""

    name: str
    payload: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    """A frozen dataclass with slots."""

    payload: Any


class Slotted:
    """Has slots and no dictionary."""

    __slots__ = ("left", "right")

    def __init__(self, left: Any, right: Any) -> None:
        self.left = left
        self.right = right


class Pair(NamedTuple):
    """A named tuple."""

    first: Any
    second: Any


class Colour(enum.Enum):
    """An enumeration."""

    RED = 1
    BLUE = 2


class Named(list[Any]):
    """A list with attributes."""


class Keyed(dict[Any, Any]):
    """A dictionary with attributes."""


class Grouped(set[Any]):
    """A set with attributes."""


class WithState:
    """Says itself what its state is."""

    def __init__(self, culprit: Any) -> None:
        self.culprit = culprit

    def __getstate__(self) -> dict[str, Any]:
        return {"handle": [self.culprit]}


class WithReduce:
    """Says itself how it is made."""

    def __init__(self, culprit: Any) -> None:
        self.inner = culprit

    def __reduce__(self) -> Any:
        return WithReduce, ([self.inner],)


class LeavesOut:
    """Holds a lock, and leaves it out."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"value": self.value}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class PicklableQueue(queue.Queue[Any]):
    """A queue that knows how to travel."""

    def __reduce__(self) -> Any:
        return PicklableQueue, (self.maxsize,)


class MyThread(threading.Thread):
    """A subclass of something refused."""


class MyEvent(threading.Event):
    """Another one."""


class RaisesInReduce:
    """Its ``__reduce__`` raises."""

    def __reduce__(self) -> Any:
        raise ValueError("not today")


class RaisesInGetstate:
    """Its ``__getstate__`` raises."""

    def __getstate__(self) -> Any:
        raise KeyError("missing")


class ReducesToNumber:
    """Its ``__reduce__`` returns nonsense."""

    def __reduce__(self) -> Any:
        return 5


class ReducesToWrongName:
    """Its ``__reduce__`` gives the name of something else."""

    def __reduce__(self) -> str:
        return "Box"


class Unfolds:
    """Its ``__reduce__`` never ends."""

    def __reduce__(self) -> Any:
        return list, ([Unfolds()],)


class FailsThere:
    """Its pickle is fine, and cannot be loaded."""

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("cannot be rebuilt")

    def __getstate__(self) -> int:
        return 1


class Connection:
    """Looks like a connection of PEP 249, in pure Python."""

    def cursor(self) -> None:
        """Do nothing."""

    def commit(self) -> None:
        """Do nothing."""

    def rollback(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class FakeCursor:
    """Looks like a cursor of PEP 249, in pure Python."""

    def execute(self) -> None:
        """Do nothing."""

    def executemany(self) -> None:
        """Do nothing."""

    def fetchone(self) -> None:
        """Do nothing."""

    def fetchmany(self) -> None:
        """Do nothing."""

    def fetchall(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class TwoArguments(Exception):
    """An exception that cannot be made from its args."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


class KeywordOnly(Exception):
    """An exception with a keyword-only argument and a slot."""

    __slots__ = ("slot",)

    def __init__(self, *, reason: str) -> None:
        super().__init__(reason)
        self.slot = reason


class HoldsLock(Exception):
    """An exception with an attribute that cannot be sent."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.kept = [1, 2]


class LyingError(Exception):
    """An exception whose ``__reduce__`` makes something else."""

    def __reduce__(self) -> Any:
        return int, ("5",)


class RefusesToLoad(Exception):
    """An exception that cannot be rebuilt by its own ``__setstate__``."""

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("no")


class OddOSError(OSError):
    """An OSError with a constructor of its own."""

    def __init__(self, path: str, *, attempt: int) -> None:
        super().__init__(2, "nothing there", path)
        self.attempt = attempt


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """An exception that nothing can be set on."""

    code: int


class Group(ExceptionGroup[Exception]):
    """A group of its own type."""


def double(number: int) -> int:
    """A module-level function."""
    return 2 * number


def fail(number: int) -> float:
    """Raises ZeroDivisionError on a line of its own."""
    return number / 0


class Maker:
    """Functions of every kind."""

    factor = 3

    def scale(self, number: int) -> int:
        """A method."""
        return self.factor * number

    @classmethod
    def make(cls) -> Maker:
        """A classmethod."""
        return cls()

    @staticmethod
    def triple(number: int) -> int:
        """A staticmethod."""
        return 3 * number

    class Inner:
        """Holds a method of the same name as the outer class."""

        def scale(self, number: int) -> int:
            """Another method."""
            return 100 * number


def closure(value: Any) -> Callable[[], Any]:
    """A function that closes over `value`."""

    def inner() -> Any:
        return value

    return inner


def defaulting(value: Any) -> Callable[..., Any]:
    """A local function with `value` as a default."""

    def inner(number: int, thing: Any = value, *, other: Any = value) -> Any:
        return thing

    return inner


def local_object() -> Any:
    """An object of a class that is defined in a function."""

    class Local:
        pass

    return Local()


Dynamic = collections.namedtuple("Elsewhere", "a b")  # type: ignore[name-match]
