"""Objects whose own code gets in the way, and holders with unusual ways to be pickled."""

from __future__ import annotations

import collections
import sys
from collections.abc import Iterator
from typing import Any, NoReturn


class Attributes:
    """Has any attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class OfTuple(tuple[Any, ...]):
    """A tuple of a class of its own."""


class Tally(collections.Counter[Any]):
    """A counter of a class of its own."""


class Stack:
    """Reduces to items that are appended, and cannot be indexed."""

    def __init__(self, *values: Any) -> None:
        self._values = list(values)

    def append(self, value: Any) -> None:
        """Take one more."""
        self._values.append(value)

    def __reduce__(self) -> Any:
        return Stack, (), None, iter(self._values)


class Registry:
    """Reduces to pairs that are set, and cannot be indexed."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value

    def __reduce__(self) -> Any:
        return Registry, (), None, None, iter(self._values.items())


class StateOfReduce:
    """Reduces to a state that it does not hold."""

    def __init__(self, value: Any = None) -> None:
        self._value = [value]

    def __reduce__(self) -> Any:
        return StateOfReduce, (), {"other": self._value[0]}


def raise_value_error(*_: object) -> NoReturn:
    """Fail."""
    raise ValueError("boom")


class MadeByFunction:
    """Is made again by a function that fails."""

    def __reduce__(self) -> Any:
        return raise_value_error, (1,)


class Moody:
    """Loads only if it is in a good mood."""

    def __init__(self, good: bool) -> None:
        self.good = good

    def __getstate__(self) -> dict[str, bool]:
        return {"good": self.good}

    def __setstate__(self, state: dict[str, bool]) -> None:
        if not state["good"]:
            raise KeyError("bad mood")
        self.good = True


class Demanding:
    """Asks for an argument that pickle does not give."""

    def __new__(cls, value: Any) -> Demanding:
        """Make one."""
        return super().__new__(cls)


class Holder:
    """Is made again by its class, with what it holds as an argument."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Holder, (self.value,)


class ExitsWhenPickled:
    """Ends the program when it is pickled."""

    def __reduce__(self) -> NoReturn:
        sys.exit(4)


class ExitsWhenRebuilt:
    """Ends the program when it is rebuilt."""

    def __reduce__(self) -> Any:
        return sys.exit, (5,)


class SaysDict:
    """Says that it is a dictionary."""

    def _says(self) -> Any:
        return dict

    __class__: Any = property(_says)


class NoEquality(type):
    """A metaclass whose classes cannot be compared."""

    def __eq__(cls, other: object) -> NoReturn:
        raise TypeError("not comparable")

    def __hash__(cls) -> int:
        return 1


class Incomparable(metaclass=NoEquality):
    """Of a class that cannot be compared."""


class NothingWorks:
    """Every question about it raises, and still it can be pickled."""

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError

    def __hash__(self) -> NoReturn:
        raise TypeError

    def __bool__(self) -> NoReturn:
        raise TypeError

    def __len__(self) -> NoReturn:
        raise TypeError

    def __repr__(self) -> NoReturn:
        sys.exit(9)

    def __iter__(self) -> Iterator[Any]:
        raise TypeError

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


class TouchyError(Exception):
    """An exception that raises when it is asked for what it does not have."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


Misnamed = collections.namedtuple("OtherName", "a")  # type: ignore[name-match]
