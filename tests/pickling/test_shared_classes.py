"""Classes of a script, described once for many values that cross together."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy
import pytest

from procession.pickling.columns import open_column, open_value, pack_values, value_pickler
from procession.pickling.shared_classes import SharedClasses
from tests.support.far import run_script

MODULE = """
described = 0

class Noted:
    def __reduce__(self):
        global described
        described += 1
        return Noted, ()

class Point:
    noted = Noted()
    def __init__(self, x): self.x = x

class Line:
    def __init__(self, *points): self.points = points
"""


@pytest.fixture
def script() -> dict[str, Any]:
    """The globals of a script; `described` counts how often its class `Point` was."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(MODULE, space)
    return space


def test_once_for_all_items(script: dict[str, Any]) -> None:
    """A column of objects describes their class once, and opens as these objects."""
    packed = pack_values([script["Point"](x) for x in range(200)], "strict")
    assert packed is not None
    assert not packed.refused
    assert script["described"] == 1
    found = open_column(pickle.loads(packed.body))
    assert [each.x for each in found] == list(range(200))
    assert {type(each) for each in found} == {script["Point"]}


def test_a_column_has_one_description(script: dict[str, Any]) -> None:
    """It is written once for all values, also in each part of a column that is divided."""
    values = [script["Point"](x) for x in range(2000)]
    packed = pack_values(values, "strict")
    assert packed is not None
    assert packed.taken == 2000
    elements = pickle.loads(packed.body)
    description = elements[0][0]
    assert len(packed.body) < len(description) + 2000 * 200
    half = pickle.dumps(elements[1000:])
    assert half.count(description) == 1
    assert [each.x for each in open_column(pickle.loads(half))] == list(range(1000, 2000))
    assert open_value(elements[-1]).x == 1999


def test_each_column_takes_the_class_as_it_is(script: dict[str, Any]) -> None:
    """What is packed later brings the class as it is by then."""
    for count in (1, 2):
        pack_values([script["Point"](1), script["Point"](2)], "strict")
        assert script["described"] == count


def test_classes_are_met_one_after_the_other(script: dict[str, Any]) -> None:
    """A class that comes late is described with the others, and again that is used by all."""
    point, line = script["Point"], script["Line"]
    values = [point(1), line(point(2), point(3)), point(4), line()]
    packed = pack_values(values, "strict")
    assert packed is not None
    assert script["described"] == 2
    found = open_column(pickle.loads(packed.body))
    assert [type(each) for each in found] == [point, line, point, line]
    assert [each.x for each in found[1].points] == [2, 3]


@pytest.mark.parametrize("late", [False, True])
def test_a_class_that_is_met_in_a_value_that_cannot_cross(
    script: dict[str, Any], *, late: bool
) -> None:
    """It is described for those after it all the same, whether or not others were before."""
    point, line = script["Point"], script["Line"]
    bad = [line(point(1), threading.Lock())]
    packed = pack_values([*([point(0)] if late else []), *bad, line(), point(5)], "strict")
    assert packed is not None
    assert [place for place, _ in packed.refused] == [int(late)]
    found = open_column(pickle.loads(packed.body))
    assert [type(each) for each in found] == [*([point] if late else []), line, point]
    assert found[-1].x == 5


def test_results_of_a_class_that_a_worker_has_made(script: dict[str, Any]) -> None:
    """It may change from item to item, so each result describes it."""
    pack = value_pickler("strict").single()
    for x in range(3):
        assert pack(script["Point"](x)) is not None
    assert script["described"] == 3


@pytest.mark.parametrize("large", [numpy.zeros(100_000), b"x" * 300_000])
def test_large_values_go_alone(script: dict[str, Any], large: Any) -> None:
    """Also an object of a script's class that holds one, so that its buffers are not copied."""
    point = script["Point"]
    assert pack_values([point(1), point(large)], "strict") is None
    assert value_pickler("strict").single()(point(large)) is None


def test_a_large_class_is_described_by_each_value(script: dict[str, Any]) -> None:
    """A copy of what was described would cost more than to describe it."""
    script["Point"].table = [f"{i:0100}" for i in range(4000)]
    shared = SharedClasses("strict", guests=False)
    for x in (1, 2):
        shared.dumps(script["Point"](x))
    assert script["described"] == 1 + 2


FAR = """
from procession import NotPicklable, parallel
import threading
total = 0
class Point:
    EMPTY = object()
    seen = []
    scale = 1
    def __init__(self, x=EMPTY): self.x = x
    def count(self):
        global total
        total += 1
        return total
class Line:
    def __init__(self, *points): self.points = points
    def count(self): return total

options = dict(workers=1, inline=False)

@parallel(**options)
def is_empty(point): return point.x is Point.EMPTY, point.x is type(point).EMPTY
assert is_empty.map([Point(), Point(1), Point()])[1] == (False, False)
assert [each for _, each in is_empty.map([Point(), Point(1), Point()])] == [True, False, True]

@parallel(**options)
def shares(point):
    point.x.append(1)
    return type(point).seen is point.x
assert shares.map([Point(Point.seen)] * 2) == [True, True]
assert Point.seen == []

@parallel(**options)
def scaled(point): return point.x * point.scale
assert scaled.map([Point(x) for x in range(100)]) == list(range(100))
Point.scale = 2
assert scaled.map([Point(x) for x in range(100)]) == list(range(0, 200, 2))
Point.scale = 1
assert scaled.map([Point(x) for x in range(100)]) == list(range(100))

@parallel(**options)
def of_class(x): return Point.scale
@parallel(**options)
def of_item(point): return point.scale
assert of_item.map([Point(1)] * 2) == [1, 1]
Point.scale = 2
assert of_class.map([1, 2]) == [2, 2]
Point.scale = 1
assert of_item.map([Point(1)] * 2) == [1, 1]

@parallel(**options)
def same_globals(pair):
    point, line = pair
    return point.count() == line.count()
assert same_globals.map([(Point(1), Line()) for _ in range(10)]) == [True] * 10

@parallel(**options, pickling="by-value")
def calls(pair):
    point, function = pair
    return point.count() == function()
assert calls.map([(Point(1), lambda: total) for _ in range(5)]) == [True] * 5

@parallel(**options)
def make(x): return Line(Point(x), Point(-x))
for line in make.map(range(100)): assert type(line) is Line and type(line.points[0]) is Point
assert [line.points[1].x for line in make.map(range(100))] == [-x for x in range(100)]

@parallel(**options)
def new(x):
    class Local:
        pass
    Local.number = x
    found = Local()
    found.x = x
    return found
new = parallel(**options, pickling="by-value")(new.__wrapped__)
for x, local in enumerate(new.map(range(50))): assert local.number == local.x == x

try:
    scaled.map([Point(1), Point(threading.Lock())])
except NotPicklable as error:
    assert "point.x" in str(error), error
else:
    raise AssertionError
print("fine")
"""


def test_far_away(tmp_path: Path) -> None:
    """What values, classes, functions and globals share they share in a worker, too."""
    assert run_script(tmp_path, FAR) == "fine\n"


WAYS = """
import dataclasses, os, pathlib, sys
from procession import parallel, NotPicklable
home = os.getpid()
@dataclasses.dataclass
class P:
    x: int
    bad: bool = False
    def __setstate__(self, state):
        self.__dict__.update(state)
        if self.bad and (self.x < 0) == (os.getpid() == home): raise ValueError("cannot be made")
class Holder:
    def __init__(self, p): self.p = p
opts = dict(workers=2, inline=False, backend=BACKEND)
@parallel(**opts)
def neg(p): return P(-p.x, p.bad)
vals = neg.map([P(i) for i in range(20000)])
assert [v.x for v in vals] == [-i for i in range(20000)] and type(vals[0]) is P
assert [v.x for v in neg.imap(P(i) for i in range(5000))] == [-i for i in range(5000)]
found = sorted(v.x for v in neg.imap_unordered([P(i) for i in range(500)]))
assert found == list(range(-499, 1))
# an item that cannot be rebuilt there
items = [Holder(P(i, i == 7)) for i in range(20)]
@parallel(**opts)
def get(holder): return holder.p.x
out = list(get.outcomes(items))
assert [o.ok for o in out] == [i != 7 for i in range(20)]
assert "holder.p" in str(out[7].error), out[7].error
# a result that cannot be rebuilt here
@parallel(**opts)
def back(i): return Holder(P(-i, i == 7))
out = list(back.outcomes(range(1, 20)))
assert [o.ok for o in out] == [i != 7 for i in range(1, 20)]
assert "result.p" in str(out[6].error), out[6].error
# retries
folder = pathlib.Path(sys.argv[0]).parent
@parallel(**opts, retries=2, retry_on=OSError)
def flaky(p):
    path = folder / str(p.x)
    if p.x % 5 == 0 and not path.exists():
        path.touch()
        raise OSError
    return P(p.x)
assert [v.x for v in flaky.map([P(i) for i in range(40)])] == list(range(40))
# deaths
if BACKEND == "process":
    @parallel(**opts)
    def die(p):
        if p.x == 11: os._exit(3)
        return p
    out = list(die.outcomes([P(i) for i in range(40)]))
    assert [o.ok for o in out] == [i != 11 for i in range(40)]
print("fine")
"""


@pytest.mark.parametrize("backend", ["process", "loky"])
def test_all_ways(tmp_path: Path, backend: str) -> None:
    """Many objects, some that cannot be rebuilt, a second attempt, and a death."""
    assert run_script(tmp_path, f"BACKEND = {backend!r}\n{WAYS}") == "fine\n"
