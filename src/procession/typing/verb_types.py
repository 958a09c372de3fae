"""How a type checker sees what every decorated function has in common: its verbs.

Nothing here runs. At run time a decorated function is a `procession.function.Function`; these
protocols give it its types, all over ``(P, R)``, the signature of the function inside.

Two things look odd, and are what makes mypy and pyright agree:

* A verb that takes items needs the first parameter's type, which is hidden in ``P``. It takes
  ``self`` as `Takes1`: there ``T`` is a parameter of the protocol itself. (mypy leaves a ``T`` that
  stands only inside ``Concatenate`` unsolved, and then accepts any item.)
* Each has one more overload, for generic functions, which take `Anything`. It is there for mypy,
  which cannot carry a function's own type variables through an instance. For a function
  ``(Sequence[T]) -> T``, ``f.map`` gives ``list[Any]`` in mypy, and the exact type in pyright.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    Unpack,
    overload,
)

if TYPE_CHECKING:
    from procession.configuration import Options, OptionValues
    from procession.futures import Future
    from procession.outcome import Outcome

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
T_contra = TypeVar("T_contra", contravariant=True)
T2_contra = TypeVar("T2_contra", contravariant=True)
T3_contra = TypeVar("T3_contra", contravariant=True)
T4_contra = TypeVar("T4_contra", contravariant=True)
T5_contra = TypeVar("T5_contra", contravariant=True)


Awaits: TypeAlias = Coroutine[Any, Any, V]
"""What calling an ``async def`` function gives."""


class Takes(Protocol[P, R_co]):
    """Any decorated function."""

    @property
    def local(self) -> Callable[P, R_co]:
        """The undecorated call."""
        ...


class Takes1(Protocol[T_contra, P, R_co]):
    """A decorated function that takes a ``T`` first: it can be mapped over ``T`` items."""

    @property
    def local(self) -> Callable[Concatenate[T_contra, P], R_co]:
        """The undecorated call."""
        ...


class Takes2(Protocol[T_contra, T2_contra, P, R_co]):
    """A decorated function that takes two arguments first: ``starmap`` gives it pairs."""

    @property
    def local(self) -> Callable[Concatenate[T_contra, T2_contra, P], R_co]:
        """The undecorated call."""
        ...


class Takes3(Protocol[T_contra, T2_contra, T3_contra, P, R_co]):
    """A decorated function that takes three arguments first."""

    @property
    def local(self) -> Callable[Concatenate[T_contra, T2_contra, T3_contra, P], R_co]:
        """The undecorated call."""
        ...


class Takes4(Protocol[T_contra, T2_contra, T3_contra, T4_contra, P, R_co]):
    """A decorated function that takes four arguments first."""

    @property
    def local(
        self,
    ) -> Callable[Concatenate[T_contra, T2_contra, T3_contra, T4_contra, P], R_co]:
        """The undecorated call."""
        ...


class Takes5(Protocol[T_contra, T2_contra, T3_contra, T4_contra, T5_contra, R_co]):
    """A decorated function that takes five arguments first, and perhaps more."""

    @property
    def local(
        self,
    ) -> Callable[Concatenate[T_contra, T2_contra, T3_contra, T4_contra, T5_contra, ...], R_co]:
        """The undecorated call."""
        ...


if TYPE_CHECKING:

    class _One:
        """Nothing that a user's function names: only a type variable stands for it."""

    class Anything(list[_One], set[_One], dict[Any, _One]):  # type: ignore[misc]  # pyright: ignore
        """What a generic function takes, by any type that holds its type variable.

        Such as ``T``, ``Sequence[T]``, ``dict[str, T]`` or ``Callable[[T], T]``. There is no such
        object, and a function that names its types does not take it.
        """

        def __call__(self, one: _One, /) -> _One:
            """Stand for a function as well."""
            return one


class Core(Protocol[P, R_co]):
    """What every decorated function has: itself, its name and its options."""

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


class MapVerbs(Core[P, R_co], Protocol[P, R_co]):
    """The verbs that take items, with ``R`` for each item.

    Each call of an ``async def`` function, which only `@isolated` takes, runs to its end in the
    other process. So a verb gives what awaiting it would give: that is the first overload of each.
    """

    @overload
    def map(
        self: Takes1[T, Q, Awaits[V]], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> list[V]:
        """Run the function on every item, in the pool; return the results in order.

        Further arguments go to every item. The first error ends the map, and what has not started
        is given up; `outcomes` keeps the others.
        """
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
        """Run the function on every tuple of arguments, in the pool; return the results in order.

        Keyword arguments go to every call. Tuples are checked element by element (the first five);
        lists, whose length a type checker cannot know, are not.
        """
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
        """Like `map`, lazily: results in order, each as soon as it is there.

        Takes no more of the input ahead than the ``window`` allows, so it may be infinite.
        """
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


class Decorated(MapVerbs[P, R], Protocol[P, R]):
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
