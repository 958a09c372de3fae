"""A frozen dataclass without the import of `dataclasses`, until something asks for what that adds.

`dataclasses` takes 12 ms to import, most of it for `inspect`. What it would make for a frozen class
with slots is written out here. `dataclasses.fields`, `replace`, `asdict` and `is_dataclass` see a
dataclass: they look for ``__dataclass_fields__``, and that is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from operator import attrgetter

from procession.hints import Any

__all__ = ["field", "frozen"]


class _Field:
    """A field that is not compared, and not shown."""

    def __init__(self, default: Any, **how: bool) -> None:
        self.default = default
        self.how = how


def field(*, default: Any, **how: bool) -> Any:
    """As `dataclasses.field`: a default, and what the field does not take part in."""
    return _Field(default, **how)


class _Later:
    """An attribute of the class that the real `dataclasses` makes, when it is asked for."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __get__(self, instance: Any, owner: type) -> Any:
        return self._make()


def frozen(**_how: bool) -> Callable[[type], type]:
    """As ``dataclasses.dataclass(frozen=True, slots=True, kw_only=True)``, which checkers see."""
    return _made


def _made(cls: type) -> type:
    names = tuple(cls.__annotations__)
    defaults = {name: vars(cls)[name] for name in names if name in vars(cls)}
    hidden = {name for name, given in defaults.items() if isinstance(given, _Field)}
    plain = {k: v.default if k in hidden else v for k, v in defaults.items()}
    own = {k: v for k, v in vars(cls).items() if k not in (*names, "__dict__", "__weakref__")}
    compared = attrgetter(*(name for name in names if name not in hidden))
    shown = tuple(name for name in names if name not in hidden)
    every = frozenset(names)
    known: list[type] = []

    def twin() -> type:
        if not known:
            import dataclasses

            space = {
                name: dataclasses.field(default=plain[name], **given.how)
                if name in hidden
                else given
                for name, given in defaults.items()
            }
            space["__annotations__"] = dict(cls.__annotations__)
            bare = type(cls.__name__, (), {**space, "__module__": cls.__module__})
            known.append(dataclasses.dataclass(frozen=True, kw_only=True)(bare))
        return known[0]

    def __init__(self: Any, /, **values: Any) -> None:
        values = {**plain, **values}
        if values.keys() != every:
            raise _wrong_arguments(names, values)
        for name in names:
            object.__setattr__(self, name, values[name])

    def __repr__(self: Any) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{cls.__qualname__}({told})"

    def __eq__(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compared(self) == compared(other)

    def __setattr__(self: Any, name: str, value: Any) -> None:
        raise _refused(f"cannot assign to field {name!r}")

    def __delattr__(self: Any, name: str) -> None:
        raise _refused(f"cannot delete field {name!r}")

    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=False):
            object.__setattr__(self, name, value)

    def __replace__(self: Any, /, **changes: Any) -> Any:
        return type(self)(**{name: getattr(self, name) for name in names} | changes)

    space: dict[str, Any] = {
        "__slots__": names,
        "__match_args__": (),
        "__dataclass_fields__": _Later(lambda: vars(twin())["__dataclass_fields__"]),
        "__dataclass_params__": _Later(lambda: vars(twin())["__dataclass_params__"]),
        "__signature__": _Later(lambda: import_module("inspect").signature(twin())),
    }
    for each in (
        *(__init__, __repr__, __eq__, __setattr__, __delattr__),
        *(__getstate__, __setstate__, __replace__),
    ):
        each.__qualname__ = f"{cls.__qualname__}.{each.__name__}"
        space[each.__name__] = each
    return type(cls)(cls.__name__, cls.__bases__, {**own, **space})


def _wrong_arguments(names: tuple[str, ...], values: dict[str, Any]) -> TypeError:
    unknown = [name for name in values if name not in names]
    missing = [name for name in names if name not in values]
    what = f"an unexpected argument {unknown[0]!r}" if unknown else f"no argument {missing[0]!r}"
    return TypeError(f"Options() got {what}. It takes by name: {', '.join(names)}.")


def _refused(message: str) -> Exception:
    from dataclasses import FrozenInstanceError

    return FrozenInstanceError(message)
