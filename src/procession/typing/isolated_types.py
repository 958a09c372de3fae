"""How a type checker sees a function under `@procession.isolated`.

Its verbs are those of every decorated function, with one more step: each call of an ``async def``
function runs to its end in the other process, so a verb gives what awaiting it would give. That is
the first overload of each; the second is for ordinary functions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeAlias, TypeVar, overload

from procession.typing.verb_types import Core, Takes, Takes1, Takes2, Takes3, Takes4, Takes5

if TYPE_CHECKING:
    from procession.futures import Future
    from procession.outcome import Outcome
    from procession.typing.verb_types import Anything

__all__ = ["Isolated"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
T = TypeVar("T")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
V = TypeVar("V")

Awaits: TypeAlias = Coroutine[Any, Any, V]
"""What calling an ``async def`` function gives."""


class Isolated(Core[P, R_co], Protocol[P, R_co]):
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

    @overload
    def map(
        self: Takes1[T, Q, Awaits[V]], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> list[V]:
        """Run the function on every item; return the results in order."""
        ...

    @overload
    def map(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> list[V]: ...

    @overload
    def map(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> list[Any]: ...

    @overload
    def starmap(
        self: Takes1[T, Q, Awaits[V]],
        argtuples: Iterable[tuple[T]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[V]:
        """Run the function on every tuple of arguments; return the results in order."""
        ...

    @overload
    def starmap(
        self: Takes[..., Awaits[V]], argtuples: Iterable[list[Any]], /, *args: Any, **kwargs: Any
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes2[T, T2, Q, Awaits[V]],
        argtuples: Iterable[tuple[T, T2]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes3[T, T2, T3, Q, Awaits[V]],
        argtuples: Iterable[tuple[T, T2, T3]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes4[T, T2, T3, T4, Q, Awaits[V]],
        argtuples: Iterable[tuple[T, T2, T3, T4]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes5[T, T2, T3, T4, T5, Awaits[V]],
        argtuples: Iterable[tuple[T, T2, T3, T4, T5, *tuple[Any, ...]]],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes1[T, Q, V], argtuples: Iterable[tuple[T]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes[..., V], argtuples: Iterable[list[Any]], /, *args: Any, **kwargs: Any
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes2[T, T2, Q, V],
        argtuples: Iterable[tuple[T, T2]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes3[T, T2, T3, Q, V],
        argtuples: Iterable[tuple[T, T2, T3]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes4[T, T2, T3, T4, Q, V],
        argtuples: Iterable[tuple[T, T2, T3, T4]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes5[T, T2, T3, T4, T5, V],
        argtuples: Iterable[tuple[T, T2, T3, T4, T5, *tuple[Any, ...]]],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> list[V]: ...

    @overload
    def starmap(
        self: Takes1[Anything, Q, Any],
        argtuples: Iterable[tuple[Any, ...]],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> list[Any]: ...

    @overload
    def imap(
        self: Takes1[T, Q, Awaits[V]], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[V]:
        """Like `map`, lazily: results in order, each as soon as it is there."""
        ...

    @overload
    def imap(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[V]: ...

    @overload
    def imap(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[Any]: ...

    @overload
    def imap_unordered(
        self: Takes1[T, Q, Awaits[V]], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[V]:
        """Like `imap`, but the results come as they finish."""
        ...

    @overload
    def imap_unordered(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[V]: ...

    @overload
    def imap_unordered(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[Any]: ...

    @overload
    def outcomes(
        self: Takes1[T, Q, Awaits[V]], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[Outcome[V]]:
        """Give one `Outcome` per item, in order: its value or its error."""
        ...

    @overload
    def outcomes(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[Outcome[V]]: ...

    @overload
    def outcomes(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[Outcome[Any]]: ...

    @overload
    def map_async(
        self: Takes1[T, Q, Awaits[V]], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Future[list[V]]:
        """Start a `map` and return its future at once."""
        ...

    @overload
    def map_async(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Future[list[V]]: ...

    @overload
    def map_async(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Future[list[Any]]: ...

    @overload
    def aimap(
        self: Takes1[T, Q, Awaits[V]], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> AsyncIterator[V]:
        """Like `imap`, for ``async for``: never blocks the event loop."""
        ...

    @overload
    def aimap(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> AsyncIterator[V]: ...

    @overload
    def aimap(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> AsyncIterator[Any]: ...
