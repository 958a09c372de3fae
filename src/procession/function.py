"""What a decorated function becomes: the function itself, with verbs. Binding is wrapt's."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Mapping, Sized
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import wrapt

from procession.configuration import Options, resolve, validate
from procession.decoration import check_order, unwrapped
from procession.engine.job import Call
from procession.futures import Future
from procession.outcome import Outcome
from procession.process import forks as forks  # before the imports that it watches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["BoundFunction", "Function"]


class _Verbs:
    """The verbs, the same on a decorated function and on a decorated method bound to an object."""

    __procession_function__ = True
    __wrapped__: Any

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

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start one call in the pool and return its future at once."""
        from procession.engine.calls import submit

        return submit(self._call(), args, kwargs)

    def map(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> list[Any]:
        """Run the function on every item; return the results in order."""
        return self._map(items, args, kwargs, "map")

    def _map(
        self, items: Iterable[Any], args: tuple[Any, ...], kwargs: dict[str, Any], verb: str
    ) -> list[Any]:
        from procession.engine.verbs import map_list  # by this name at once: it is cheaper

        call = self._call()
        _check_items(items, args, call.name, verb)
        return map_list(call, "value", items, args, kwargs)

    def starmap(
        self, argtuples: Iterable[Iterable[Any]], /, *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Run the function on every tuple of arguments; return the results in order."""
        from procession.engine import verbs

        call = self._call()
        _check_items(argtuples, args, call.name, "starmap")
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
        from procession.engine import verbs

        call = self._call()
        _check_items(items, args, call.name, verb)
        return verbs.imap(call, items, args, kwargs, **how)

    def map_async(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> Future[list[Any]]:
        """Start a `map` and return its future at once."""
        from procession.engine import verbs

        call = self._call()
        _check_items(items, args, call.name, "map_async")
        return verbs.map_async(call, items, args, kwargs)

    def aimap(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Like `imap`, for ``async for``."""
        from procession.engine import verbs

        call = self._call()
        _check_items(items, args, call.name, "aimap")
        return verbs.amap(call, items, args, kwargs)

    def _plain(self, style: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A plain call, as the decorator chose it."""
        self._check_order()
        if style == "parallel":
            return self.local(*args, **kwargs)
        if style == "background":
            return self.submit(*args, **kwargs)
        call = self._call()
        if style == "isolated":
            from procession.engine import isolating

            return isolating.call(call, args, kwargs)
        first, args, kwargs = _first(call, args, kwargs)
        if style == "parallel_map":
            return self._map(first, args, kwargs, "plain call")
        from procession.engine import chunking

        return chunking.call(call, first, args, kwargs)


class BoundFunction(_Verbs, wrapt.BoundFunctionWrapper):
    """A decorated method bound to its instance or class."""

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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A plain call, as the decorator chose it."""
        return self._plain(self._self_parent._self_style, args, kwargs)

    def with_options(self, **options: Any) -> Any:
        """A copy with these options, bound alike."""
        self._check_order()
        copy = self._self_parent.with_options(**options)
        wrapped = self.__wrapped__
        bound = getattr(wrapped, "__self__", None)
        if bound is None:
            return copy.__get__(None, self._self_owner)
        if isinstance(bound, type):
            return copy.__get__(None, bound)
        return copy.__get__(bound, type(bound))

    def __reduce_ex__(self, protocol: Any) -> Any:
        wrapped = self.__wrapped__
        return _bind, (self._self_parent, getattr(wrapped, "__self__", None), self._self_owner)


class Function(_Verbs, wrapt.FunctionWrapper):
    """A decorated function.

    Args:
        wrapped: The function, classmethod or staticmethod.
        style: What a plain call does: the decorator's name.
        decorator: The decorator's options, validated.
        changes: What `with_options` changed, validated.
        origin: The decorated function this is a `with_options` copy of.
    """

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
        self._self_kept = None  # by engine.job
        self._self_pace = None  # by engine.job
        self._self_route = None  # by engine.routing
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
        return Call(
            function,
            self if self._self_origin is None else self._self_origin,
            getattr(function, "__name__", None) or _name(function),
            prefix,
            resolve(self._self_changes, self._self_decorator),
            self._self_style == "isolated",
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A plain call, as the decorator chose it."""
        return self._plain(self._self_style, args, kwargs)

    def with_options(self, **options: Any) -> Function:
        """A copy of this decorated function with some options changed.

        Raises:
            OptionError: An option's name or value cannot be used.
        """
        changes = validate(
            options, caller=f"{_name(self.__wrapped__)}.with_options", over=self._set_options()
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
        from procession.wire.functions import reduce_decorated

        return reduce_decorated(self)

    def __copy__(self) -> Function:
        return self

    def __deepcopy__(self, memo: Any) -> Function:
        return self

    def __repr__(self) -> str:
        return f"<{self._self_style} function {_name(self.__wrapped__)}>"


def _never(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    raise AssertionError("both wrappers answer calls themselves")


def _bind(function: Function, instance: object, owner: Any) -> Any:
    """Bind a decorated function as it was bound where it was pickled."""
    if isinstance(instance, type):
        return function.__get__(None, instance)
    return function.__get__(instance, owner if instance is None else type(instance))


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__qualname__", None) or type(function).__name__
    return name


def _first(
    call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The first argument, by position or by name, and the others."""
    if args:
        return args[0], args[1:], kwargs
    import inspect

    names = list(inspect.signature(call.function).parameters)[len(call.prefix) :]
    if names and names[0] in kwargs:
        rest = dict(kwargs)
        return rest.pop(names[0]), (), rest
    raise TypeError(
        f"{call.name}() needs its first argument, the items to run on: write {call.name}(items)."
    )


def _check_items(items: object, args: tuple[Any, ...], name: str, verb: str) -> None:
    """Refuse what cannot be mapped over; warn of arguments that look like a second input."""
    kind = type(items)
    if not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__"):
        shown = f"{name}(items)" if verb == "plain call" else f"{name}.{verb}(items)"
        raise TypeError(
            f"{shown} runs {name}() on every item of an iterable, and was given "
            f"{type(items).__name__}. Write [{items!r:.40}] to run it on one item, or "
            f"{name}.local(...) to call it here."
        )
    if args and (length := _length(items)) > 1:
        for extra in args:
            if _length(extra) == length:
                from procession._warn import warn_user

                warn_user(
                    f"{name}.{verb}(xs, ys): ys goes whole to every item, it is not zipped with "
                    f"xs as Executor.map would. For pairs write {name}.starmap(zip(xs, ys)); if "
                    f"it is meant, pass it by keyword."
                )
                return


def _length(value: object) -> int:
    """How long a list, tuple or range is; 0 for anything else."""
    return len(cast("Sized", value)) if isinstance(value, (list, tuple, range)) else 0
