"""What signatures are written with, without the import of `typing`.

`typing` takes 4 ms to import, and `re` with it: a tenth of what a script with one short map may
cost. Annotations are never read at run time, so nothing needs it. Type checkers see the names
themselves; at run time each does just as much as the source needs to be run. `Final` is not here:
pyright knows it only from `typing` itself, and takes names in capitals for constants anyhow.

`NOT_GIVEN` stands for an argument that was not given, where `None` would be one.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any as Any
    from typing import Generic as Generic
    from typing import Literal as Literal
    from typing import NoReturn as NoReturn
    from typing import ParamSpec as ParamSpec
    from typing import Protocol as Protocol
    from typing import Self as Self
    from typing import TypedDict as TypedDict
    from typing import TypeVar as TypeVar
    from typing import Unpack as Unpack
    from typing import cast as cast
    from typing import overload as overload
else:
    from types import GenericAlias as _Alias

    class _Name:
        """Stands for a special form, in annotations and aliases."""

        def __init__(self, name: str, *_args: object, **_kwargs: object) -> None:
            self._name = name

        def __repr__(self) -> str:
            return self._name

        def __getitem__(self, _: object) -> object:
            return self

        def __or__(self, _: object) -> object:
            return self

        __ror__ = __or__

    Any, Literal, NoReturn = _Name("Any"), _Name("Literal"), _Name("NoReturn")
    Self, Unpack = _Name("Self"), _Name("Unpack")
    TypeVar = ParamSpec = _Name

    class Generic:
        """A class whose parameters only type checkers know."""

        __class_getitem__ = classmethod(_Alias)

    class Protocol:
        """A class of which only type checkers know what has its shape."""

        __class_getitem__ = classmethod(_Alias)

    class _TypedDict(type):
        def __new__(
            cls, name: str, bases: tuple[type, ...], space: dict[str, object], **_: object
        ) -> type:
            return type.__new__(cls, name, bases, space)

        def __init__(cls, *_: object, **_more: object) -> None:
            pass

    class TypedDict(metaclass=_TypedDict):
        """A dict of which only type checkers know the keys."""

    def cast(_: object, value: object) -> object:
        """The value as it is."""
        return value

    def overload(function: object) -> object:
        """The signature as it is: the definition that follows takes its place."""
        return function


class _NotGiven:
    def __repr__(self) -> str:
        return "..."  # what `help` shows


NOT_GIVEN: Any = _NotGiven()
