"""What a decorated function takes first: how a type checker finds the type of its items.

Two things look odd, and are what makes mypy and pyright agree:

* A verb that takes items needs the first parameter's type, which is hidden in ``P``. It takes
  ``self`` as `Takes1`: there ``T`` is a parameter of the protocol itself (mypy leaves a ``T`` that
  stands only inside ``Concatenate`` unsolved, and then accepts any item).
* Each has one more overload, for generic functions, which take `Anything`. It is there for mypy,
  which cannot carry a function's own type variables through an instance: ``f.map`` of a function
  ``(Sequence[T]) -> T`` gives ``list[Any]`` in mypy, and the exact type in pyright.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

__all__ = ["Takes", "Takes1", "Takes2", "Takes3", "Takes4", "Takes5"]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)
T2_contra = TypeVar("T2_contra", contravariant=True)
T3_contra = TypeVar("T3_contra", contravariant=True)
T4_contra = TypeVar("T4_contra", contravariant=True)
T5_contra = TypeVar("T5_contra", contravariant=True)


class Takes(Protocol[P, R_co]):
    """A decorated function, whatever it takes."""

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
        """What a generic function takes, whatever holds its type variable.

        Such as ``T``, ``Sequence[T]``, ``dict[str, T]`` or ``Callable[[T], T]``. There is no such
        object, and a function that names its types does not take it.
        """

        def __call__(self, one: _One, /) -> _One:
            """Stand for a function as well."""
            return one
