"""Classes of a script: they go out, come home as the same class, and are what they are there."""

from __future__ import annotations

from pathlib import Path

from tests.support.far import run_script

CLASSES = """
import sys, abc, enum, typing, dataclasses, collections, functools, warnings
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict, Generic, TypeVar, Protocol, ClassVar
import attrs, attr
from tests.support.far import Far
T = TypeVar("T")
@dataclass(slots=True)
class P: x: int
@dataclass(slots=True, frozen=True, order=True)
class F: x: int; y: list = field(default_factory=list, compare=False)
@dataclass(slots=True, weakref_slot=True)
class W: x: int
@dataclass(slots=True)
class P2(P): z: int = 4
class Q:
    __slots__ = ("__a", "b")
    def __init__(self, a): self.__a = a; self.b = a
    def get(self): return self.__a
    def __eq__(self, o): return type(o) is type(self) and o.get() == self.get()
class Q1(Q):
    __slots__ = "__c"
    def __init__(self, a): super().__init__(a); self.__c = a
    def __eq__(self, o): return super().__eq__(o) and self.__c == o.__c
class Q2(Q1): pass
class Q3(Q):
    __slots__ = ("__dict__", "__weakref__")
class It:
    __slots__ = iter(("u", "v"))
    def __init__(self, u): self.u = u; self.v = u
    def __eq__(self, o): return self.u == o.u and type(o) is It
class DictS:
    __slots__ = {"a": "doc of a"}
    def __init__(self, a): self.a = a
    def __eq__(self, o): return self.a == o.a and type(o) is DictS
class N(NamedTuple): a: int; b: str = "x"
class TD(TypedDict): a: int
class Color(enum.Enum): RED = 1; BLUE = 2
class Fl(enum.IntFlag): A = 1; B = 2
class Box(Generic[T]):
    __slots__ = ("v",)
    def __init__(self, v): self.v = v
    def __eq__(self, o): return self.v == o.v and type(o) is Box
class Shape(abc.ABC):
    __slots__ = ()
    @abc.abstractmethod
    def area(self): ...
class Sq(Shape):
    __slots__ = ("s",)
    def __init__(self, s): self.s = s
    def area(self): return self.s ** 2
    def __eq__(self, o): return type(o) is Sq and o.s == self.s
class Proto(Protocol):
    def area(self): ...
class Reg:
    registry = {}
    def __init_subclass__(cls, /, key, **kw):
        super().__init_subclass__(**kw)
        Reg.registry[key], cls.key = cls, key
class R1(Reg, key="r1"):
    def __init__(self, v): self.v = v
    def __eq__(self, o): return type(o) is R1 and o.v == self.v and o.key == "r1"
class Meta(type):
    made = []
    def __new__(mcs, name, bases, ns):
        assert "tag" in ns
        Meta.made.append(name)
        return super().__new__(mcs, name, bases, ns)
class M(metaclass=Meta):
    tag = 1
    def __init__(self, v): self.v = v
    def __eq__(self, o): return type(o) is M and o.v == self.v
@attrs.define
class A: x: int; y: list = attrs.Factory(list)
@attrs.frozen
class AF: x: int
@attrs.define(slots=False)
class AN: x: int = attrs.field(validator=attrs.validators.instance_of(int), converter=int)
@attr.s(auto_attribs=True)
class AO: x: int
@attrs.define
class AS(A):
    z: int = 3
    @property
    def twice(self): return self.x * 2
    def sup(self): return super().__repr__()
    @functools.cached_property
    def cp(self): return self.x + 1
class Err(Exception):
    __slots__ = ("code",)
    def __init__(self, code): super().__init__(code); self.code = code

def make():
    return [P(1), F(2, [1]), W(3)
        , P2(1, 2), Q(4), Q1(5), Q2(6), Q3(7), DictS(9), N(1),
        TD(a=1), Color.RED, Fl.A | Fl.B, Box(3), Sq(2), R1(1), M(2),
        A(1), AF(2), AN(3), AO(4), AS(5)]
"""


def test_objects_go_out_and_come_home(tmp_path: Path) -> None:
    """Slots, dataclasses, attrs, enums, tuples, generics: equal, and of the very same class."""
    script = f"""{CLASSES}
def back(o): return o
def each(i): return make()[i]
with Far() as far:
    for i, o in enumerate(make()):
        for got in (far.call(back, o), far.call(each, i)):
            assert got == o and type(got) is type(o), (o, got)
assert list(Reg.registry) == ["r1"] and Meta.made == ["M"]
print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


def test_classes_are_there_what_they_are_here(tmp_path: Path) -> None:
    """Slots refuse other attributes, ``super()`` works, and hooks of the class have not run."""
    script = f"""{CLASSES}
def refuses(o):
    try: o.nonsense = 1
    except (AttributeError, TypeError): return True
    return False
def look():
    return (sorted(Reg.registry), Meta.made, issubclass(R1, Reg), dataclasses.asdict(P2(1, 2)),
        attrs.asdict(AS(1)), AS(1).twice, AS(1).sup(), AS(1).cp, repr(F(1)),
        [f.name for f in dataclasses.fields(F)], isinstance(Sq(1), Shape), Box[int](2).v,
        sys.getsizeof(P(1)), [e.name for e in Color], R1.key, Q.__slots__, DictS.__slots__)
with Far() as far:
    assert [far.call(refuses, o) for o in make()] == [refuses(o) for o in make()]
    assert far.call(look) == look()
print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


def test_class_that_holds_a_method_of_its_own(tmp_path: Path) -> None:
    """Bound to itself, as pydantic keeps validators."""
    script = """
from tests.support.far import Far
class Checked:
    @classmethod
    def named(cls, x): return cls.__name__, x
Checked.checks = [Checked.named]
def check(o): return o.checks[0](1), o.checks[0] == type(o).named
with Far() as far: assert far.call(check, Checked()) == (("Checked", 1), True)
print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


def test_class_that_changes_at_run_time(tmp_path: Path) -> None:
    """What was set on a class here is seen by later calls there."""
    script = """
from tests.support.far import Far
class Slotted:
    __slots__ = ("x",)
    limit = 1
    def __init__(self, x): self.x = x
    def over(self): return self.x > self.limit
def over(o): return o.over(), type(o).limit
with Far() as far:
    assert far.call(over, Slotted(2)) == (True, 1)
    Slotted.limit = 5
    assert far.call(over, Slotted(2)) == (False, 5)
    Slotted.over = lambda self: "new"
    assert far.call(over, Slotted(2)) == ("new", 5)
print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


LIBRARY = """
import threading
class Client:
    def __init__(self): self.lock = threading.Lock()
    def ask(self, x): return x + 1
class Config:
    debug = False
client = Client()
config = Config()
lock = threading.Lock()
"""


def test_singletons_of_libraries_go_by_name(tmp_path: Path) -> None:
    """What cannot go by value is the worker's own; what can brings what was set in it."""
    (tmp_path / "singleton_library.py").write_text(LIBRARY)
    script = """
import logging, re, sys, singleton_library
from loguru import logger
from procession.functions.packed_function import dump_watched
from singleton_library import client, config, lock
from tests.support.far import Far
log, pattern = logging.getLogger("x"), re.compile("a+")
class Holder:
    held = client
def use(x): return client.ask(x), client is singleton_library.client, Holder.held is client
def tell(x):
    logger.info("here {}", x)
    return type(logger).__name__, log is logging.getLogger("x"), bool(pattern.match("aa"))
def debug(): return config.debug
def guarded():
    with lock: return 1
config.debug = True
with Far() as far:
    assert far.call(use, 1) == (2, True, True)
    assert far.call(tell, 1) == ("Logger", True, True)
    assert far.call(debug) is True
    try: far.call(guarded)
    except Exception as error: assert "threading.Lock" in str(error), error
    else: raise AssertionError
payload, watching = dump_watched(debug, None, "strict")
def ask(x): return client.ask(x)
payload, watching = dump_watched(ask, None, "strict")
assert watching.holds() and dump_watched(ask, None, "strict")[0] is payload
singleton_library.client = None
assert not watching.holds()
print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


def test_standard_streams_go_by_name(tmp_path: Path) -> None:
    """What a function uses, in a global, a default or an object, is the worker's own stream."""
    script = """
import sys
from tests.support.far import Far
out, original = sys.stdout, sys.__stderr__
class Report:
    kind = sys.stderr
    def __init__(self, to=None): self.to = to
report, file = Report(out), open(__file__)
def say(given, to=sys.stderr):
    print("said", file=original)
    return (out is sys.stdout, original in (sys.stderr, sys.__stderr__), to is sys.stderr,
        report.to is sys.stdout, given.kind is sys.stderr)
def read(): return file.read()
with Far() as far:
    assert far.call(say, Report()) == (True,) * 5
    for call in (lambda: far.call(say, Report(out)), lambda: far.call(read)):
        try: call()
        except Exception as error: pass
        else: raise AssertionError
file.close()
print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


def test_what_stays_refused(tmp_path: Path) -> None:
    """A lock in a class of a script is refused, with its path, whatever else the class holds."""
    script = """
import attrs, threading
from tests.support.far import Far
@attrs.define
class Held:
    lock = threading.Lock()
    x: int = 1
try:
    with Far() as far: far.call(len, [Held()])
except Exception as error:
    assert "threading.Lock" in str(error), error
    print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


MANAGERS = """
from contextlib import contextmanager
from procession import NotPicklable, parallel

entered = []

@contextmanager
def named(name, *, times=1):
    entered.append(name * times)
    yield name

@parallel(workers=1, inline=False)
@named("twice", times=2)
def work(x):
    return x, entered[-1]

@parallel(workers=1, inline=False)
def enter(manager):
    with manager as name:
        return name

assert work(1) == (1, "twicetwice")
assert work.map([1, 2]) == [(1, "twicetwice"), (2, "twicetwice")]
assert work.submit(3).result() == (3, "twicetwice")
assert enter.submit(named("given")).result() == "given"
used = named("used")
with used:
    error = enter.submit(used).exception()
assert isinstance(error, NotPicklable) and error.path == "manager.gen", error
print("fine")
"""


def test_context_managers_that_are_decorators(tmp_path: Path) -> None:
    """A function under one goes, as does one that was not entered; an entered one is refused."""
    assert run_script(tmp_path, MANAGERS) == "fine\n"
