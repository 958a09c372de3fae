"""What a decorated function becomes: the function itself, with verbs. Binding is wrapt's."""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import wrapt

from procession.appearance import Annotations, Appearance, name_of, shown
from procession.configuration import Options, resolve, validate
from procession.decoration import check_order, unwrapped
from procession.engine.call import Call, History
from procession.futures import Future
from procession.outcome import Outcome
from procession.pickling.active_pickler import looks_at_functions, naming
from procession.pitfalls.misuse import check_call, first_argument, wrong_keyword

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["BoundFunction", "Function"]


class _Verbs(Appearance):
    """The verbs, the same on a decorated function and on a decorated method bound to an object."""

    __procession_function__ = True
    __wrapped__: Any

    @property
    def __class__(self) -> Any:
        # As wrapt has it, what is decorated says that it is a function. Not to cloudpickle: that
        # would take it apart as one, and send the undecorated function in its place.
        if looks_at_functions(sys._getframe(1)):
            return type(self)
        return self.__wrapped__.__class__

    @__class__.setter
    def __class__(self, cls: Any) -> None:
        self.__wrapped__.__class__ = cls

    def _call(self) -> Call:
        """Who is called, with which options, as of now."""
        raise NotImplementedError

    def _check_order(self) -> None:
        """Refuse to run if ``@classmethod`` or ``@staticmethod`` stands above our decorator."""
        raise NotImplementedError

    @property
    def local(self) -> Callable[..., Any]:
        """The undecorated function: called, it runs here."""
        function: Callable[..., Any] = self.__wrapped__
        return function

    @property
    def options(self) -> Options:
        """The options in force for this function here and now, resolved and frozen."""
        return self._call().options

    def submit(self, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start one call in the pool and return its future at once."""
        from procession.engine.calls import submit

        call = self._call()
        wrong = wrong_keyword(call, kwargs, "submit") if kwargs else None
        if wrong is not None:
            future: Future[Any] = Future()
            future.settle(None, wrong)
            return future
        return submit(call, args, kwargs)

    def map(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> list[Any]:
        """Run the function on every item; return the results in order."""
        return self._map(items, args, kwargs, "map")

    def _map(
        self, items: Iterable[Any], args: tuple[Any, ...], kwargs: dict[str, Any], verb: str
    ) -> list[Any]:
        from procession.engine.map.map_verbs import map_list  # by this name at once: it is cheaper

        call = self._call()
        check_call(call, items, args, kwargs, verb)
        return map_list(call, "value", items, args, kwargs)

    def starmap(
        self, argtuples: Iterable[Iterable[Any]], /, *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Run the function on every tuple of arguments; return the results in order."""
        from procession.engine.map import map_verbs as verbs

        call = self._call()
        check_call(call, argtuples, args, kwargs, "starmap")
        return verbs.map_list(call, "star", argtuples, args, kwargs)

    def imap(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Like `map`, lazily: results in order, each as soon as it is there."""
        return self._imap(items, args, kwargs, "imap")

    def imap_unordered(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Like `imap`, but the results come as they finish."""
        return self._imap(items, args, kwargs, "imap_unordered", ordered=False)

    def outcomes(
        self, items: Iterable[Any], /, *args: Any, **kwargs: Any
    ) -> Iterator[Outcome[Any]]:
        """One `Outcome` per item, in order; never raises for an item."""
        return self._imap(items, args, kwargs, "outcomes", outcomes=True)

    def _imap(
        self,
        items: Iterable[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        verb: str,
        **how: Any,
    ) -> Iterator[Any]:
        from procession.engine.map import map_verbs as verbs

        call = self._call()
        check_call(call, items, args, kwargs, verb)
        return verbs.imap(call, items, args, kwargs, **how)

    def map_async(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> Future[list[Any]]:
        """Start a `map` and return its future at once."""
        from procession.engine.map import map_verbs as verbs

        call = self._call()
        check_call(call, items, args, kwargs, "map_async")
        return verbs.map_async(call, items, args, kwargs)

    def aimap(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Like `imap`, for ``async for``."""
        from procession.engine.map import map_verbs as verbs

        call = self._call()
        check_call(call, items, args, kwargs, "aimap")
        return verbs.amap(call, items, args, kwargs)

    def _plain(self, style: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A plain call, as the decorator chose it."""
        self._check_order()
        if style == "parallel":
            return self.__wrapped__(*args, **kwargs)
        if style == "background":
            return self.submit(*args, **kwargs)
        call = self._call()
        if style == "isolated":
            from procession.engine.calls import isolated

            wrong = wrong_keyword(call, kwargs, "") if kwargs else None
            if wrong is not None:
                raise wrong
            return isolated(call, args, kwargs)
        first, args, kwargs = first_argument(call, args, kwargs)
        if style == "parallel_map":
            return self._map(first, args, kwargs, "")
        from procession.engine.pieces.splitting import run_on_pieces

        wrong = wrong_keyword(call, kwargs, "") if kwargs else None
        if wrong is not None:
            raise wrong
        return run_on_pieces(call, first, args, kwargs)


class BoundFunction(_Verbs, wrapt.BoundFunctionWrapper):
    """A decorated method bound to its instance or class."""

    __annotations__ = cast("Any", Annotations())

    def __init__(self, *parts: Any) -> None:
        if len(parts) == 2:
            parts = _parts(*parts)
        _bind(self, *parts)

    def _call(self) -> Call:
        self._check_order()
        owner: Function = self._self_parent
        wrapped = self.__wrapped__
        if isinstance(wrapped, types.MethodType):
            return owner._call_of(wrapped.__func__, (wrapped.__self__,))
        return owner._call_of(wrapped, ())

    def _check_order(self) -> None:
        # Up to Python 3.12, a classmethod above us binds us to the class as if to an instance.
        if isinstance(self._self_instance, type):
            self._self_parent._check_order()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """A plain call, as the decorator chose it."""
        return self._plain(self._self_parent._self_style, args, kwargs)

    def with_options(self, /, **options: Any) -> Any:
        """A copy with these options, bound alike."""
        self._check_order()
        copied = self._self_parent.with_options(**options)
        return rebind(copied, getattr(self.__wrapped__, "__self__", None), self._self_owner)

    @property
    def __func__(self) -> Any:
        """What was bound: decorated, as what the class holds; a classmethod's bare function."""
        parent: Function = self._self_parent
        inner = self.__wrapped__.__func__
        return parent if parent.__wrapped__ is inner else inner

    def __reduce_ex__(self, protocol: Any) -> Any:
        bound = getattr(self.__wrapped__, "__self__", None)
        return rebind, (self._self_parent, bound, self._self_owner)

    def __copy__(self) -> BoundFunction:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        bound = getattr(self.__wrapped__, "__self__", None)
        if bound is None or isinstance(bound, type):
            return self
        return rebind(self._self_parent, copy.deepcopy(bound, memo), self._self_owner)

    def __repr__(self) -> str:
        bound = getattr(self.__wrapped__, "__self__", None)
        return shown(self._self_parent, bound)


_bind = wrapt.BoundFunctionWrapper.__init__


def _parts(function: Any, instance: Any) -> tuple[Any, ...]:
    """What a bound one is made of, from what `weakref.WeakMethod` makes it of.

    That is ``type(method)(method.__func__, method.__self__)``, as for the standard type.
    """
    decorated: Any = function
    if not isinstance(function, Function):  # a classmethod's: what the class holds is decorated
        places: list[dict[str, Any]] = [vars(base) for base in instance.__mro__]
        held = [each for place in places for each in place.values() if type(each) is Function]
        decorated = next(each for each in held if unwrapped(each.__wrapped__) is function)
    bound = rebind(decorated, instance, None)
    return (
        bound.__wrapped__,
        bound._self_instance,
        bound._self_wrapper,
        bound._self_enabled,
        bound._self_binding,
        bound._self_parent,
        bound._self_owner,
    )


def rebind(function: Function, instance: object, owner: Any) -> Any:
    """Bind a decorated function as another was bound: to an instance, a class, or to none."""
    if isinstance(instance, type):
        return function.__get__(None, instance)
    return function.__get__(instance, owner if instance is None else type(instance))


class Function(_Verbs, wrapt.FunctionWrapper):
    """A decorated function.

    Args:
        wrapped: The function, classmethod or staticmethod.
        style: What a plain call does: the decorator's name.
        decorator: The decorator's options, validated.
        changes: What `with_options` changed, validated.
        origin: The decorated function this is a `with_options` copy of.
    """

    __annotations__ = cast("Any", Annotations())
    __bound_function_wrapper__ = BoundFunction

    def __init__(
        self,
        wrapped: Any,
        style: str,
        decorator: Mapping[str, Any] = MappingProxyType({}),
        changes: Mapping[str, Any] = MappingProxyType({}),
        origin: Function | None = None,
    ) -> None:
        super().__init__(wrapped, _never)
        self._self_style = style
        self._self_decorator = decorator
        self._self_changes = changes
        self._self_origin = origin
        self._self_known: tuple[Any, Call] | None = None  # the last call, and what it was made of
        self._self_history = History()
        self._self_in_order = False

    def _call(self) -> Call:
        if not self._self_in_order:
            self._check_order()
        wrapped, options = self.__wrapped__, resolve(self._self_changes, self._self_decorator)
        known = self._self_known
        if known is None or known[0] is not wrapped or known[1].options is not options:
            known = self._self_known = wrapped, self._call_of(unwrapped(wrapped), ())
        return known[1]

    def _check_order(self) -> None:
        if not self._self_in_order:
            check_order(self if self._self_origin is None else self._self_origin, self._self_style)
            self._self_in_order = True

    def _call_of(self, function: Callable[..., Any], prefix: tuple[Any, ...]) -> Call:
        """The call of the raw function with an instance or class before its other arguments."""
        origin = self if self._self_origin is None else self._self_origin
        return Call(
            function,
            origin,
            getattr(function, "__name__", None) or name_of(function),
            prefix,
            resolve(self._self_changes, self._self_decorator),
            self._self_style == "isolated",
            origin._self_history,
        )

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """A plain call, as the decorator chose it."""
        return self._plain(self._self_style, args, kwargs)

    def with_options(self, /, **options: Any) -> Function:
        """A copy of this decorated function with some options changed.

        Raises:
            OptionError: An option's name or value cannot be used.
        """
        changes = validate(
            options, caller=f"{name_of(self.__wrapped__)}.with_options", over=self._set_options()
        )
        return Function(
            self.__wrapped__,
            self._self_style,
            self._self_decorator,
            MappingProxyType({**self._self_changes, **changes}),
            self if self._self_origin is None else self._self_origin,
        )

    def _set_options(self) -> dict[str, Any]:
        return {**self._self_decorator, **self._self_changes}

    def __reduce_ex__(self, protocol: Any) -> Any:
        from procession.functions.packed_function import reduce_decorated

        frame = sys._getframe(1)
        return reduce_decorated(self, naming(frame, getattr(self, "__module__", None) or ""))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__wrapped__":
            # `functools.update_wrapper` from above: what runs is still the function below.
            unwrapped(self.__wrapped__).__wrapped__ = value
        else:
            super().__setattr__(name, value)

    def __copy__(self) -> Function:
        return self

    def __deepcopy__(self, memo: Any) -> Function:
        return self

    def __repr__(self) -> str:
        return shown(self)


def _never(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    raise AssertionError("both wrappers answer calls themselves")
