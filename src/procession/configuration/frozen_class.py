"""A frozen dataclass without the import of `dataclasses`, until something asks for what that adds.

`dataclasses` takes 12 ms to import, most of it for `inspect`. What it would make for a frozen class
with slots is written out here. `dataclasses.fields`, `replace`, `asdict` and `is_dataclass` see a
dataclass: they look for ``__dataclass_fields__``, and that is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from procession.hints import Any


class _Field:
    """A field that is not compared, and not shown."""

    def __init__(self, default: Any, **how: bool) -> None:
        self.default = default
        self.how = how


def field(*, default: Any, **how: bool) -> Any:
    """As `dataclasses.field`: a default, and what the field does not take part in."""
    return _Field(default, **how)


def frozen(**_how: bool) -> Callable[[type], type]:
    """As ``dataclasses.dataclass(frozen=True, slots=True, kw_only=True)``, which checkers see."""
    return _made


def _made(cls: type) -> type:
    names = tuple(cls.__annotations__)
    given = {name: vars(cls)[name] for name in names if name in vars(cls)}
    own = {k: v for k, v in vars(cls).items() if k not in (*names, "__dict__", "__weakref__")}
    own["__slots__"] = names
    own["_given"] = given
    own["_defaults"] = {k: v.default if isinstance(v, _Field) else v for k, v in given.items()}
    own["_shown"] = shown = tuple(n for n in names if not isinstance(given.get(n), _Field))
    own["_compared"] = attrgetter(*shown)
    return type(cls)(cls.__name__, (_Frozen,), own)


class _OfTwin:
    """An attribute that is taken from the same class as `dataclasses` makes it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any) -> Any:
        twin = _twin(owner)
        if self._name != "__signature__":
            return vars(twin)[self._name]
        from inspect import signature

        return signature(twin)


_twins: dict[type, type] = {}


def _twin(cls: Any) -> type:
    if cls not in _twins:
        import dataclasses

        make: Any = dataclasses.field
        space = {
            name: make(default=given.default, **given.how) if isinstance(given, _Field) else given
            for name, given in cls._given.items()
        }
        space |= {"__annotations__": dict(cls.__annotations__), "__module__": cls.__module__}
        bare = type(cls.__name__, (), space)
        _twins[cls] = dataclasses.dataclass(frozen=True, kw_only=True)(bare)
    return _twins[cls]


class _Frozen:
    """What such a class is made of: its fields are its slots."""

    __slots__: tuple[str, ...] = ()
    __match_args__ = ()
    _given: dict[str, Any]
    _defaults: dict[str, Any]
    _shown: tuple[str, ...]
    _compared: attrgetter[Any]

    __dataclass_fields__ = _OfTwin("__dataclass_fields__")
    __dataclass_params__ = _OfTwin("__dataclass_params__")
    __signature__ = _OfTwin("__signature__")

    def __init__(self, /, **values: Any) -> None:
        values = {**self._defaults, **values}
        names = self.__slots__
        if values.keys() != frozenset(names):
            raise _wrong_arguments(names, values)
        for name in names:
            object.__setattr__(self, name, values[name])

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
        return f"{type(self).__qualname__}({told})"

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return bool(self._compared(self) == self._compared(other))

    def __setattr__(self, name: str, value: Any) -> None:
        raise _refused(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise _refused(f"cannot delete field {name!r}")

    def __getstate__(self) -> list[Any]:
        return [getattr(self, name) for name in self.__slots__]

    def __setstate__(self, state: list[Any]) -> None:
        for name, value in zip(self.__slots__, state, strict=False):
            object.__setattr__(self, name, value)

    def __replace__(self, /, **changes: Any) -> Any:
        return type(self)(**{name: getattr(self, name) for name in self.__slots__} | changes)


def _wrong_arguments(names: tuple[str, ...], values: dict[str, Any]) -> TypeError:
    unknown = [name for name in values if name not in names]
    missing = [name for name in names if name not in values]
    what = f"an unexpected argument {unknown[0]!r}" if unknown else f"no argument {missing[0]!r}"
    return TypeError(f"Options() got {what}. It takes by name: {', '.join(names)}.")


def _refused(message: str) -> Exception:
    from dataclasses import FrozenInstanceError

    return FrozenInstanceError(message)
