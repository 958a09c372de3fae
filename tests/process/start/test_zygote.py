"""The fork server that is a copy of the program: workers see what they see under any start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")

BEGIN = """
import os, sys
from procession import parallel, isolated, background, shutdown

def copied():
    "Whether the server that forked this worker is a copy of the program."
    with open(f"/proc/{os.getppid()}/cmdline") as file:
        return "server_loop" not in file.read()
"""

STATE = """
import asyncio, atexit, decimal, gc, io, json, logging, random, signal, tempfile, threading, weakref
import settings_of_program

sys.setrecursionlimit(2345)
os.environ["SET_BY_PROGRAM"] = "1"
random.seed(7)
logging.basicConfig(level=logging.DEBUG, filename=sys.argv[1] + "/log")
logging.getLogger("mine").setLevel(logging.ERROR)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGCHLD, lambda *_: None)
sys.excepthook = lambda *error: sys.__excepthook__(*error)
settings_of_program.value = "changed"
state = {"main": "changed"}
held = open(sys.argv[1] + "/file", "w")
held.write("once ")
sys.stdout.write("once ")
folder = tempfile.TemporaryDirectory(dir=sys.argv[1])
atexit.register(lambda: held.write("at exit "))
class Ends:
    def __del__(self): os.write(1, b"ended ")
    def __reduce__(self): return (int, ())
ending, cycle = Ends(), Ends()
cycle.me = cycle
del cycle
thread_state = threading.local()
thread_state.held = Ends()
weakref.finalize(ending, os.write, 1, b"finalized ")

def seen(_):
    import gc, logging, random, settings_of_program, signal, threading
    gc.collect()
    try:
        loop = str(asyncio.get_running_loop())
    except RuntimeError:
        loop = "none"
    return {
        "main": sorted(n for n in vars(sys.modules["__main__"]) if not n.startswith("__")
                       and n not in ("gc", "marshal", "os", "sys", "serve", "serve_as_copy")),
        "module": settings_of_program.value,
        "recursion": sys.getrecursionlimit(),
        "variable": os.environ.get("SET_BY_PROGRAM"),
        "root": [str(h) for h in logging.root.handlers], "level": logging.root.level,
        "mine": logging.getLogger("mine").level,
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "wakeup": signal.set_wakeup_fd(-1),
        "mask": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "hook": sys.excepthook is sys.__excepthook__,
        "threads": [t.name for t in threading.enumerate()],
        "kernel": len(os.listdir("/proc/self/task")),
        "is main": threading.current_thread() is threading.main_thread(),
        "stdin": os.read(0, 1) == b"", "argv": sys.argv[:2], "path": [p for p in sys.path if p],
        "folder": os.getcwd(), "loop": loop, "gc": gc.isenabled(),
        "out": [sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering, sys.stdout.name],
        "err": [sys.stderr.encoding, sys.stderr.errors],
        "files": [name for name in os.listdir("/proc/self/fd")
                  if (link := os.path.realpath("/proc/self/fd/" + name)).startswith(sys.argv[1])],
        "session": os.getsid(0) == os.getpid(),
    }

options = {} if sys.argv[2] == "-" else {"context": sys.argv[2]}
look = parallel(inline=False, workers=1, **options)(seen)
print(json.dumps(look.map([0])[0]), file=sys.stderr)
answer = parallel(workers=1, **options)(copied).submit().result()
print(json.dumps(answer), file=sys.stderr)
numbers = parallel(inline=False, workers=2, chunk=1, **options)(settings_of_program.draw)
print(len(set(numbers.map(range(4)))), file=sys.stderr)
shutdown()
assert os.path.isdir(folder.name)
sys.stdout.flush()
"""

MODULE = """
value = "as imported"
def draw(_):
    import random
    return random.random()
"""


def run(
    code: str, folder: Path, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder, with its arguments."""
    script = folder / "script.py"
    script.write_text(BEGIN + code)
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        input=stdin,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done


def state(folder: Path, context: str) -> tuple[dict[str, Any], bool, str]:
    """What a worker sees, whether a copy started it, and what was written to stdout."""
    (folder / "settings_of_program.py").write_text(MODULE)
    done = run(STATE, folder, str(folder), context)
    seen, copied, drawn = done.stderr.splitlines()[-3:]
    assert int(drawn) == 4  # no two workers draw the same numbers
    assert (folder / "file").read_text() == "once at exit "
    return json.loads(seen), json.loads(copied), done.stdout


def test_workers_see_the_same_under_each_start(tmp_path: Path) -> None:
    """What a program has open, set, registered and loaded is no more in a copy than elsewhere."""
    seen, copied, out = state(tmp_path, "-")
    clean, clean_copied, clean_out = state(tmp_path, "forkserver")

    assert copied
    assert not clean_copied
    assert seen == clean
    assert out == clean_out
    assert seen["module"] == "as imported"
    assert seen["files"] == []


@pytest.mark.parametrize(
    "first",
    [
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
        "import sqlite3\n",
        "import numpy\n",
        "sys.settrace(lambda *_: None)\n",
    ],
    ids=["thread", "sqlite3", "numpy", "traced"],
)
def test_where_a_copy_would_not_be_safe_there_is_none(first: str, tmp_path: Path) -> None:
    """A process with another thread, or with what minds forks, has the clean server."""
    code = first + "print(isolated(copied)())\n"

    assert run(code, tmp_path).stdout == "False\n"


def test_the_clean_one_is_there_when_asked_for(tmp_path: Path) -> None:
    """``context="forkserver"`` takes nothing of the program."""
    code = "print(isolated(copied)(), isolated(context='forkserver')(copied)())\n"

    assert run(code, tmp_path).stdout == "True False\n"


def test_descriptors_above_a_limit_that_was_lowered(tmp_path: Path) -> None:
    """They are dropped, too: a copy is made as ever."""
    code = """
import fcntl, resource
high = fcntl.fcntl(0, fcntl.F_DUPFD, 200)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
print(isolated(copied)())
"""
    done = run(code, tmp_path)

    assert done.stdout == "True\n"
    assert done.stderr == ""


def test_a_killed_one_is_replaced(tmp_path: Path) -> None:
    """Calls go on by the clean server, as the program has threads by then."""
    code = """
import signal
def server(): return os.getppid()
find = background(server)
pid = find().result(30)
os.kill(pid, signal.SIGKILL)
while True:
    try:
        again = background(retries=2)(server)().result(30)
    except Exception:
        continue
    if again != pid:
        break
print(isolated(copied)(), background(workers=2)(abs)(-3).result(30))
"""
    assert run(code, tmp_path).stdout == "False 3\n"


def test_a_forked_child_of_the_program_has_its_own(tmp_path: Path) -> None:
    """What a child of the program starts answers it, and not its parent."""
    code = """
import warnings
print(isolated(copied)(), flush=True)
shutdown()
warnings.simplefilter("ignore")
pid = os.fork()
if pid == 0:
    print(isolated(abs)(-5), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(isolated(abs)(-6), isolated(copied)())
"""
    assert run(code, tmp_path).stdout.splitlines()[:2] == ["True", "5"]


def test_a_forked_child_of_a_program_that_is_watched(tmp_path: Path) -> None:
    """A watchdog of faulthandler does not come into a fork, so nothing waits for its end."""
    code = """
import faulthandler
faulthandler.dump_traceback_later(80, exit=True)
pid = os.fork()
if pid == 0:
    print(isolated(abs)(-5), flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
faulthandler.cancel_dump_traceback_later()
"""
    assert run(code, tmp_path).stdout == "5\n"


def test_shared_memory_made_in_a_worker_outlives_it(tmp_path: Path) -> None:
    """The program and its workers have one resource tracker, which nothing executes."""
    code = """
from multiprocessing import resource_tracker, shared_memory
def make():
    from multiprocessing import shared_memory
    made = shared_memory.SharedMemory(create=True, size=16)
    made.buf[0] = 42
    made.close()
    return made.name
name = isolated(make)()
shutdown()
found = shared_memory.SharedMemory(name)
print(found.buf[0], resource_tracker._resource_tracker._pid)
found.close()
found.unlink()
"""
    done = run(code, tmp_path)
    assert done.stdout == "42 None\n"
    assert "leaked" not in done.stderr
    assert "Error" not in done.stderr


def test_nothing_is_left_of_a_killed_program(tmp_path: Path) -> None:
    """The copy, its tracker and its workers end with the program, however that ends."""
    import os

    import psutil

    code = "isolated(abs)(-1)\nprint(os.getpid(), flush=True)\nos.kill(os.getpid(), 9)\n"
    script = tmp_path / "script.py"
    script.write_text(BEGIN + code)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "KILLED_PROGRAM_OF": str(tmp_path)},
    )
    assert done.returncode == -9
    mark = f"KILLED_PROGRAM_OF={tmp_path}".encode()
    gone = psutil.wait_procs([each for each in psutil.process_iter() if _has(each.pid, mark)], 10)
    assert gone[1] == []


def _has(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def test_a_map_that_began_in_the_program_gets_a_copy(tmp_path: Path) -> None:
    """The main thread forks it between two items, and stands still until the helper is done."""
    code = """
import threading
from procession.engine.local import first_pool as module
module._PATIENCE = module._LONGEST = 60
stands, told = module.MainThreadPause(), []
def helps():
    try:
        told.append(stands.begin())
        told.append("stands")
    finally:
        stands.end()
helper = threading.Thread(target=helps)
helper.start()
while helper.is_alive():
    stands.pause()
told.append("goes on")
print(*told, isolated(copied)())
"""
    assert run(code, tmp_path).stdout == "True stands goes on True\n"


def test_items_go_on_if_the_other_thread_never_tells_them(tmp_path: Path) -> None:
    """An import that hangs keeps the pool from them, but not the loop."""
    code = """
import threading
from procession.engine.local import first_pool as module
module._PATIENCE, module._LONGEST = 60, 0.01
stands = module.MainThreadPause()
helper = threading.Thread(target=stands.begin)
helper.start()
while helper.is_alive():
    stands.pause()
print("goes on")
"""
    assert run(code, tmp_path).stdout == "goes on\n"


def test_a_map_that_is_worth_a_pool_gives_the_same_with_a_copy(tmp_path: Path) -> None:
    """Items that ran here, before the copy was forked and after, are not run again, nor lost."""
    code = """
from procession import parallel_map
def busy(number):
    import time
    end = time.process_time() + 0.002
    while time.process_time() < end:
        pass
    return number, os.getpid()
found = parallel_map(workers=2)(busy)(range(500))
assert [number for number, _ in found] == list(range(500))
print(len({process for _, process in found}) > 1)
"""
    assert run(code, tmp_path).stdout == "True\n"
