"""A call that runs while the program forks: the parent gets its result, the child an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.forking import run

HEAD = """
import asyncio, concurrent.futures as cf, gc, itertools, pathlib
import procession
from tests.chaos.jobs import nothing_until, square
folder = pathlib.Path({folder!r})
options = {options!r}
held = nothing_until.with_options(workers=2, **options)
"""

OPTIONS: dict[str, dict[str, object]] = {
    "process": {},
    "fork": {"context": "fork"},
    "loky": {"backend": "loky"},
    "stdlib": {"backend": "stdlib"},
    "thread": {"backend": "thread"},
}

WAITS = {
    "result": "future.result()",
    "result with timeout": "future.result(30)",
    "exception": "print(repr(future.exception())[:10]); future.result()",
    "procession.wait": "procession.wait([future])[0].pop().result()",
    "procession.as_completed": "next(procession.as_completed([future])).result()",
    "gather": "procession.gather(future)",
    "wait": "cf.wait([future])[0].pop().result()",
    "as_completed": "next(cf.as_completed([future])).result()",
    "await": "asyncio.run(awaited(future))",
}


@pytest.mark.parametrize("backend", OPTIONS)
def test_every_wait_in_the_child_fails(backend: str, tmp_path: Path) -> None:
    """Whichever way a child waits for the future of a call of its parent, an error says why."""
    code = HEAD.format(folder=str(tmp_path), options=OPTIONS[backend])
    code += """
async def awaited(future):
    await future

future = held.submit(0, folder / "over")
done = square.with_options(workers=2, **options).submit(3)
assert done.result() == 9
"""
    for wait in WAITS.values():
        code += f"assert in_child(lambda: exec({wait!r}, globals())) == 1\n"
    code += """
assert in_child(lambda: done.result()) == 0
assert in_child(lambda: future.cancel() and 1 / 0) == 0
(folder / "over").touch()
print(future.result(), done.result(), flush=True)
"""
    out = run(code).replace("PoolClosed\n", "").splitlines()
    assert out.pop() == "0 9"
    assert len(out) == len(WAITS)
    for line in out:
        assert line.startswith("PoolClosed: nothing_until() was called in process ")
        assert line.endswith("Call it again here, or read its result before the fork.")


MAPS = {
    "imap": "held.imap([1, 2, 3], folder / 'over')",
    "imap_unordered": "held.imap_unordered([1, 2, 3], folder / 'over')",
    "outcomes": "held.outcomes([1, 2, 3], folder / 'over')",
    "imap of a generator": "held.imap((n for n in itertools.count(1)), folder / 'over')",
    "isolated": "stream(folder)",
    "Pool.map": "pool.map(nothing_until.local, [1, 2], itertools.repeat(folder / 'over'))",
    "as_completed": "(f.result() for f in procession.as_completed(futures()))",
    "cf.as_completed": "(f.result() for f in cf.as_completed(futures()))",
}


@pytest.mark.parametrize("name", MAPS)
def test_half_read_iterators(name: str, tmp_path: Path) -> None:
    """A child that reads on, closes or drops an iterator of its parent fails, and disturbs nobody.

    The first result (of item 1) is there, the others are not.
    """
    code = HEAD.format(folder=str(tmp_path), options={"inline": False, "chunk": 1, "window": 3})
    code += f"""
from tests.chaos.jobs import one_and_more
stream = one_and_more
futures = lambda: [held.submit(n, folder / "over") for n in (1, 2)]
pool = procession.Pool(2)
iterator = {MAPS[name]}
first = next(iterator)
assert getattr(first, "value", first) == 1
def drop():
    global iterator
    del iterator
    gc.collect()
def read():
    getattr(next(iterator), "value", None)
assert in_child(read) == 1
assert in_child(lambda: iterator.close()) == 0
assert in_child(drop) == 0
(folder / "over").touch()
second = next(iterator)
print(getattr(second, "value", second), flush=True)
getattr(iterator, "close", int)()
pool.shutdown()
"""
    assert len(lines := run(code).splitlines()) == 2
    assert lines[0].startswith("PoolClosed: ")
    assert "was called in process " in lines[0]
    assert lines[1] in ("2", "3")


def test_map_async(tmp_path: Path) -> None:
    """The future of a whole map fails in the child as that of a call does."""
    code = HEAD.format(folder=str(tmp_path), options={})
    code += """
future = held.map_async([0, 2], folder / "over")
assert in_child(future.result) == 1
(folder / "over").touch()
print(future.result(), flush=True)
"""
    first, second = run(code).splitlines()
    assert first.startswith("PoolClosed: nothing_until() was called in process ")
    assert second == "[0, 2]"


def test_callbacks_stay_in_the_parent(tmp_path: Path) -> None:
    """What was to be called when the call is done is called in the parent alone."""
    code = HEAD.format(folder=str(tmp_path), options={})
    code += """
future = held.submit(0, folder / "over")
future.add_done_callback(lambda done: print("called", done.result(), flush=True))
assert in_child(lambda: future.exception()) == 0
(folder / "over").touch()
future.result()
procession.shutdown()
"""
    assert run(code) == "called 0\n"


def test_a_future_whose_lock_another_thread_holds(tmp_path: Path) -> None:
    """A child is told though the future was just being looked at when it was forked."""
    code = HEAD.format(folder=str(tmp_path), options={})
    code += """
future = held.submit(0, folder / "over")
locked, over = threading.Event(), threading.Event()
def look():
    with future._condition:
        locked.set()
        over.wait()
thread = threading.Thread(target=look)
thread.start()
locked.wait()
assert in_child(future.result) == 1
over.set()
thread.join()
(folder / "over").touch()
print(future.result(), flush=True)
"""
    first, second = run(code).splitlines()
    assert first.startswith("PoolClosed: ")
    assert second == "0"


def test_a_map_that_runs_here_alone() -> None:
    """An iterator whose items run in the reading process goes on in the child as in the parent."""
    code = """
from tests.chaos.jobs import square
iterator = square.with_options(backend="serial").imap(iter(range(4)))
next(iterator)
assert in_child(lambda: print(list(iterator), flush=True)) == 0
print(list(iterator), flush=True)
"""
    assert run(code) == "[1, 4, 9]\n[1, 4, 9]\n"
