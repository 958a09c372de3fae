"""Calls that a module makes in its own body, while workers import it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.worlds.running import run

MODULE = """
import asyncio, os, threading, time
from procession import NestedParallelism, Pool, background, isolated, parallel, parallel_map

with open("imports", "a") as file:
    file.write("x")

def plain(x):
    return x + 1

decorated = DECORATOR(plain)

def count(n):
    yield from range(n)

@isolated
async def later(x):
    return x + 1

def told(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__

def in_thread(call, wait=0.0):
    got = []
    def begin():
        time.sleep(wait)
        got.append(told(call))
    thread = threading.Thread(target=begin)
    thread.start()
    if not wait:
        thread.join()
    return got

def with_pool():
    with Pool(1) as pool:
        return list(pool.map(plain, [1, 2]))

BODY
print("value", value)
"""

# What the module does, and what that gives where it may start processes.
BODIES = {
    "isolated": ("isolated", "value = decorated(3)", "4"),
    "limited": ("isolated(timeout=20)", "value = told(lambda: decorated(3))", "4"),
    "map": ("parallel(timeout=20, workers=1)", "value = decorated.map([1, 2])", "[2, 3]"),
    "several": (
        "background",
        """value = (
    list(parallel(memory_limit="1GB")(plain).imap([1, 2])),
    decorated(3).result(),
    parallel(plain).map_async([1]).result(),
    asyncio.run(later(1)),
    list(isolated(count)(3)),
)""",
        "([2, 3], 4, [2], 2, [0, 1, 2])",
    ),
    "pool": ("parallel", "value = told(with_pool)", "[2, 3]"),
    "thread": ("isolated", "value = in_thread(lambda: decorated(3))", "[4]"),
    "late thread": ("isolated", "value = in_thread(lambda: decorated(3), 0.2) and 0", "[]"),
    "spawn": ("parallel(context='spawn', inline=False)", "value = decorated.map([1])", "[2]"),
    "fork": ("isolated(context='fork')", "value = decorated(3)", "4"),
    "stdlib": (
        "parallel(backend='stdlib', workers=1, inline=False)",
        "value = decorated.map([1])",
        "[2]",
    ),
}


def _write(folder: Path, body: str) -> None:
    decorator, call, _ = BODIES[body]
    text = MODULE.replace("DECORATOR", decorator).replace("BODY", call)
    (folder / "unguarded.py").write_text(textwrap.dedent(text))
    (folder / "outer.py").write_text(
        "import unguarded\ndef of(x):\n    return unguarded.plain(x)\n"
    )


@pytest.mark.parametrize("body", BODIES)
def test_a_module_that_makes_calls_when_it_is_imported(body: str, tmp_path: Path) -> None:
    """It gets its value, and its workers, which import it too, start no more of them."""
    _write(tmp_path, body)
    printed = run("import unguarded", folder=tmp_path, path=tmp_path)
    assert f"value {BODIES[body][2]}" in printed
    calls = 5 if body == "several" else 1
    assert len((tmp_path / "imports").read_text()) <= 1 + 3 * calls


@pytest.mark.parametrize("body", ["limited", "late thread"])
def test_a_worker_that_imports_such_a_module_on_the_way(body: str, tmp_path: Path) -> None:
    """A function's module may import it: that starts no processes either."""
    _write(tmp_path, body)
    program = """
    import sys
    from procession import parallel
    class Lazy:
        def __reduce__(self):
            return __import__, ("unguarded",)
    def name(module):
        return module.__name__
    print(parallel(inline=False, workers=1)(name).map([Lazy()]))
    import outer
    print(parallel(inline=False, workers=1)(outer.of).map([1]))
    """
    printed = run(program, folder=tmp_path, path=tmp_path)
    assert "['unguarded']" in printed
    assert "[2]" in printed
    assert len((tmp_path / "imports").read_text()) <= 5


def test_the_refusal_names_the_module(tmp_path: Path) -> None:
    """What cannot run there says where it was called, and to move it into a function."""
    _write(tmp_path, "pool")
    text = (tmp_path / "unguarded.py").read_text().replace("told(with_pool)", "with_pool()")
    (tmp_path / "unguarded.py").write_text(text)
    program = """
    from procession import isolated
    try:
        import unguarded
    except Exception as error:
        print(type(error).__name__, "module 'unguarded'" in str(error), "function" in str(error))
    """
    assert run(program, folder=tmp_path, path=tmp_path) == ["NestedParallelism True True"]


def test_an_initializer_may_start_processes(tmp_path: Path) -> None:
    """It is run once, on purpose, and is no import."""
    program = """
    import os
    from procession import isolated, parallel
    @isolated
    def elsewhere():
        return os.getpid()
    def begin():
        os.environ["ELSEWHERE"] = str(elsewhere() != os.getpid())
    def look(x):
        return os.environ["ELSEWHERE"]
    print(parallel(inline=False, workers=1, initializer=begin)(look).map([1]))
    """
    assert run(program, folder=tmp_path) == ["['True']"]
