"""Round trips of values: by reference, by value, and home again."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from procession.pickling import pickler as pickling
from procession.pickling.dispatch_tables import PLAIN, ByValue
from procession.pickling.pickler import LARGE, dumps, loads
from tests.support import things
from tests.support.far import Far, run_script

VARIABLE: ContextVar[int] = ContextVar("a name of its own")

VALUES: list[Any] = [
    None,
    True,
    7,
    -1.5,
    2**200,
    "text",
    "__main__",
    b"bytes",
    [],
    [1, [2, (3, {4})]],
    {"a": 1, (1, 2): frozenset({3})},
    things.Record("a", [things.Box(1)]),
    things.Frozen(2),
    things.Pair(1, 2),
    things.Colour.BLUE,
    [things.Colour, things.double, len],
    b"x" * 200_000,
    ["y" * 200_000, b"z" * 70_000, bytearray(80_000)],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_round_trip(value: Any) -> None:
    """What can be pickled arrives equal, with and without buffers beside it."""
    assert loads(dumps(value)) == value
    buffers: list[Any] = []
    blob = dumps(value, "strict", buffers)
    assert loads(blob, buffers) == value


def test_same_bytes_mean_the_same_to_plain_pickle() -> None:
    """What is pickled by reference is an ordinary pickle."""
    value = [things.Record("a"), {"b": [1.5, things.double]}]
    assert pickle.loads(dumps(value)) == value


def test_large_buffers_leave_the_pickle() -> None:
    """Arrays from 64 KiB travel beside the pickle, if asked; small ones stay inside."""
    numpy = pytest.importorskip("numpy")
    large, small = numpy.arange(LARGE // 8, dtype="i8"), numpy.arange(10)
    buffers: list[Any] = []
    blob = dumps([large, small, large.T, large.reshape(2, -1).T], "strict", buffers)
    assert len(buffers) == 3 or len(buffers) == 2
    assert len(blob) < 2000
    one, two, three, four = loads(blob, [memoryview(buffer).tobytes() for buffer in buffers])
    assert (one == large).all()
    assert (two == small).all()
    assert (three == large.T).all()
    assert (four == large.reshape(2, -1).T).all()
    assert (loads(dumps(large)) == large).all()
    assert loads(dumps(large)).flags.writeable
    odd = numpy.arange(LARGE)[::2]
    assert (loads(dumps(odd, "strict", [])) == odd).all()


def test_failed_pickle_adds_no_buffers() -> None:
    """A pickle that fails half way leaves the caller's list as it was."""
    numpy = pytest.importorskip("numpy")
    buffers: list[Any] = []
    with pytest.raises(Exception, match=r"threading\.Lock"):
        dumps([numpy.zeros(LARGE), threading.Lock()], "strict", buffers)
    assert buffers == []


def test_pickler_is_clean_after_a_failure() -> None:
    """A failed pickle leaves nothing behind for the next one."""
    for _ in range(3):
        with pytest.raises(Exception, match=r"threading\.Lock"):
            dumps([1, 2, [threading.Lock()]])
        assert loads(dumps([3, [4]])) == [3, [4]]


def test_nothing_is_kept_alive() -> None:
    """The pickler, which is used again, does not hold what it pickled."""
    import gc
    import weakref

    value = things.Box([1, 2])
    gone = weakref.ref(value)
    dumps([value])
    del value
    gc.collect()
    assert gone() is None


def test_pickling_while_pickling() -> None:
    """A ``__reduce__`` may pickle something itself."""

    class_ = Nested
    assert loads(dumps([class_(), class_()]))[1].inner == [1, 2]


class Nested:
    """Pickles its state by itself."""

    def __init__(self) -> None:
        self.inner = [1, 2]

    def __reduce__(self) -> Any:
        return rebuild_nested, (dumps(self.inner),)


def rebuild_nested(blob: bytes) -> Nested:
    """The other half."""
    nested = Nested()
    nested.inner = loads(blob)
    return nested


def test_many_threads() -> None:
    """Picklers are not shared between threads while they run."""
    failures: list[Any] = []

    def work(number: int) -> None:
        for i in range(300):
            value = [number, {"i": i, "box": things.Box(i)}]
            if loads(dumps(value)) != value:
                failures.append(value)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_context_variables_travel_by_name() -> None:
    """A context variable arrives as the variable that its module holds."""
    assert loads(dumps(VARIABLE)) is VARIABLE
    assert loads(dumps({VARIABLE: 1}))[VARIABLE] == 1


def test_large_payloads_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark inside a large payload is data, not a name, and costs no second attempt."""
    value = pickle.dumps(["__main__"] * 1, 5) * 20_000
    monkeypatch.setattr("procession.pickling.by_value.dumps_by_value", None)
    assert loads(dumps([value])) == [value]
    assert pickling._FRAME > LARGE


MAIN_CLASSES = """
import collections, contextvars, dataclasses, enum, functools, struct, typing
from tests.support.far import Far

@dataclasses.dataclass
class Point:
    x: int
    tags: list = dataclasses.field(default_factory=lambda: ["new"])
    def moved(self): return Point(self.x + 1, self.tags)

class Kind(enum.Enum):
    ONE = 1
    def other(self): return Kind.ONE

Pair = collections.namedtuple("Pair", "a b")
Id = typing.NewType("Id", int)
variable = contextvars.ContextVar("variable")
given = contextvars.ContextVar("given", default=["a default"])
other = contextvars.ContextVar("other name", default=None)
HEADER = struct.Struct("<hi")

class Oops(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code

class Missing:
    def __reduce__(self): return "MISSING"
MISSING = Missing()

class Base:
    counter = 0
class Child(Base):
    def __init__(self): super().__init__(); self.kind = Kind.ONE

@functools.lru_cache
def cached(n): return n + 1

class Lazy:
    @functools.cached_property
    def value(self): return 8
@functools.singledispatch
def kind_of(value): return "object"
@kind_of.register(int)
def _(value): return "int"
def uses_library_tools(n): return Lazy().value, kind_of(n), kind_of("a")

def same(value): return value
def make_point(n): return Point(n)
def make_all(): return Point(1), Kind.ONE, Pair(1, 2), Child(), Oops(3, "x"), MISSING
def touch(point):
    Point.touched = Base.counter = 99
    return point.moved()
def raising(n): raise Oops(n, "bad")
def uses_cached(n): return cached(n), variable.get(5)
def defaults(_): return given.get(), other.get(), other.name
def packed(n): return HEADER.pack(n, n)
def is_same(value): return value is MISSING and variable is variable

if True:
    with Far() as far:
        container = collections.OrderedDict(p=[Point(5)])
        back = far.call(same, container)
        assert back == container and type(back["p"][0]) is Point
        assert type(far.call(make_point, 3)) is Point
        for one, kind in zip(far.call(make_all), (Point, Kind, Pair, Child, Oops, Missing)):
            assert type(one) is kind, one
        assert far.call(make_all)[1] is Kind.ONE
        assert far.call(make_all)[5] is MISSING and far.call(is_same, MISSING)
        moved = far.call(touch, Point(1))
        assert type(moved) is Point and moved.x == 2
        assert not hasattr(Point, "touched") and Base.counter == 0
        assert Point.moved.__globals__ is globals()
        try:
            far.call(raising, 7)
        except Oops as error:
            assert error.code == 7 and str(error) == "bad"
        assert far.call(uses_cached, 1) == (2, 5)
        assert far.call(same, [Point, Kind, Id])[:2] == [Point, Kind]
        assert far.call(same, variable) is variable
        assert far.call(defaults, 0) == (["a default"], None, "other name")
        assert far.call(same, given) is given
        assert far.call(packed, 3) == HEADER.pack(3, 3)
        assert far.call(uses_library_tools, 1) == (8, "int", "object")
        Base.counter = 5
        assert far.call(same, Child()).counter == 5
        def read_counter(child): return child.counter
        assert far.call(read_counter, Child()) == 5
        Base.counter = 6
        assert far.call(read_counter, Child()) == 6
    print("fine")
"""


def test_main_classes_come_home(tmp_path: Path) -> None:
    """Objects of ``__main__`` classes come back as the caller's own, unchanged."""
    assert run_script(tmp_path, MAIN_CLASSES) == "fine\n"


LOCAL = """
from tests.support.far import Far

def outer():
    class Local:
        def __init__(self, n): self.n = n
    def use(n): return Local(n)
    return Local, use

Local, use = outer()
with Far("by-value") as far:
    assert type(far.call(use, 3)) is Local
    assert far.call(use, 3).n == 3
    assert far.call(lambda x: x + 1, 3) == 4
    assert [f(2) for f in far.call(lambda x: x, [lambda y: y * 2])] == [4]
print("fine")
"""


def test_local_classes_by_value(tmp_path: Path) -> None:
    """Under by-value, local classes that crossed inside a function only come back as themselves."""
    assert run_script(tmp_path, LOCAL) == "fine\n"


def test_importable_classes_go_by_reference() -> None:
    """An importable class is the same class there, and the pickle is small."""
    with Far() as far:
        assert far.call(things.Maker.make).__class__ is things.Maker
    assert len(dumps(things.Record("a"))) < 100


def test_modules_of_cython_cost_nothing() -> None:
    """What Cython puts into ``sys.modules`` is not looked for in every pickle."""
    program = (
        "import sys, types\n"
        "from procession.pickling.pickler import dumps\n"
        "from procession.pickling.importable import unimportable_marks\n"
        "for name in ('_cython_3_1', 'cython_runtime', 'made_by_hand'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "dumps([1])\n"
        "print(sorted(mark[2:-1].decode() for mark in unimportable_marks()))\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    assert out == "['__main__', 'made_by_hand']\n"


def test_where_our_own_modules_are_is_not_looked_up() -> None:
    """A worker has many of them, and takes 50 µs to find each, if they are not installed."""
    program = (
        "import sys\n"
        "from procession.pickling.importable import refresh, unimportable_marks\n"
        "from procession.pickling.pickler import dumps\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        print(name)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.path.append('/elsewhere')\n"
        "refresh()\n"
        "print(unimportable_marks() != ())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


class Compiled:
    """A function that Cython has compiled: no module holds its type, and it goes by its name."""

    def __init__(self, name: str, module: str) -> None:
        self.name, self.__module__ = name, module

    def __reduce__(self) -> str:
        return self.name


Compiled.__module__ = "_cython_0_0"
compiled = Compiled("compiled", __name__)


def test_what_cython_has_compiled_goes_by_name() -> None:
    """As other functions do: whole data frames of pandas depend on it."""
    reduce = PLAIN[Compiled]
    assert reduce(compiled) == "compiled"
    assert loads(dumps({"made by": compiled}))["made by"] is compiled
    with pytest.raises(ByValue):
        reduce(Compiled("compiled", "__main__"))
