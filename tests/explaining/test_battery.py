"""Unpicklable and lying objects, at various depths: each refused with the right path."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextvars
import ctypes
import functools
import io
import logging
import mmap
import multiprocessing
import os
import pickle
import queue
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import types
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from procession.errors import NotPicklable
from procession.explaining.explain import explain
from procession.pickling.pickler import Pickling, dumps, loads
from tests.support import things
from tests.support.things import Box


def generator() -> Iterator[int]:
    """A generator function."""
    yield 1


async def async_generator() -> AsyncIterator[int]:
    """An asynchronous generator function."""
    yield 1


async def coroutine() -> None:
    """A coroutine function."""


def frame() -> types.FrameType:
    """The frame of a call that is over."""
    return sys._getframe()


def traceback() -> Any:
    """A traceback."""
    try:
        raise ValueError
    except ValueError as error:
        return error.__traceback__


class Makers:
    """Makes what must be closed again after the test."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack

    def file(self, mode: str = "r") -> Any:
        """An open file."""
        return self.stack.enter_context(open(os.devnull, mode))

    def coroutine(self) -> Any:
        """A coroutine that is closed later."""
        made = coroutine()
        self.stack.callback(made.close)
        return made

    def socket(self) -> socket.socket:
        """A socket."""
        return self.stack.enter_context(socket.socket())

    def loop(self) -> asyncio.AbstractEventLoop:
        """An event loop."""
        loop = asyncio.new_event_loop()
        self.stack.callback(loop.close)
        return loop

    def future(self) -> Any:
        """A future of asyncio."""
        return self.loop().create_future()

    def connection(self) -> sqlite3.Connection:
        """A database connection."""
        connection = sqlite3.connect(":memory:")
        self.stack.callback(connection.close)
        return connection

    def pipe(self) -> Any:
        """One end of a pipe of multiprocessing."""
        one, other = multiprocessing.Pipe()
        self.stack.callback(one.close)
        self.stack.callback(other.close)
        return one

    def map(self) -> mmap.mmap:
        """An anonymous memory map."""
        return self.stack.enter_context(mmap.mmap(-1, 10))

    def executor(self) -> Any:
        """A thread pool."""
        return self.stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))

    def process(self) -> Any:
        """A child process."""
        child = subprocess.Popen(["true"])
        self.stack.callback(child.wait)
        return child

    def directory(self) -> Any:
        """A temporary directory."""
        made = tempfile.TemporaryDirectory()
        self.stack.callback(made.cleanup)
        return made

    def handler(self) -> Any:
        """A logging handler."""
        made = logging.StreamHandler(io.StringIO())
        self.stack.callback(made.close)
        return made

    def finalizer(self) -> Any:
        """A finalizer."""
        kept = Box()
        self.stack.callback(lambda: kept)
        return weakref.finalize(kept, int)

    def weak(self, kind: Any) -> Any:
        """A weak reference of some kind."""
        kept = Box()
        self.stack.callback(lambda: kept)
        return kind(kept)

    def weak_values(self) -> Any:
        """A dictionary of weak references."""
        kept = Box()
        self.stack.callback(lambda: kept)
        return weakref.WeakValueDictionary({1: kept})


PROCESS_BOUND: dict[str, Callable[[Makers], Any]] = {
    "lock": lambda m: threading.Lock(),
    "rlock": lambda m: threading.RLock(),
    "condition": lambda m: threading.Condition(),
    "event": lambda m: threading.Event(),
    "semaphore": lambda m: threading.Semaphore(),
    "bounded semaphore": lambda m: threading.BoundedSemaphore(),
    "barrier": lambda m: threading.Barrier(1),
    "thread": lambda m: threading.Thread(),
    "timer": lambda m: threading.Timer(1, int),
    "thread subclass": lambda m: things.MyThread(),
    "event subclass": lambda m: things.MyEvent(),
    "local": lambda m: threading.local(),
    "queue": lambda m: queue.Queue(),
    "priority queue": lambda m: queue.PriorityQueue(),
    "simple queue": lambda m: queue.SimpleQueue(),
    "multiprocessing lock": lambda m: multiprocessing.Lock(),
    "multiprocessing rlock": lambda m: multiprocessing.RLock(),
    "multiprocessing condition": lambda m: multiprocessing.Condition(),
    "multiprocessing event": lambda m: multiprocessing.Event(),
    "multiprocessing semaphore": lambda m: multiprocessing.Semaphore(),
    "multiprocessing simple queue": lambda m: multiprocessing.SimpleQueue(),
    "multiprocessing bounded semaphore": lambda m: multiprocessing.BoundedSemaphore(),
    "multiprocessing connection": Makers.pipe,
    "multiprocessing process": lambda m: multiprocessing.Process(),
    "socket": Makers.socket,
    "text file": Makers.file,
    "binary file": lambda m: m.file("rb"),
    "written file": lambda m: m.file("wb"),
    "stdout": lambda m: sys.__stdout__,
    "generator": lambda m: generator(),
    "async generator": lambda m: async_generator(),
    "coroutine": Makers.coroutine,
    "frame": lambda m: frame(),
    "traceback": lambda m: traceback(),
    "connection": Makers.connection,
    "cursor": lambda m: m.connection().cursor(),
    "PEP 249 connection": lambda m: things.Connection(),
    "PEP 249 cursor": lambda m: things.FakeCursor(),
    "event loop": Makers.loop,
    "asyncio future": Makers.future,
    "asyncio lock": lambda m: asyncio.Lock(),
    "asyncio event": lambda m: asyncio.Event(),
    "asyncio queue": lambda m: asyncio.Queue(),
    "memoryview": lambda m: memoryview(b"abc"),
    "weak reference": lambda m: m.weak(weakref.ref),
    "weak proxy": lambda m: m.weak(weakref.proxy),
    "weak method": lambda m: m.weak(lambda kept: weakref.WeakMethod(kept.method)),
    "weak dictionary": Makers.weak_values,
    "weak set": lambda m: m.weak(lambda kept: weakref.WeakSet([kept])),
    "finalizer": Makers.finalizer,
    "pointer": lambda m: ctypes.pointer(ctypes.c_int(1)),
    "void pointer": lambda m: ctypes.c_void_p(1),
    "memory map": Makers.map,
    "executor": Makers.executor,
    "future": lambda m: concurrent.futures.Future(),
    "child process": Makers.process,
    "temporary directory": Makers.directory,
    "logging handler": Makers.handler,
    "main module": lambda m: sys.modules["__main__"],
    "unnamed module": lambda m: types.ModuleType("made_by_hand"),
    "context token": lambda m: contextvars.ContextVar[int]("of_no_module").set(1),
    "context": lambda m: contextvars.copy_context(),
    "unnamed context variable": lambda m: contextvars.ContextVar("held_by_nobody"),
    "match": lambda m: re.match("a", "a"),
    "code error": lambda m: things.RaisesInReduce(),
    "state error": lambda m: things.RaisesInGetstate(),
    "nonsense": lambda m: things.ReducesToNumber(),
    "wrong name": lambda m: things.ReducesToWrongName(),
}

NAMELESS: dict[str, Callable[[], Any]] = {
    "lambda": lambda: lambda: 1,
    "closure": lambda: things.closure(1),
    "local object": things.local_object,
    "local class": lambda: type(things.local_object()),
    "class under another name": lambda: things.Dynamic(1, 2),
}

PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "root": (lambda c: c, "job"),
    "documented": (things.Job, "job.store._cache['lru'][2]"),
    "attribute": (Box, "job.value"),
    "list": (lambda c: [0, [1, c]], "job[1][1]"),
    "tuple": (lambda c: (c,), "job[0]"),
    "key": (lambda c: {"a": {3: c}}, "job['a'][3]"),
    "enum key": (lambda c: {things.Colour.RED: c}, "job[Colour.RED]"),
    "odd key": (lambda c: {Box(1): c}, "list(job.values())[0]"),
    "dataclass": (lambda c: things.Record("a", c), "job.payload"),
    "frozen dataclass": (things.Frozen, "job.payload"),
    "slots": (lambda c: things.Slotted(1, c), "job.right"),
    "named tuple": (lambda c: things.Pair(1, c), "job.second"),
    "deque": (lambda c: collections.deque([1, c]), "job[1]"),
    "default dict": (lambda c: collections.defaultdict(list, a=c), "job['a']"),
    "ordered dict": (lambda c: collections.OrderedDict(a=c), "job['a']"),
    "list subclass": (lambda c: things.Named([c]), "job[0]"),
    "dict subclass": (lambda c: things.Keyed(a=c), "job['a']"),
    "partial": (lambda c: functools.partial(print, c), "job.args[0]"),
    "partial keyword": (lambda c: functools.partial(print, end=c), "job.keywords['end']"),
    "bound method": (lambda c: Box(c).method, "job.__self__.value"),
    "exception argument": (lambda c: ValueError(c), "job.args[0]"),
    "getstate": (things.WithState, "job.__getstate__()['handle'][0]"),
    "reduce": (things.WithReduce, "job.__reduce__()[1][0][0]"),
    "simple namespace": (lambda c: types.SimpleNamespace(a=c), "job.a"),
}


def refused(obj: Any, pickling: Pickling = "strict") -> NotPicklable:
    """Pickle, which must fail, and explain."""
    with pytest.raises(Exception) as caught:
        dumps(obj, pickling)
    return explain(
        caught.value, obj, where="argument", function="work", root="job", pickling=pickling
    )


@pytest.fixture
def makers() -> Iterator[Makers]:
    """Closes what a test made."""
    with ExitStack() as stack:
        yield Makers(stack)


def evaluated(path: str, job: Any) -> Any:
    """What a path leads to."""
    return eval(path, {"job": job, "Colour": things.Colour})


@pytest.mark.parametrize("pickling", ["strict", "by-value"])
@pytest.mark.parametrize("kind", PROCESS_BOUND)
def test_process_bound_objects_are_refused(kind: str, pickling: Pickling, makers: Makers) -> None:
    """What is bound to this process is refused in both modes, at its own place, with a reason."""
    culprit = PROCESS_BOUND[kind](makers)
    job = things.Job(culprit)
    error = refused(job, pickling)
    assert error.path == "job.store._cache['lru'][2]"
    assert evaluated(error.path, job) is culprit
    assert error.culprit == f"{type(culprit).__module__}.{type(culprit).__qualname__}"
    assert error.where == "argument"
    assert "argument 'job' holds" in str(error)
    assert error.reason.endswith(".")
    assert "Store.__getstate__" in str(error)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("bounded semaphore", "holds a threading.BoundedSemaphore "),
        ("bounded semaphore", "A semaphore belongs to the process that made it."),
        ("socket", "A socket is a connection of this process."),
        ("async generator", "Pass a list, or make it inside the function."),
        ("context token", "holds a contextvars.Token "),
    ],
)
def test_what_the_messages_say(kind: str, says: str, makers: Makers) -> None:
    """The thing by its own name, in plain English, with a mend that works."""
    assert says in " ".join(str(refused([PROCESS_BOUND[kind](makers)])).split())


@pytest.mark.parametrize("kind", NAMELESS)
def test_nameless_code_is_refused_under_strict(kind: str) -> None:
    """Lambdas, closures and local classes need pickling="by-value"."""
    culprit = NAMELESS[kind]()
    error = refused([culprit])
    assert error.path == "job[0]"
    assert 'pickling="by-value"' in str(error)
    loads(dumps([culprit], "by-value"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("pickling", ["strict", "by-value"])
def test_path_leads_to_the_culprit(place: str, pickling: Pickling) -> None:
    """The path is a Python expression that leads from the root to the culprit."""
    put, path = PLACES[place]
    culprit = threading.Lock()
    job = put(culprit)
    error = refused(job, pickling)
    assert error.path == path
    assert evaluated(error.path, job) is culprit
    assert f"  {path}  →  _thread.lock\n" in str(error)


@pytest.mark.parametrize("kind", [set, frozenset, things.Grouped])
def test_set_members(kind: Any) -> None:
    """A member of a set is named by its place in a list of the set."""
    job = kind([threading.Lock()])
    error = refused(Box(job))
    assert error.path == "list(job.value)[0]"


def test_key_of_a_dictionary() -> None:
    """A culprit that is itself a key is named by its place among the keys."""
    lock = threading.Lock()
    assert refused({1: 2, lock: 3}).path == "list(job)[1]"


def test_closure_cells_defaults_and_attributes() -> None:
    """Under by-value, what a function closes over or defaults to is checked, and named."""
    lock = threading.Lock()
    error = refused([things.closure(lock)], "by-value")
    assert error.path == "job[0].__closure__[0].cell_contents"
    assert "(the variable 'value' of the enclosing function)" in str(error)
    error = refused(things.defaulting(lock), "by-value")
    assert error.path == "job.__defaults__[0]"
    assert "(the default of 'thing')" in str(error)


def test_object_arrays() -> None:
    """A culprit in an array of objects is found."""
    numpy = pytest.importorskip("numpy")
    job = numpy.array([1, threading.Lock()], dtype=object)
    error = refused({"a": job})
    assert error.path == "job['a'][1]"
    assert evaluated(error.path, {"a": job}) is job[1]


def test_data_frames() -> None:
    """A culprit in a column of objects is found."""
    pandas = pytest.importorskip("pandas")
    job = pandas.DataFrame({"a": [1, 2], "b": [1, threading.Lock()]})
    error = refused([job])
    assert error.path == "job[0]['b'].iloc[1]"
    assert error.culprit == "_thread.lock"


def test_shared_values_of_multiprocessing() -> None:
    """They are refused by their base (making one here would leave its memory behind)."""
    from multiprocessing.sharedctypes import Synchronized

    from procession.pickling.refused_types import refusal_of

    refusal = refusal_of(Synchronized)
    assert refusal is not None
    assert "procession.shared.Value()" in refusal.mend


def test_several_culprits_are_counted() -> None:
    """The first three are shown, and the rest is counted."""
    text = str(refused([threading.Lock() for _ in range(8)]))
    assert "job[0]" in text
    assert "job[2]" in text
    assert "job[3]" not in text
    assert "and 5 more" in text


@pytest.mark.parametrize("depth", [400, 100_000])
def test_depth(depth: int) -> None:
    """A list of 100,000 lists is a clear error, not a crash; a lock inside is still found."""
    job: Any = threading.Lock() if depth == 400 else 1
    for _ in range(depth):
        job = [job]
    error = refused(job)
    if depth == 400:
        assert error.culprit == "_thread.lock"
    else:
        assert "levels of objects inside each other" in str(error)
        assert len(str(error)) < 1000
    while isinstance(job, list):
        job = job.pop()


def test_unending_reduce() -> None:
    """An object that unfolds for ever is a clear error."""
    assert "levels of objects inside each other" in str(refused(things.Unfolds()))


def test_cycles_are_fine() -> None:
    """A cycle is no error, and does not confuse the search for one."""
    job = Box()
    job.value = [job]
    assert loads(dumps(job)).value[0].value is not None
    job.value.append(threading.Lock())
    assert refused(job).path == "job.value[1]"


WELCOME: dict[str, Callable[[], Any]] = {
    "own getstate": lambda: things.LeavesOut(3),
    "own reduce of a refused type": lambda: things.PicklableQueue(4),
    "module": lambda: os.path,
    "module of a package": lambda: collections.abc,
    "logger": lambda: logging.getLogger("a.b"),
    "null context": lambda: {"a": contextvars.ContextVar},
    "string buffer": lambda: io.StringIO("abc"),
    "bytes buffer": lambda: io.BytesIO(b"abc"),
    "ctypes value": lambda: ctypes.c_int(3),
    "views": lambda: {1: 2}.items(),
    "mapping proxy": lambda: types.MappingProxyType({"a": [1]}),
    "bound builtin": lambda: [1].append,
    "private method": lambda: Box().private(),
    "iterator": lambda: iter([1, 2]),
    "function": lambda: things.double,
    "class": lambda: things.Maker.Inner,
    "class method": lambda: things.Maker.make,
    "exception": lambda: ValueError(1, "a"),
    "pattern": lambda: re.compile("a+"),
    "counter": lambda: collections.Counter("abca"),
}


@pytest.mark.parametrize("kind", WELCOME)
def test_what_can_cross_does(kind: str) -> None:
    """Objects with a working pickle pass, also if they inherit from something refused."""
    value = WELCOME[kind]()
    copy = loads(dumps(value))
    assert type(copy) is type(value)
    if kind in ("module", "function", "class", "logger", "pattern", "counter", "views"):
        assert copy == value


def test_registered_reducers_win() -> None:
    """A reducer that the user registered with copyreg is used, now and if it is replaced."""
    import copyreg

    class_ = types.new_class("Registered", (Box,))
    try:
        copyreg.pickle(class_, lambda obj: (Box, ("first",)))
        assert loads(dumps([class_()])) == [Box("first")]
        copyreg.pickle(class_, lambda obj: (Box, ("second",)))
        assert loads(dumps([class_()])) == [Box("second")]
    finally:
        del copyreg.dispatch_table[class_]


def test_nothing_is_imported_to_refuse() -> None:
    """Pickling imports none of the modules whose types it refuses."""
    script = (
        "import sys; from procession.pickling.pickler import dumps\n"
        "dumps([object(), {1: 2}])\n"
        "heavy = {'asyncio', 'multiprocessing', 'sqlite3', 'ctypes', 'cloudpickle', 'logging',"
        " 'inspect', 'socket', 'subprocess'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_error_itself_travels() -> None:
    """The explanation pickles with its attributes."""
    error = pickle.loads(pickle.dumps(refused([threading.Lock()])))
    assert (error.where, error.path, error.culprit) == ("argument", "job[0]", "_thread.lock")
    assert error.reason == "A lock belongs to the process that made it."
