"""Whether code is still what was pickled: what may change in it, and is noticed."""

from __future__ import annotations

import sys
from functools import partial
from types import CellType, ModuleType
from typing import Any

import pytest

from procession.pickling.freshness import Watch, watch

SCRIPT = """
import abc, collections, dataclasses, datetime, enum, functools, logging, re, threading, typing
import numpy

scale = 1
table = {"a": [1, {2}]}
names = {"x"}
waiting, ready = [1, 2], []
counts, queue = collections.Counter("ab"), collections.deque([[1], 2])
by_key, data, array = collections.defaultdict(list, a=[1]), bytearray(b"ab"), numpy.arange(4)
now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
log = logging.getLogger("script")
pattern = re.compile("a")

class Base(abc.ABC):
    unit = "m"
    @abc.abstractmethod
    def go(self, by=scale, *, most=5): ...

class Other(Base): ...
class Registered: ...
class Color(enum.Enum):
    RED = 1
Pair = collections.namedtuple("Pair", "a b")

@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    x: int = 1
    tags: list = dataclasses.field(default_factory=list)

class Plain:
    def __init__(self): self.x = 1
config = Config()
plain = Plain()

@functools.cache
def cached(x): return scale

@functools.singledispatch
def dispatched(x): return scale
@dispatched.register
def _(x: int): return x
class Callable:
    def __init__(self): self.n = 1
    def __call__(self, x): return x
    def method(self, x): return self.n

def several(): return waiting, ready, counts, queue, by_key, data, array, now, dispatched

def made():
    inner = [1]
    def get(): return inner, config, plain, Color.RED, Pair, cached, pattern, log
    return get
get = made()

class Point(Base):
    shared = table
    seen = (names, "y")
    box: typing.Optional["Registered"] = None
    bound = functools.partial(max, 3)
    def go(self) -> Registered: return get(), scale, several()
    @property
    def x(self): return helper()
    @staticmethod
    def s(): return 1
    @classmethod
    def c(cls): return 2
    @functools.cached_property
    def p(self): return 3

def helper(x=1, *, y=table): return x
def uses(x): return Point, helper, several
"""

CHANGES = {
    "a global": "scale = 2",
    "a global of another type": "scale = True",
    "a global that is gone": "del scale",
    "an item of a dict": "table['a'] = 1",
    "an item in an item": "table['a'].append(2)",
    "a set in a list": "table['a'][1].add(3)",
    "a set": "names.add('z')",
    "a class attribute": "Point.unit = 'km'",
    "one of a base": "Base.unit = 'km'",
    "a new attribute": "Point.new = 1",
    "an attribute that is gone": "del Point.shared",
    "a method": "Point.go = lambda self: 1",
    "the code of a method": "Point.go.__code__ = (lambda self: 1).__code__",
    "a base": "Point.__bases__ = (Other,)",
    "a class's name": "Point.__name__ = 'Other'",
    "a virtual subclass": "Base.register(Registered)",
    "a class in a type hint": "Registered.x = 1",
    "defaults": "helper.__defaults__ = (2,)",
    "keyword defaults": "helper.__kwdefaults__['y'] = 1",
    "an attribute of a function": "helper.x = 1",
    "a type hint": "helper.__annotations__['x'] = int",
    "a cell": "get.__closure__[0].cell_contents = 1",
    "what a cell holds": "get.__closure__[0].cell_contents.append(1)",
    "an attribute of an object": "plain.x = 2",
    "an object's class": "plain.__class__ = Registered",
    "a slot": "object.__setattr__(config, 'x', 2)",
    "what a slot holds": "config.tags.append(1)",
    "a field of a dataclass": "Config.__dataclass_fields__['x'].default = 2",
    "the value of a member": "Color.RED._value_ = 2",
    "the text of a namedtuple's field": "Pair.a.__doc__ = 'text'",
    "a function under a cache": "cached.__wrapped__.__defaults__ = (1,)",
    "a partial": "Point.bound.__setstate__((max, (4,), {}, None))",
    "what moves from one list to the next": "ready.insert(0, waiting.pop())",
    "a counter": "counts['a'] += 1",
    "a deque": "queue[0].append(1)",
    "the order of a deque": "queue.rotate()",
    "a default": "by_key.default_factory = dict",
    "what a defaultdict holds": "by_key['a'].append(1)",
    "bytes": "data[0] = 1",
    "an array": "array[0] = 7",
    "the shape of an array": "array.resize(2, refcheck=False)",
    "what a function dispatches": "dispatched.register(str, max)",
    "the name of its module": "__name__ = 'other'",
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The globals of a script, which is this program's main module for now."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(compile(SCRIPT, "script", "exec", dont_inherit=True), vars(module))
    return vars(module)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("root", ["Point", "uses"])
def test_what_has_changed(script: dict[str, Any], root: str, change: str) -> None:
    """A watch holds while nothing changes, and not after any change of what was pickled."""
    watching = Watch()
    assert watching.see([script[root]])
    assert watching.holds()
    assert watching.holds()
    exec(CHANGES[change], script)
    assert not watching.holds()


@pytest.mark.parametrize("expression", ["Callable()", "Callable().method"])
def test_callables(script: dict[str, Any], expression: str) -> None:
    """A watch knows callable objects and bound methods, too."""
    function = eval(expression, script)
    watching = watch(function, None)
    assert watching is not None
    assert watching.holds()
    getattr(function, "__self__", function).n = 2
    assert not watching.holds()


def test_partials(script: dict[str, Any]) -> None:
    """And partials, with what they are given."""
    given = [1]
    watching = watch(partial(script["helper"], given), None)
    assert watching is not None
    assert watching.holds()
    given.append(2)
    assert not watching.holds()


UNKNOWN = {
    "a lock": "threading.Lock()",
    "an object that says how it is pickled": "type('R', (), {'__reduce__': lambda s: (R, ())})()",
    "one that says what its state is": "type('S', (), {'__getstate__': lambda s: 1})()",
    "one whose attributes are code": "type('G', (), {'__getattribute__': lambda s, n: 1})()",
    "a list of another type": "type('L', (list,), {})()",
    "a text stream": "__import__('io').StringIO()",
    "an iterator": "iter([1])",
    "a large array": "numpy.zeros(10_000)",
    "an array of objects": "numpy.array([[1], [2, 3]], dtype=object)",
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_cannot_be_known(script: dict[str, Any], what: str) -> None:
    """Of some objects no one can tell whether they would be pickled the same again."""
    exec(f"Plain.thing = {UNKNOWN[what]}", script)
    assert not Watch().see([script["Plain"]])


def test_a_cell_that_is_empty() -> None:
    """A function whose closure is not filled yet is not known."""

    def inner() -> Any:
        return later

    assert not Watch().see([inner])
    later = 1
    assert Watch().see([inner])
    assert isinstance((inner.__closure__ or ())[0], CellType)


def test_many_atoms_and_many_others(script: dict[str, Any]) -> None:
    """A table is looked at as a whole; of a large one, or of many lists, nothing is known."""
    script["table"].update((str(each), each) for each in range(5_000))
    watching = watch(script["helper"], None)
    assert watching is not None
    assert watching.holds()
    script["table"]["77"] = 77.0
    assert not watching.holds()
    script["table"].update((str(each), each) for each in range(20_000))
    assert watch(script["helper"], None) is None
    script["table"].clear()
    assert watch(script["helper"], None) is not None
    script["table"].update((str(each), [each]) for each in range(2_000))
    assert watch(script["helper"], None) is None
