"""Decorated functions in pools of other libraries: the decorated object arrives, by any pickler."""

from __future__ import annotations

import io
import pickle
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import cloudpickle
import pytest

from procession import parallel, parallel_map, per_worker
from procession.functions.loading import load_function
from procession.functions.packed_function import dump_function
from procession.pickling.pickler import dumps, loads
from tests.support.far import Far, run_script

SCRIPT = """
import multiprocessing, pickle, sys, warnings
from concurrent.futures import ProcessPoolExecutor
from procession import ParallelWarning, isolated, parallel, parallel_map, per_worker

warnings.simplefilter("ignore", ParallelWarning)

@parallel
def f(x): return x + 1

@parallel_map
def double(x): return x * 2

fast = f.with_options(workers=1)

class C:
    def __init__(self, k): self.k = k
    @parallel
    def m(self, x): return self.k + x
    @parallel
    @classmethod
    def c(cls, x): return cls.__name__, x
    @parallel
    @staticmethod
    def s(x): return x * 10
    class D:
        @parallel_map
        def m(self, x): return 100 + x

def plain(x): return x - 1
mapped = parallel_map(plain)

@per_worker
def connection(): return [1]

@parallel
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)

@isolated
def inc(x): return double([x, x + 1])

unnamed = parallel(pickling="by-value")(lambda x: x + 7)

def make(k):
    @parallel_map(pickling="by-value")
    def nested(x): return x + k
    return nested
nested = make(5)

def use(handle): return handle.value

def call(work):
    g, args = work
    return g(*args), type(g).__name__, g.options.workers

c = C(3)
named = [(f, (1,)), (fast, (1,)), (double, ([1, 2],)), (c.m, (4,)), (C.c, (4,)), (C.s, (4,)),
         (c.s, (4,)), (c.c, (1,)), (C.D().m, ([1],)), (mapped, ([5],)), (fib, (8,)),
         (inc, (3,)), (C.m, (c, 1))]
valued = [(unnamed, (1,)), (nested, ([1],)), (unnamed.with_options(workers=2), (1,))]
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_the_standard_library(tmp_path: Path, method: str) -> None:
    """`multiprocessing.Pool` and ProcessPoolExecutor take what they take undecorated."""
    script = f"""{SCRIPT}
def main():
    want = [call(work) for work in named]
    context = multiprocessing.get_context({method!r})
    with context.Pool(1) as pool:
        assert pool.map(call, named) == want
        assert (pool.map(f, [1, 2]), pool.map(c.m, [1]), pool.map(use, [connection])) == (
            [2, 3], [4], [[1]])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert list(pool.map(call, named)) == want
        assert list(pool.map(C.s, [1])) == [10]
    for obj in (f, mapped, vars(C)["m"], vars(C)["c"], connection):
        for protocol in range(6):
            back = pickle.loads(pickle.dumps(obj, protocol))
            assert back is obj or obj is mapped and type(back) is type(obj)
    print("fine")

if __name__ == "__main__":
    main()
"""
    assert run_script(tmp_path, script) == "fine\n"


def test_pools_that_use_cloudpickle(tmp_path: Path) -> None:
    """In joblib's and loky's workers a decorated function does what it does here."""
    script = f"""{SCRIPT}
from joblib import Parallel, delayed
from loky import get_reusable_executor
def outer(n): return double([n, n + 1]), inc(n)

if __name__ == "__main__":
    work = named + valued
    want = [call(each) for each in work]
    assert Parallel(n_jobs=2)(delayed(call)(each) for each in work) == want
    assert Parallel(n_jobs=2)(delayed(g)(*args) for g, args in work) == [w[0] for w in want]
    assert Parallel(n_jobs=2)([delayed(use)(connection)]) == [[1]]
    executor = get_reusable_executor(2)
    assert list(executor.map(call, work)) == want
    assert list(executor.map(outer, [0, 1])) == [outer(0), outer(1)]
    executor.shutdown(kill_workers=True)
    print("fine")
"""
    assert run_script(tmp_path, script) == "fine\n"


@parallel
def here(number: int) -> int:
    """In a module that can be imported."""
    return number + 1


@per_worker
def handle() -> list[int]:
    """A handle whose factory can be found under no name."""
    return [1]


class Methods:
    """Decorated methods."""

    @parallel
    def method(self, number: int) -> int:
        """A method."""
        return number + 2


def test_importable_functions_go_by_name_everywhere() -> None:
    """cloudpickle, both of pickle's picklers and ours write the name."""
    for obj in (here, vars(Methods)["method"], handle):
        sink = io.BytesIO()
        pickle._Pickler(sink).dump(obj)
        for blob in (pickle.dumps(obj), cloudpickle.dumps(obj), sink.getvalue(), dumps(obj)):
            assert pickle.loads(blob) is obj


def test_module_that_is_to_go_by_value() -> None:
    """cloudpickle may be told to send a module by value."""
    this = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(this)
    try:
        back = cloudpickle.loads(cloudpickle.dumps(here))
    finally:
        cloudpickle.unregister_pickle_by_value(this)
    assert back is not here
    assert type(back) is type(here)
    assert back(1) == 2
    assert back.options == here.options


def test_handle_as_a_decorator_is_used_there() -> None:
    """A function whose global is a decorated factory runs in a worker."""
    with Far() as far:
        assert far.call(use_handle) == [1]
        assert far.call(use, handle) == [1]


def use_handle() -> Any:
    """Uses the global."""
    return handle.value


def use(given: Any) -> Any:
    """Uses the argument."""
    return given.value


def test_it_goes_on_to_say_that_it_is_a_function() -> None:
    """Only cloudpickle is told what stands outermost."""
    doubled: Any = parallel_map(here.__wrapped__)
    for each in (here, Methods.method, doubled):
        decorated: Any = each
        assert isinstance(decorated, FunctionType)
    assert load_function(dump_function(doubled.__wrapped__, doubled)) is here.__wrapped__
    assert loads(dumps(doubled)).options == doubled.options
