"""How a type checker sees what every decorated function has in common: its verbs.

Nothing here runs. At run time a decorated function is a `procession.function.Function`; these
protocols give it its types, all over ``(P, R)``, the signature of the function inside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import (
    TYPE_CHECKING,
    Any,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    Unpack,
    overload,
)

from procession.typing.takes import Takes, Takes1, Takes2, Takes3, Takes4, Takes5

if TYPE_CHECKING:
    from procession.configuration import Options, OptionValues
    from procession.futures import Future
    from procession.outcome import Outcome
    from procession.typing.takes import Anything

__all__ = ["Core", "Decorated"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
V = TypeVar("V")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")


class Core(Protocol[P, R_co]):
    """What a decorated function has whatever it returns: itself, its name and its options."""

    __name__: str
    __qualname__: str

    @property
    def __wrapped__(self) -> Callable[P, R_co]:
        """The function as it was written."""
        ...

    @property
    def local(self) -> Callable[P, R_co]:
        """Call the function here, in this process: the undecorated call."""
        ...

    @property
    def options(self) -> Options:
        """The options in force for this function here and now, resolved and frozen."""
        ...

    def with_options(self, **options: Unpack[OptionValues]) -> Self:
        """Give a copy of this decorated function with some options changed.

        Raises:
            OptionError: An option's name or value cannot be used.
        """
        ...


class Decorated(Core[P, R], Protocol[P, R]):
    """A decorated function: ``R`` for each call and each item.

    An error that the function raises arrives as itself, with a note that names the item. What the
    verbs raise on their own is a `procession.ProcessionError`.
    """

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Start one call in the pool and return its future at once.

        The arguments are pickled now: what happens to them later is not seen. Never raises for an
        argument; the error is in the future.
        """
        ...

    @overload
    def map(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> list[V]:
        """Run the function on every item, in the pool; return the results in order.

        Further arguments go to every item. The first error ends the map, and what has not started
        is given up; `outcomes` keeps the others.
        """
        ...

    @overload
    def map(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> list[Any]: ...

    @overload
    def starmap(
        self: Takes1[T, Q, V], argtuples: Iterable[tuple[T]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> list[V]:
        """Run the function on every tuple of arguments, in the pool; return the results in order.

        Keyword arguments go to every call. Tuples are checked element by element (the first five);
        lists, whose length a type checker cannot know, are not.
        """
        ...

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
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[V]:
        """Like `map`, lazily: results in order, each as soon as it is there.

        Takes no more of the input ahead than the ``window`` allows, so it may be infinite.
        """
        ...

    @overload
    def imap(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[Any]: ...

    @overload
    def imap_unordered(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[V]:
        """Like `imap`, but the results come as they finish."""
        ...

    @overload
    def imap_unordered(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[Any]: ...

    @overload
    def outcomes(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[Outcome[V]]:
        """Give one `Outcome` per item, in order: its value or its error."""
        ...

    @overload
    def outcomes(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Iterator[Outcome[Any]]: ...

    @overload
    def map_async(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Future[list[V]]:
        """Start a `map` and return its future at once."""
        ...

    @overload
    def map_async(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Future[list[Any]]: ...

    @overload
    def aimap(
        self: Takes1[T, Q, V], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> AsyncIterator[V]:
        """Like `imap`, for ``async for``: never blocks the event loop."""
        ...

    @overload
    def aimap(
        self: Takes1[Anything, Q, Any], items: Iterable[Any], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> AsyncIterator[Any]: ...
