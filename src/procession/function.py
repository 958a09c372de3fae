"""What a decorated function becomes: how it is bound, copied and pickled. Binding is wrapt's."""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Mapping
from types import MappingProxyType

from procession.configuration import resolve, validate
from procession.decoratable import check_order, unwrapped
from procession.engine.call import Call, History
from procession.hints import TYPE_CHECKING, Any, cast
from procession.pickling.references import naming

# At once: a fork awaits other threads' imports from here on, and the first call makes some.
from procession.system import owned_descriptors  # noqa: F401  # pyright: ignore[reportUnusedImport]
from procession.verbs import Annotations, Verbs, name_of, shown
from procession.wrapt_core import BoundFunctionWrapper, FunctionWrapper

if TYPE_CHECKING:
    from collections.abc import Callable


class BoundFunction(Verbs, BoundFunctionWrapper):
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


_bind = BoundFunctionWrapper.__init__


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
    if isinstance(instance, type) and not isinstance(function.__wrapped__, types.FunctionType):
        return function.__get__(None, instance)  # else it is a method of the class's own class
    return function.__get__(instance, owner if instance is None else type(instance))


class Function(Verbs, FunctionWrapper):
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
            check_order(self._call_origin, self._self_style)
            self._self_in_order = True

    @property
    def _call_origin(self) -> Function:
        """The decorated function itself, of which this may be a `with_options` copy."""
        return self if self._self_origin is None else self._self_origin

    def _call_of(self, function: Callable[..., Any], prefix: tuple[Any, ...]) -> Call:
        """The call of the raw function with an instance or class before its other arguments."""
        origin = self._call_origin
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

            f.with_options(workers=2, timeout=5).map(items)

        The function itself stays as it is. Copies share what was measured of it.

        Args:
            **options: See `procession.Options`. They win over the decorator's.

        Returns:
            The copy, decorated in the same way.

        Raises:
            OptionError: An option's name or value cannot be used.
        """
        changes = validate(
            options,
            caller=f"{name_of(self.__wrapped__)}.with_options",
            decorator=self._self_style,
            over=self._set_options(),
        )
        return Function(
            self.__wrapped__,
            self._self_style,
            self._self_decorator,
            MappingProxyType({**self._self_changes, **changes}),
            self._call_origin,
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
