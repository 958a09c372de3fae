"""Threads of Procession's keep nothing of the program's, and tell their errors as any thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from procession.system import pristine

ENDS_WITH_A_THREAD = """
import atexit, sys, threading

def last():
    from procession.user_threads import user_threads
    done = threading.Event()
    user_threads.run_soon(done.set)
    done.wait()

atexit.register(last)  # before Procession's own, which ends such threads
import procession

sys.excepthook = lambda *error: sys.__excepthook__(*error)
held = open(sys.argv[1], "w")
held.write("to the end")
"""


def test_a_script_loses_no_end_of_a_file(tmp_path: Path) -> None:
    """Its globals go when it ends, though a thread of Procession's lives and it has a hook."""
    file = tmp_path / "file"
    subprocess.run([sys.executable, "-c", ENDS_WITH_A_THREAD, str(file)], check=True, timeout=60)
    assert file.read_text() == "to the end"


def test_errors_of_threads_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `threading.excepthook` as it is then."""
    told: list[threading.ExceptHookArgs] = []
    thread = pristine.threading.Thread(target=[].pop, name="fails")
    monkeypatch.setattr(threading, "excepthook", told.append)
    thread.start()
    thread.join()
    (args,) = told
    assert (args.exc_type, args.thread) == (IndexError, thread)


def test_descriptors_are_closed_at_once() -> None:
    """No module uses `os.close`, which gevent puts off until its loop runs."""
    folder = Path(pristine.__file__).parents[1]
    assert not [file for file in folder.rglob("*.py") if "os.close(" in file.read_text()]
