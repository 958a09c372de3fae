"""Processes into which no other can look: they are not dumpable, or there is no /proc."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.worlds.hidden import UNDUMPABLE, without_proc
from tests.worlds.running import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="about Linux's /proc")

PROGRAM = """
import numpy
from procession import isolated, parallel, shared

def add(x, lock, total, queue):
    with lock:
        total.value += x
    queue.put(x)
    return x

def size(array):
    return int(array.sum())

def make(n):
    return numpy.ones(n)

def fill(i, array):
    array[i] = i
    return i

def length(text, _):
    return len(text)

def there(connection):
    return connection.recv()

def apart(total):
    total.value += 1
    return total.value

LARGE = numpy.ones(300_000)
lock, total, queue, zeros = shared.Lock(), shared.Value("i", 0), shared.Queue(), shared.zeros(3)
here, end = shared.Pipe(False)
kept = shared.put(LARGE)
HIDE
def with_options(f):
    return parallel(inline=False, workers=1, **OPTIONS)(f)

print(with_options(add).map([1, 2], lock, total, queue), total.value, queue.get(timeout=30))
print(with_options(size).map([LARGE * 2, kept]))
print(int(sum(a.sum() for a in with_options(make).map([300_000]))))
print(with_options(fill).map([1, 2], zeros), zeros.tolist())
print(with_options(length).map(["x"], "x" * 300_000))
end.send("sent")
print(with_options(there).map([here]))
if "context" in OPTIONS:
    print(isolated(context=OPTIONS["context"])(apart)(total))
"""

PRINTED = [
    "[1, 2] 3 1",
    "[600000, 300000]",
    "300000",
    "[1, 2] [0.0, 1.0, 2.0]",
    "[1]",
    "['sent']",
    "4",
]

WAYS = {
    "forkserver": {"context": "forkserver"},
    "fork": {"context": "fork"},
    "spawn": {"context": "spawn"},
    "stdlib": {"backend": "stdlib"},
    "loky": {"backend": "loky"},
}


def _program(way: str, hide: str) -> str:
    return PROGRAM.replace("HIDE", hide).replace("OPTIONS", repr(WAYS[way]))


@pytest.mark.parametrize("way", WAYS)
def test_a_process_that_is_not_dumpable(way: str, tmp_path: Path) -> None:
    """All that is shared arrives, also what was made before, and large arrays both ways."""
    printed = run(_program(way, UNDUMPABLE), folder=tmp_path)
    assert printed == PRINTED[: 7 if "context" in WAYS[way] else 6]


@pytest.mark.parametrize("way", ["forkserver", "fork", "stdlib"])
@pytest.mark.skipif(not without_proc(), reason="may not unmount /proc here")
def test_a_world_without_proc(way: str, tmp_path: Path) -> None:
    """The same there."""
    printed = run(_program(way, ""), folder=tmp_path, before=without_proc())
    assert printed == PRINTED[: 7 if "context" in WAYS[way] else 6]


@pytest.mark.skipif(not without_proc(), reason="may not unmount /proc here")
def test_loky_without_proc(tmp_path: Path) -> None:
    """Its workers would end before their first item, so that is said instead."""
    program = """
    from procession import BackendUnavailable, parallel
    try:
        parallel(inline=False, workers=1, backend="loky")(abs).map([1])
    except BackendUnavailable as error:
        print("backend='process'" in str(error))
    """
    assert run(program, folder=tmp_path, before=without_proc()) == ["True"]


def test_what_was_sent_before(tmp_path: Path) -> None:
    """What left before is answered too once more is sent; until then it says why not."""
    program = (
        "import os\nfrom procession import ProcessionError, parallel, shared\n"
        "from procession.shared.memory import handles\n"
        "def take(queue):\n    return queue.get(timeout=30).value\n"
        "queue, total = shared.Queue(), shared.Value('i', 5)\n"
        "queue.put(total)\n"
        "end = os.pipe()[0]\n"
        "where = handles.address(end)\n" + UNDUMPABLE + "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n        handles.reopen(where, os.O_RDONLY)\n"
        "    except ProcessionError as error:\n        os._exit(40 + ('os.setuid' in str(error)))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "print(parallel(inline=False, workers=1)(take).map([queue]))\n"
    )
    assert run(program, folder=tmp_path) == ["41", "[5]"]


def test_other_users_are_not_answered(tmp_path: Path) -> None:
    """Who hands descriptors out gives none to another user, and none that were closed."""
    program = (
        UNDUMPABLE
        + """
import os
from procession.system.descriptors import Closed, offer, reopen
mine, other = os.pipe()
offer()
number, inode = mine, os.fstat(mine).st_ino
child = os.fork()
parent = os.getppid() if child == 0 else 0
if child == 0:
    os.close(reopen(parent, number, inode, os.O_RDONLY))
    for wrong in ((number, inode + 1), (999, inode)):
        try:
            reopen(parent, *wrong, os.O_RDONLY)
        except (Closed, FileNotFoundError):
            pass
        else:
            os._exit(1)
    if os.geteuid() == 0:
        os.setuid(65534)
        try:
            reopen(parent, number, inode, os.O_RDONLY)
        except PermissionError as error:
            os._exit(0 if "hand it out" in str(error) else 2)
        os._exit(3)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert run(program, folder=tmp_path) == ["0"]
