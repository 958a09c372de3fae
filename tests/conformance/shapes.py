"""Every kind of function that can be decorated, in classes and modules that try to confuse."""

from __future__ import annotations

import os
from dataclasses import dataclass

from procession import background, isolated, parallel, parallel_chunks, parallel_map


class Base:
    """Methods of all kinds, some of them overridden below."""

    kind = "base"

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @parallel
    def times(self, x: int) -> int:
        """An ordinary method."""
        return self.factor * x

    @parallel_map
    def each(self, x: int) -> int:
        """A method that maps when it is called."""
        return self.factor + x

    @parallel_chunks
    def scaled(self, numbers: list[int]) -> list[int]:
        """A method of a whole list."""
        return [self.factor * number for number in numbers]

    @background
    def later(self, x: int) -> int:
        """A method that starts in the background when it is called."""
        return self.factor - x

    @isolated
    def alone(self, x: int) -> tuple[int, int]:
        """A method with a process of its own."""
        return self.factor * x, os.getpid()

    @parallel
    @classmethod
    def tagged(cls, x: int) -> str:
        """A classmethod."""
        return f"{cls.kind} {x}"

    @parallel
    @staticmethod
    def plain(x: int) -> str:
        """A staticmethod."""
        return f"static {x}"

    @parallel
    def overridden(self, x: int) -> str:
        """A method that a subclass has, too."""
        return f"base {x}"

    @parallel
    def __call__(self, x: int) -> int:
        """Instances that are called."""
        return self.factor * x + 1

    class Inner:
        """A class inside a class."""

        @parallel
        def times(self, x: int) -> int:
            """A method of the same name as the outer class's."""
            return 1000 * x


class Derived(Base):
    """Inherits some methods and overrides others."""

    kind = "derived"

    @parallel
    def overridden(self, x: int) -> str:
        """Calls the one it overrides."""
        return f"derived of {super().overridden(x)}"


class Other:
    """A class that has nothing to do with `Base` but a method's name."""

    @parallel
    def times(self, x: int) -> int:
        """A method of the same name."""
        return -x


@dataclass(frozen=True)
class Point:
    """A frozen data class with a method."""

    x: int

    @parallel
    def plus(self, y: int) -> int:
        """A method of a frozen instance."""
        return self.x + y


class Slotted:
    """A class without a `__dict__`."""

    __slots__ = ("x",)

    def __init__(self, x: int) -> None:
        self.x = x

    @parallel
    def plus(self, y: int) -> int:
        """A method of an instance with slots."""
        return self.x + y


def undecorated(x: int) -> int:
    """Stays as it is under its own name."""
    return x + 100


decorated_beside = parallel(workers=2)(undecorated)


@parallel
def factorial(x: int) -> int:
    """Calls itself by its decorated name."""
    return 1 if x <= 1 else x * factorial(x - 1)


@parallel
def maps_inside(x: int) -> list[int]:
    """Makes a decorated call inside a worker."""
    return factorial.map(range(x))


@parallel
def applies(function: object, x: int) -> object:
    """Takes a decorated function as its argument."""
    assert callable(function)
    return function(x)
