"""What several chaos tests need: who the workers are, bounded calls, programs of their own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psutil

from procession.backends import registry
from procession.process.pool.worker_pool import WorkerPool
from tests.support.project import ROOT

T = TypeVar("T")


def workers(*, used: bool = False) -> list[int]:
    """The processes that run items for this one now; of our own only those that were `used`."""
    found: list[int] = []
    for backend in registry.in_use():
        ours = backend if isinstance(backend, WorkerPool) else None
        if ours is not None:
            least = 2 if used else 0
            found += [w.pid for w in tuple(ours.state.workers) if w.ready and w.chunks >= least]
        else:
            with suppress(RuntimeError):  # it changes meanwhile
                life = getattr(backend, "_life", None)
                found += list(getattr(life, "_processes", None) or ())
    return found


@contextmanager
def kills(every: float, most: int = 10**9, seed: int = 0) -> Iterator[list[int]]:
    """Meanwhile workers are killed at random; gives the list of those that were.

    Nine times of ten it strikes a worker that has finished something, so that a map goes on though
    a busy machine may need longer to start a worker than until the next strike.
    """
    dice = random.Random(seed)
    over = threading.Event()
    killed: list[int] = []

    def strike() -> None:
        while len(killed) < most and not over.wait(dice.random() * 2 * every):
            if pids := workers(used=dice.random() < 0.9):
                victim = dice.choice(pids)
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def within(call: Callable[[], T], seconds: float = 60.0) -> T:
    """The call's result; fails if it takes longer. It runs in a thread of its own."""
    done: list[Any] = []

    def run() -> None:
        try:
            done.append((call(), None))
        except BaseException as error:
            done.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert done, f"still waiting after {seconds} seconds: {call!r}"
    value, error = done[0]
    if error is not None:
        raise error
    result: T = value
    return result


def program(code: str, **more: Any) -> subprocess.Popen[str]:
    """A Python program of its own, in a session of its own, which can import the tests."""
    head = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'src')!r}]\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **more,
    )


def family(pid: int) -> list[psutil.Process]:
    """A process and everything it has started."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run."""
    left = []
    for process in processes:
        with suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def interrupt_after(seconds: float) -> threading.Thread:
    """Send this process a Ctrl-C in so many seconds."""

    def strike() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    return thread
