"""Members of enums: in an enum that goes by value they are made again as they are.

No code of the user's makes them, so the arguments that it was given need not be known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, EnumMeta

from procession.hints import Any
from procession.pickling.objects import ATOMS, all_are, bases_of, class_of, is_a

_MADE_WITH_IT = (
    *("_generate_next_value_", "_member_names_", "_member_map_"),
    *("_member_type_", "_value2member_map_"),
)
"""What an enum's metaclass makes."""


class Made:
    """A member, on its way.

    Args:
        kind: The class that makes it, such as `int` if the enum's members are numbers.
        args: What that takes.
        value: The member's value.
    """

    __slots__ = ("args", "kind", "value")

    def __init__(self, kind: type, args: tuple[Any, ...], value: Any) -> None:
        self.kind = kind
        self.args = args
        self.value = value


def members_of(cls: Any) -> dict[str, Any]:
    """What its members are made of, in order; of one that has another name, that name."""
    return {
        name: (*_made_of(member), member._value_) if member._name_ == name else member._name_
        for name, member in cls._member_map_.items()
    }


def _made_of(member: Any) -> tuple[Any, Any]:
    base: Any
    for base, own in bases_of(class_of(member)):
        if Enum not in base.__mro__:
            if "__getnewargs__" in own:
                return base, own["__getnewargs__"](member)
            if "__reduce__" in own and base is not object:  # such as a date's
                reduced = own["__reduce__"](member)
                if is_a(reduced, tuple) and reduced[0] is type(member):
                    return base, reduced[1]
    return object, ()


def contents_of(cls: Any, contents: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """What an enum is filled with: what it has of its own, and what `fill_members` takes."""
    members = cls._member_map_
    own = {
        name: value
        for name, value in contents.items()
        if name not in _MADE_WITH_IT and name not in members
    }
    attributes = [(name, each.__dict__) for name, each in members.items() if each._name_ == name]
    more = [
        (value, each._name_)
        for value, each in cls._value2member_map_.items()
        if value is not each._value_ and each._name_ in members
    ]
    return own, {}, (attributes, more)


def make_enum(
    meta: Any,
    name: str,
    bases: tuple[Any, ...],
    space: dict[str, Any],
    members: dict[str, Any],
) -> Any:
    """An enum with its members, and nothing else."""
    namespace: Any = EnumMeta.__prepare__(name, bases)
    for each, value in space.items():
        namespace[each] = value
    namespace["__new__"] = _new_member
    namespace["__init__"] = _nothing
    for each, made in members.items():
        namespace[each] = Made(*(members[made] if is_a(made, str) else made))
    cls = EnumMeta.__new__(meta, name, bases, namespace)
    for each in ("__init__", "__new_member__"):
        if each in vars(cls):
            type.__delattr__(cls, each)
    return cls


def _new_member(cls: Any, made: Any) -> Any:
    if is_a(made, tuple):
        (made,) = made  # its enum's members are tuples
    member = made.kind.__new__(cls, *made.args)
    member._value_ = made.value
    return member


def _nothing(self: Any, /, *_: Any) -> None:
    pass


def give_values(cls: Any, members: dict[str, Any]) -> None:
    """Give the members of an enum that is there already the values that they have by now."""
    for name, made in members.items():
        if name in cls._member_map_ and not is_a(made, str):
            member, value = cls._member_map_[name], made[-1]
            member._value_ = value
            try:
                cls._value2member_map_[value] = member
            except TypeError:
                pass  # it cannot be hashed, and is looked for among the members


def fill_members(
    cls: Any, attributes: Iterable[tuple[str, dict[str, Any]]], more: Iterable[tuple[Any, str]]
) -> None:
    """Give members their attributes.

    Args:
        cls: The enum.
        attributes: Of each member, by name.
        more: Further values by which a member is found.
    """
    for name, own in attributes:
        space = cls._member_map_[name].__dict__
        space.update(own)
        for gone in space.keys() - own.keys():
            del space[gone]
    for value, name in more:
        cls._value2member_map_[value] = cls._member_map_[name]


def member_reducer(cls: Any) -> Callable[[Any], Any] | None:
    """How members of an enum go if a value may be equal to none of its copies: by name.

    `None` for other enums, which by their values cross in half the time.
    """
    by_value = all(all_are(_parts(each), ATOMS) for each in cls._member_map_.values())
    if by_value or cls.__reduce_ex__ is not Enum.__reduce_ex__:
        return None
    return _reduce_member


def _parts(member: Any) -> Iterable[Any]:
    value = member._value_
    return value if is_a(value, tuple) else (value,)


def _reduce_member(member: Any) -> Any:
    cls, name = class_of(member), member._name_
    if name in cls._member_map_:
        return getattr, (cls, name)
    return cls, (member._value_,)  # flags that have no name of their own
