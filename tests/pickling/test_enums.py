"""Enums: their members are in a worker what they are here."""

from __future__ import annotations

import enum
import pickle
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from procession.pickling.pickler import dumps, loads
from tests.support.far import run_script

ENUMS = """
import abc, datetime, decimal, enum
from functools import partial
from tests.support.far import Far

class Planet(enum.Enum):
    MERCURY = (3.303e+23, 2.4397e6)
    EARTH = (5.976e+24, 6.37814e6)
    def __init__(self, mass, radius): self.mass, self.radius = mass, radius
    @property
    def gravity(self): return self.mass / self.radius ** 2
class Letter(bytes, enum.Enum):
    def __new__(cls, number, label):
        made = bytes.__new__(cls, [number])
        made._value_, made.label = number, label
        return made
    A = 65, "first"
    B = 66, "second"
class Day(datetime.date, enum.Enum):
    FIRST = 2020, 1, 1
class Part(decimal.Decimal, enum.Enum):
    HALF = "0.5"
class Pair(tuple, enum.Enum):
    ONE = 1, 2
class Named(int):
    def __new__(cls, label, number):
        made = int.__new__(cls, number)
        made.label = label
        return made
    def __getnewargs__(self): return self.label, int(self)
class Level(Named, enum.Enum):
    LOW = "low", 1
class Base(enum.Enum):
    def __init__(self, first, second): self.both = first, second
class Derived(Base):
    X = 1, 2
class Act(enum.Enum):
    ADD = enum.member(partial(max, 1))
    CALL = enum.member(lambda x: x)
class Access(enum.IntFlag):
    READ = 4
    WRITE = 2
    BOTH = 6
class Number(enum.Enum):
    ONE = 1
    EINS = 1
    TWO = 2
    def __init__(self, number): self.__class__._value2member_map_["n%d" % number] = self
class Choice(enum.EnumMeta):
    def __new__(meta, name, bases, space):
        labels = [space[each][1] for each in space._member_names]
        for each in space._member_names: dict.__setitem__(space, each, space[each][0])
        cls = super().__new__(meta, name, bases, space)
        for member, label in zip(cls, labels): member.label = label
        return cls
class Size(enum.Enum, metaclass=Choice):
    BIG = 1, "big one"
class AbstractMeta(abc.ABCMeta, enum.EnumMeta): pass
class Role(enum.Enum, metaclass=AbstractMeta):
    USER = 1
class Box(enum.Enum):
    FULL = [1]

ALL = [Planet, Letter, Day, Part, Pair, Level, Derived, Access, Number, Size, Role, Box]
def told(cls):
    members = [(n, m.name, m.value, m._sort_order_) for n, m in cls.__members__.items()]
    attributes = [sorted(map(str, m.__dict__.items())) for m in cls]
    # what a class holds of another data type, by that type's own text
    data = [str(base.__str__(m)) for m in cls for base in cls.__mro__ if base.__module__ in
            ("builtins", "datetime", "decimal") and base is not object]
    return repr(cls), members, attributes, data, list(map(hash, cls))
"""


def test_members_are_what_they_are_here(tmp_path: Path) -> None:
    """Attributes, aliases, data of other types, values of any kind: whoever made them."""
    script = f"""{ENUMS}
def there(cls): return told(cls), list(cls.__members__.values())
def same(member): return member is type(member)[member.name], member
def more():
    return (Planet.EARTH.gravity, Letter.B.label, Letter(65).label, Number("n2").name,
            Derived.X.both, Size.BIG.label, Act.ADD.value(0), Act.CALL.value(3),
            Access(6).name, Access.READ | Access.WRITE, isinstance(1, Role))
if __name__ == "__main__":
    with Far() as far:
        for cls in ALL:
            found, members = far.call(there, cls)
            assert found[:-1] == told(cls)[:-1], (found, told(cls))
            assert all(map(lambda a, b: a is b, members, cls.__members__.values())), cls
        for member in (each for cls in [*ALL, Act] for each in cls):
            there_too, home = far.call(same, member)
            assert there_too and home is member, member
        assert far.call(more) == more()
    print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


def test_members_that_change(tmp_path: Path) -> None:
    """Their values and attributes are there what they are here by now."""
    script = f"""{ENUMS}
def look(box): return box is Box.FULL, Box([1, *box.value[1:]]).value, vars(box).get("note")
if __name__ == "__main__":
    with Far() as far:
        for turn in range(3):
            assert far.call(look, Box.FULL) == look(Box.FULL)
            Box.FULL.value.append(turn)
            Box.FULL.note = turn
        del Box.FULL.note
        assert far.call(look, Box.FULL) == look(Box.FULL)
    print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


class Act(enum.Enum):
    """Its values are equal to none of their copies."""

    ADD = enum.member(partial(max, 1))
    MUL = enum.member(partial(min, 1))


class Access(enum.Flag):
    """Has members without a name."""

    READ = 1
    WRITE = 2


def test_members_of_a_module() -> None:
    """They arrive as the very same, whatever their values are."""
    members: list[Any] = [*Act, *Access, Access.READ | Access.WRITE, Access(0), HTTPStatus.OK]
    for member in members:
        assert loads(dumps(member)) is member
    assert dumps(HTTPStatus.OK) == pickle.dumps(HTTPStatus.OK, 5)


def test_a_lock_that_a_member_has(tmp_path: Path) -> None:
    """It is refused with its path."""
    script = """
import enum, threading
from procession import parallel
class Held(enum.Enum):
    X = 1
    def __init__(self, number): self.locks = [threading.Lock()]
try: parallel(len, inline=False).map([Held.X])
except Exception as error:
    assert ".X.locks[0]  →  _thread.lock" in str(error), error
    print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"
