"""What strikes the code that runs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from procession.system import interrupts

AMID_COLLECTIONS = """
import gc, signal
from procession import background

assert background(workers=1)(abs)(-1).result() == 1

class Struck(Exception):
    pass

def strike(*_):
    raise Struck

signal.signal(signal.SIGALRM, strike)
heap = [[number] for number in range(500_000)]
for _ in range(5):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005)  # a collection takes some 50 ms
        gc.collect()
        signal.pause()
    except Struck:
        print("struck")
"""


def test_what_a_handler_raises_amid_a_collection_arrives() -> None:
    """A signal that comes while the collector works is handled by the code that it interrupts."""
    done = subprocess.run(
        [sys.executable, "-c", AMID_COLLECTIONS],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("struck\n" * 5, "")


class Cycle:
    """Acts when it goes, which takes the collector."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act
        self.me = self

    def __del__(self) -> None:
        self.act()


def test_who_collects_is_known() -> None:
    """The thread that runs a finalizer collects, and no other one; nor does a child of another."""
    import gc

    interrupts.watch_collections()
    interrupts.watch_collections()
    seen: list[bool] = []

    def look() -> None:
        seen.append(interrupts.is_collecting())

    def look_around() -> None:
        look()
        other = threading.Thread(target=look)
        other.start()
        other.join()

    gc.collect()
    look()
    Cycle(look_around)
    gc.collect()
    look()
    assert seen == [False, True, False, False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_thread_that_does_not_collect() -> None:
    """In a child that was forked while another thread collected, none collects."""
    import gc

    interrupts.watch_collections()
    codes: list[int] = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            os._exit(interrupts.runs_collection())
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def fork_elsewhere() -> None:
        other = threading.Thread(target=fork)
        other.start()
        other.join()

    Cycle(fork_elsewhere)
    Cycle(fork)
    gc.collect()
    assert sorted(codes) == [0, 1]
