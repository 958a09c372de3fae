"""What `multiprocessing` finds in a program whose workers were started before it was imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")

BEGIN = """
import os, sys
from procession import background, isolated

def about():
    loaded = "multiprocessing" in sys.modules
    from multiprocessing import current_process, parent_process, process
    me = current_process()
    return bytes(me.authkey), parent_process().pid, process.ORIGINAL_DIR, me.daemon, me.name, loaded

seen = isolated(about)()
assert "multiprocessing" not in sys.modules and not seen[-1]
"""


def run(code: str, folder: Path) -> str:
    """Run a script; gives what it prints."""
    script = folder / "script.py"
    script.write_text(BEGIN + code)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_program_and_workers_have_one_key_and_folder(tmp_path: Path) -> None:
    """Also workers that are started later, by what `multiprocessing` has then."""
    code = """
os.chdir("/")
from multiprocessing import current_process, process
mine = bytes(current_process().authkey), os.getpid(), process.ORIGINAL_DIR, False
later = isolated(about)()
print(seen[:4] == mine, later[:5] == seen[:5], seen[4], len(mine[0]), mine[2])
"""
    assert run(code, tmp_path) == f"True True procession-worker 32 {tmp_path.resolve()}\n"


def test_they_have_one_resource_tracker(tmp_path: Path) -> None:
    """Memory that a worker made is unlinked here, and the tracker hears of both."""
    code = """
def make():
    from multiprocessing import shared_memory
    made = shared_memory.SharedMemory(create=True, size=16)
    made.buf[0] = 42
    made.close()
    return made.name
name = isolated(make)()
from multiprocessing import resource_tracker, shared_memory
found = shared_memory.SharedMemory(name)
print(found.buf[0], resource_tracker._resource_tracker._pid)
found.close()
found.unlink()
"""
    assert run(code, tmp_path) == "42 None\n"


def test_work_is_finished_before_what_multiprocessing_ends(tmp_path: Path) -> None:
    """At exit, what was submitted may still need a manager: it ends after our pools."""
    code = """
import atexit, time
from multiprocessing import util
def awaited():
    while not os.path.exists("go on"):
        time.sleep(0.01)
util.Finalize(None, print, args=("multiprocessing",), exitpriority=1)
background(awaited)().add_done_callback(lambda _: print("work"))
atexit.register(lambda: open("go on", "w").close())
"""
    assert run(code, tmp_path) == "work\nmultiprocessing\n"
