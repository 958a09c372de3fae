"""Libraries that patch the standard library: clocks, threads, sockets, processes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.worlds.running import run

CALLS = """
import math, signal, time
import procession
from procession import Pool, TimedOut, background, isolated, parallel, shared

def square(x):
    return x * x

def hang(x):
    while True:
        signal.pause()

def put(queue, x):
    queue.put(x)
    return x

def hold(lock, x):
    with lock:
        return x

print(parallel(inline=False, workers=2)(square).map(range(5)))
print(isolated(square)(3), background(square)(4).result(20))
print(isolated(math.sqrt)(16.0))
print(sorted(parallel(inline=False)(square).imap_unordered(range(3))))
print(next(parallel(inline=False)(square).imap([7])))
with Pool(1) as pool:
    print(list(pool.map(square, range(3), timeout=20)))
futures = [parallel(square).submit(i) for i in range(3)]
print(sorted(f.result() for f in procession.as_completed(futures, 20)))
print(len(procession.wait(futures, 20)[0]))
for limited in (parallel(timeout=0.5, workers=1), isolated(timeout=0.5)):
    try:
        limited(hang).submit(1).result()
    except TimedOut:
        print("timed out")
try:
    background(hang)(1).result(timeout=0.3)
except TimeoutError:
    print("waited")
queue = shared.Queue()
parallel(inline=False)(put).map([queue], 3)
print(queue.get(timeout=20))
try:
    queue.get(timeout=0.2)
except Exception as error:
    print(type(error).__name__)
reader, writer = shared.Pipe(duplex=False)
print(reader.poll(0.1))
lock = shared.Lock()
print(parallel(inline=False, workers=2)(hold).map([lock] * 3, 1))
print(lock.acquire(timeout=1), lock.acquire(timeout=0.1))
for context in ("fork", "spawn"):
    print(parallel(inline=False, workers=1, context=context)(square).map([5]))
procession.shutdown()
print(parallel(inline=False, workers=2)(square).map(range(3)))
"""

EXPECTED = [
    "[0, 1, 4, 9, 16]",
    "9 16",
    "4.0",
    "[0, 1, 4]",
    "49",
    "[0, 1, 4]",
    "[0, 1, 4]",
    "3",
    "timed out",
    "timed out",
    "waited",
    "3",
    "Empty",
    "False",
    "[1, 1, 1]",
    "True False",
    "[25]",
    "[25]",
    "[0, 1, 4]",
]

PATCHED = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "gevent that runs": (
        "from gevent import monkey; monkey.patch_all(); import gevent; gevent.sleep(0)"
    ),
    "eventlet": "import eventlet; eventlet.monkey_patch()",
    "freezegun": "from freezegun import freeze_time; freeze_time('2020-01-01').start()",
    "time_machine": "import time_machine; time_machine.travel(0, tick=False).start()",
    "mocks": (
        "import socket, time; socket.setdefaulttimeout(0.01); "
        "time.monotonic = time.time = time.perf_counter = lambda: 0.0; "
        "time.sleep = lambda seconds: None"
    ),
}

LATER = """
import signal
import procession
from procession import TimedOut, isolated, parallel, shared

def square(x):
    return x * x

def hang(x):
    while True:
        signal.pause()

warm = parallel(inline=False, workers=2)(square)
limited = parallel(timeout=0.5, workers=2)(hang)
queue = shared.Queue()
print(warm.map(range(3)))
PATCH
print(warm.map(range(4)), isolated(square)(3))
try:
    limited.map([1])
except TimedOut:
    print("timed out")
try:
    queue.get(timeout=0.2)
except Exception as error:
    print(type(error).__name__)
"""


def _need(world: str) -> None:
    library = world.partition(" ")[0]
    if library != "mocks" and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


@pytest.mark.parametrize("world", PATCHED)
def test_calls_in_a_world_that_was_patched_before(world: str, tmp_path: Path) -> None:
    """Everything works, and time limits hold, where a library patched before we were imported."""
    _need(world)
    assert run(PATCHED[world] + CALLS, folder=tmp_path, PYTHONWARNINGS="ignore") == EXPECTED


@pytest.mark.parametrize("world", ["gevent", "freezegun"])
def test_calls_in_a_world_that_is_patched_later(world: str, tmp_path: Path) -> None:
    """It also works where workers and threads were up before the patch came."""
    _need(world)
    program = LATER.replace("PATCH", PATCHED[world])
    # gevent's own patch of `threading` complains of every thread that runs already.
    printed = run(program, folder=tmp_path, quiet=world != "gevent", PYTHONWARNINGS="ignore")
    assert printed == ["[0, 1, 4]", "[0, 1, 4, 9] 9", "timed out", "Empty"]


PREFORK = """
import math
import billiard
import procession
from procession import isolated, parallel

def job():
    print(parallel(inline=False, workers=2)(math.sqrt).map([4.0]), flush=True)
    print(isolated(math.sqrt)(9.0), flush=True)
    for context in ("fork", "spawn"):
        sqrt = parallel(inline=False, workers=1, context=context)(math.sqrt)
        print(sqrt.map([16.0]), flush=True)
    procession.shutdown()

if __name__ == "__main__":
    process = billiard.Process(target=job)
    process.daemon = True
    process.start()
    process.join()
    print(process.exitcode)
"""


def test_a_worker_of_celery_s_prefork_pool(tmp_path: Path) -> None:
    """In billiard's daemonic processes, which have a key of another class, calls work."""
    _need("billiard")
    assert run(PREFORK, folder=tmp_path) == ["[2.0]", "3.0", "[4.0]", "[4.0]", "0"]


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import math
from concurrent.futures import ThreadPoolExecutor
from procession import BackendUnavailable, parallel

for backend in ("thread", "loky", "stdlib", ThreadPoolExecutor(1)):
    try:
        parallel(inline=False, backend=backend)(math.sqrt).map([4.0])
    except BackendUnavailable as error:
        print("backend='process'" in str(error))
print(parallel(inline=False, backend="serial")(math.sqrt).map([4.0]))
"""


def test_executors_are_refused_where_threads_are_greenlets(tmp_path: Path) -> None:
    """They would never end, so one line says which backend works there."""
    _need("gevent")
    assert run(GREENLETS, folder=tmp_path) == ["True"] * 4 + ["[2.0]"]
