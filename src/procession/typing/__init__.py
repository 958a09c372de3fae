"""The types of decorated functions, for annotations.

    from procession.typing import ParallelMap

    def register(measure: ParallelMap[[Path], int]) -> None: ...

Each is written over the signature of the function inside, ``[parameters], result``. These are
protocols for type checkers; at run time every decorated function is a
`procession.function.Function`.

Every class has the same four ways to be bound, in this order: a classmethod (its first parameter
is a class), access through the class, a method (its first parameter is the instance), and else a
staticmethod.

Where type checkers see less than there is:

* They do not tell a decorator whether it decorates a method or a staticmethod. A staticmethod whose
  first parameter accepts the instance too (`object`, `Any`, a type variable) looks like a method
  when it is called through an instance; call it through its class.
* mypy does not carry a function's own type variables, or `Self`, through an object. A generic
  function's map verbs give `Any` there, and take any items; a generic method, or one that returns
  `Self`, is refused: name the class instead. Type variables of a generic class work. pyright has
  all of these.
* pyright compares a decorated method with the one that it overrides, or that a protocol asks for,
  as they stand in the class: with ``self``, which is another class in each. Annotate it,
  ``def read(self: Any, key: str) -> bytes``, in the base or protocol (decorated there, too) and in
  what overrides it; arguments and results stay exact. mypy needs nothing.
* ``starmap`` checks tuples of known length. For ``tuple[int, ...]`` (``product(xs, repeat=2)``)
  write ``product(xs, xs)``, or give lists, whose elements are not checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeVar, overload

from procession.typing.verb_types import Awaits, Core, Decorated, MapVerbs, Takes, Takes1

if TYPE_CHECKING:
    from procession.futures import Future
    from procession.typing.verb_types import Anything

__all__ = [
    "Background",
    "Core",
    "Decorated",
    "Isolated",
    "Parallel",
    "ParallelChunks",
    "ParallelMap",
]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
T = TypeVar("T")
V = TypeVar("V")


class Parallel(Decorated[P, R], Protocol[P, R]):
    """A function under `@procession.parallel`: a plain call runs here, as it always did."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here, in this process."""
        ...

    @overload
    def __get__(
        self: Takes1[type[S], Q, V], instance: Any, owner: type[S], /
    ) -> Parallel[Q, V]: ...

    @overload
    def __get__(self, instance: None, owner: Any, /) -> Self: ...

    @overload
    def __get__(self: Takes1[S, Q, V], instance: S, owner: Any, /) -> Parallel[Q, V]: ...

    @overload
    def __get__(self, instance: Any, owner: Any, /) -> Self: ...


class ParallelMap(Decorated[P, R], Protocol[P, R]):
    """A function under `@procession.parallel_map`: a plain call maps over its first argument."""

    @overload
    def __call__(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> list[V]:
        """Run the function on every item, in the pool; return the results in order."""
        ...

    @overload
    def __call__(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> list[Any]: ...

    @overload
    def __get__(
        self: Takes1[type[S], Q, V], instance: Any, owner: type[S], /
    ) -> ParallelMap[Q, V]: ...

    @overload
    def __get__(self, instance: None, owner: Any, /) -> Self: ...

    @overload
    def __get__(self: Takes1[S, Q, V], instance: S, owner: Any, /) -> ParallelMap[Q, V]: ...

    @overload
    def __get__(self, instance: Any, owner: Any, /) -> Self: ...


class ParallelChunks(Decorated[P, R], Protocol[P, R]):
    """A function under `@procession.parallel_chunks`: a plain call splits its first argument."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Split the first argument, run the pieces in the pool, and join them."""
        ...

    @overload
    def __get__(
        self: Takes1[type[S], Q, V], instance: Any, owner: type[S], /
    ) -> ParallelChunks[Q, V]: ...

    @overload
    def __get__(self, instance: None, owner: Any, /) -> Self: ...

    @overload
    def __get__(self: Takes1[S, Q, V], instance: S, owner: Any, /) -> ParallelChunks[Q, V]: ...

    @overload
    def __get__(self, instance: Any, owner: Any, /) -> Self: ...


class Background(Decorated[P, R], Protocol[P, R]):
    """A function under `@procession.background`: a plain call starts it and returns a future."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Start the call in the pool; return its future at once."""
        ...

    @overload
    def __get__(
        self: Takes1[type[S], Q, V], instance: Any, owner: type[S], /
    ) -> Background[Q, V]: ...

    @overload
    def __get__(self, instance: None, owner: Any, /) -> Self: ...

    @overload
    def __get__(self: Takes1[S, Q, V], instance: S, owner: Any, /) -> Background[Q, V]: ...

    @overload
    def __get__(self, instance: Any, owner: Any, /) -> Self: ...


class Isolated(MapVerbs[P, R_co], Protocol[P, R_co]):
    """A function under `@procession.isolated`: each plain call has a process of its own.

    Calling an ``async def`` function gives an awaitable, a generator function an iterator that
    streams its values; both as their own annotations say.
    """

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the call in a process of its own, used for this call alone."""
        ...

    @overload
    def __get__(
        self: Takes1[type[S], Q, V], instance: Any, owner: type[S], /
    ) -> Isolated[Q, V]: ...

    @overload
    def __get__(self, instance: None, owner: Any, /) -> Self: ...

    @overload
    def __get__(self: Takes1[S, Q, V], instance: S, owner: Any, /) -> Isolated[Q, V]: ...

    @overload
    def __get__(self, instance: Any, owner: Any, /) -> Self: ...

    @overload
    def submit(self: Takes[Q, Awaits[V]], /, *args: Q.args, **kwargs: Q.kwargs) -> Future[V]:
        """Start one call and return its future at once."""
        ...

    @overload
    def submit(self: Takes[Q, V], /, *args: Q.args, **kwargs: Q.kwargs) -> Future[V]: ...
