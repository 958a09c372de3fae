"""Classes of a script, described once for calls one after the other."""

from __future__ import annotations

import pickle
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest

from procession.pickling import dynamic_code, lasting_classes
from procession.pickling.columns import open_column, pack_values
from procession.pickling.pickler import dumps, loads
from tests.support.far import run_script

SCRIPT = """
import abc, dataclasses, enum, typing
T = typing.TypeVar("T")

@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Slots:
    x: int = 0
    tags: list = dataclasses.field(default_factory=list)
class Named(typing.NamedTuple):
    x: int = 0
class Base(abc.ABC):
    @abc.abstractmethod
    def go(self): ...
class Impl(Base):
    def __init__(self, x=0): self.x = x
    def go(self): return super().go()
class Box(typing.Generic[T]):
    def __init__(self, x=0): self.x = x
class Color(enum.Enum):
    RED = 0
    BLUE = 1
class Odd:
    held = iter([1])
    def __init__(self, x=0): self.x = x
class Err(Exception): ...
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The globals of a script, which is this program's main module for now."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    for idle in (lasting_classes.of_columns, lasting_classes._of_calls):
        monkeypatch.setattr(idle, "_idle", {})
    exec(compile(SCRIPT, "script", "exec", dont_inherit=True), vars(module))
    return vars(module)


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """The classes that are described from now on."""
    found: list[type] = []
    usual = dynamic_code._contents

    def contents(cls: type) -> Any:
        found.append(cls)
        return usual(cls)

    monkeypatch.setattr(dynamic_code, "_contents", contents)
    return found


def given_up() -> bool:
    """Whether no class is described for later values any more."""
    return all(
        classes.is_given_up
        for idle in (lasting_classes.of_columns, lasting_classes._of_calls)
        for classes in idle._idle.values()
    )


@pytest.mark.parametrize("name", ["Slots", "Named", "Impl", "Box"])
def test_once_for_many_columns(script: dict[str, Any], described: list[type], name: str) -> None:
    """A column uses what an earlier one has described, until the class changes."""
    cls = script[name]
    for _ in range(2):  # as in the test below
        pack_values([cls(0), cls(1)], "strict")
    described.clear()
    for _ in range(3):
        packed = pack_values([cls(x) for x in range(5)], "strict")
        assert packed is not None
        assert [each.x for each in open_column(pickle.loads(packed.body))] == list(range(5))
    assert described == []
    cls.new = 1
    pack_values([cls(0)], "strict")
    assert cls in described


@pytest.mark.parametrize("name", ["Slots", "Named", "Impl", "Box"])
def test_once_for_many_calls(script: dict[str, Any], described: list[type], name: str) -> None:
    """Arguments with such an object describe its class once, and open as these objects."""
    cls = script[name]
    dumps(((cls(0),), {}))  # the first may have a class prepared for pickle by Python itself
    dumps(((cls(0),), {}))
    described.clear()
    for x in range(5):
        (back,), _ = loads(dumps(((cls(x),), {})))
        assert type(back) is cls
        assert back.x == x
    assert described == []


def test_members_and_errors(script: dict[str, Any], described: list[type]) -> None:
    """The same holds for members of an enum and for exceptions, also as classes."""
    for _ in range(5):
        blobs = [dumps(script["Color"].RED), dumps(script["Err"](1)), dumps(script["Err"])]
        assert loads(blobs[0]) is script["Color"].RED
        assert loads(blobs[1]).args == (1,)
        assert loads(blobs[2]) is script["Err"]
    assert described.count(script["Err"]) <= 3


def test_one_that_is_not_known(script: dict[str, Any], described: list[type]) -> None:
    """A class that is described each time leaves the others as they were."""
    odd, box = script["Odd"], script["Box"]
    dumps(box(1))
    described.clear()
    for x in range(3):
        dumps(odd(x))
        dumps(box(x))
    assert box not in described


def test_a_class_for_each_value(script: dict[str, Any]) -> None:
    """A program that makes a class for each value is not slowed down for ever."""
    for x in range(60):
        exec(f"class Made:\n    number = {x}", script)
        assert loads(dumps(script["Made"]())).number == x
        packed = pack_values([script["Made"]()] * 2, "strict")
        assert packed is not None
        assert open_column(pickle.loads(packed.body))[1].number == x
    assert given_up()
    assert len(dumps(script["Made"]())) < 2_000


def test_a_class_that_changes_with_each_value(script: dict[str, Any]) -> None:
    """Also one that counts its objects: each call brings it as it is by then."""
    box = script["Box"]
    for count in range(40):
        box.count = count
        assert b"count" in dumps(box(1))
        packed = pack_values([box(1)], "strict")
        assert packed is not None
        assert b"count" in packed.body
    assert given_up()


@pytest.mark.parametrize("out_of_band", [False, True])
def test_large_buffers(script: dict[str, Any], *, out_of_band: bool) -> None:
    """They leave the pickle if they may, and else are in it."""
    box = script["Box"]
    for _ in range(3):
        array = numpy.arange(100_000)
        buffers: list[Any] | None = [] if out_of_band else None
        blob = dumps(box(array), "strict", buffers)
        assert (len(blob) < 50_000) is out_of_band
        back = pickle.loads(blob, buffers=buffers)
        assert (back.x == array).all()


def test_threads(script: dict[str, Any]) -> None:
    """Calls of several threads each have what they sent."""
    wrong: list[Any] = []

    def send(name: str) -> None:
        for x in range(200):
            back = loads(dumps((script[name](x), script["Box"](x))))
            if (back[0].x, back[1].x) != (x, x):
                wrong.append(back)

    threads = [threading.Thread(target=send, args=[name]) for name in ("Slots", "Named", "Impl")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


FAR = """
import dataclasses, enum
from procession import isolated, parallel

@dataclasses.dataclass
class Point:
    x: int
    scale = 1
    table = {"a": [1]}
    def scaled(self): return self.x * self.scale * factor * self.table["a"][-1]
class Near(Point): ...
class Color(enum.Enum):
    RED = 1
class Meters: unit = "m"
class Feet: unit = "ft"
class Length(Meters): pass
factor = 1
class Order:
    def __init__(self, *points): self.points = points

for kind in (parallel(workers=1), isolated):
    @kind
    def ask(point): return point.scaled(), Point(point.x).scaled()
    @kind
    def unit(length): return length.unit, Length.unit
    @kind
    def back(order): return Order(*order.points, Point(7)), Color.RED
    call = ask.submit

    def both(): return call(Point(2)).result()
    assert both() == both() == (2, 2)
    Point.scale = 2
    assert both() == both() == (4, 4), both()
    Point.table["a"].append(3)
    assert both() == both() == (12, 12), both()
    factor = 5
    assert both() == both() == (60, 60), both()
    usual, Point.scaled = Point.scaled, lambda self: -self.x
    assert both() == both() == (-2, -2), both()
    Point.scaled, Point.scale, factor = usual, 1, 1
    Point.table["a"].pop()
    assert both() == both() == (2, 2)
    Near.scaled = lambda self: "patched"
    assert call(Near(2)).result() == ("patched", 2)
    del Near.scaled
    assert call(Near(2)).result() == (2, 2), "what was patched is as before"
    for base in (Meters, Feet, Meters):
        Length.__bases__ = (base,)
        assert unit.submit(Length()).result() == (base.unit, base.unit)
        assert unit.map([Length(), Length()]) == [(base.unit, base.unit)] * 2
    for _ in range(3):
        order, color = back.submit(Order(Point(1))).result()
        assert type(order) is Order and color is Color.RED
        assert order.points == (Point(1), Point(7))
print("fine")
"""


def test_far_away(tmp_path: Path) -> None:
    """A worker sees a class as it was when the call was made, in items and in functions."""
    assert run_script(tmp_path, FAR) == "fine\n"
