"""The threads that run user code in place of those that others wait for."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from procession import user_threads
from procession.user_threads import STUCK, UserThreads
from tests.support.waiting import wait_until

PATIENCE = 30.0


@pytest.fixture
def threads() -> Iterator[UserThreads]:
    """Some that end with the test."""
    made = UserThreads()
    yield made
    assert made.finish(PATIENCE)
    made.stop()
    wait_until(lambda: not made._threads)


def test_calls_run_in_their_order_in_one_thread(threads: UserThreads) -> None:
    """As long as none takes long, one follows the other."""
    ran: list[tuple[int, int]] = []
    for i in range(500):
        threads.run_soon(partial(lambda i: ran.append((i, threading.get_ident())), i))
    wait_until(lambda: len(ran) == 500)
    assert [i for i, _ in ran] == list(range(500))


def test_calls_that_never_end_delay_nobody_for_ever(threads: UserThreads) -> None:
    """Another thread takes over the rest, as often as need be."""
    go = threading.Event()
    for _ in range(5):
        threads.run_soon(lambda: go.wait(PATIENCE))
    ran = threading.Event()
    threads.run_soon(ran.set)
    assert ran.wait(PATIENCE)
    assert not go.is_set()
    go.set()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whatever_a_call_raises_the_next_one_runs(
    threads: UserThreads, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported as an error of a thread, and by a hook that may raise, too."""
    told: list[object] = []

    def hook(args: threading.ExceptHookArgs) -> None:
        told.append(args.exc_type)
        raise SystemExit

    monkeypatch.setattr(threading, "excepthook", hook)

    def fail() -> None:
        raise error

    ran = threading.Event()
    threads.run_soon(fail)
    threads.run_soon(ran.set)
    assert ran.wait(PATIENCE)
    assert told == [error]


def test_a_finalizer_may_tell_amid_anything(threads: UserThreads) -> None:
    """Telling takes no lock, so a finalizer that strikes within it does no harm."""
    ran: list[int] = []

    class Dropped:
        def __init__(self, i: int) -> None:
            self.me, self.i = self, i

        def __del__(self) -> None:
            threads.defer(partial(ran.append, self.i))

    before = gc.get_threshold()
    gc.set_threshold(3)
    try:
        for i in range(2000):
            Dropped(i)
            threads.run_soon(lambda: None)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    wait_until(lambda: len(ran) == 2000)
    assert sorted(ran) == list(range(2000))


def test_idle_threads_end_and_others_follow(
    threads: UserThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without calls there is no thread; the next call starts one.

    Unless calls are outstanding: other tests of this process may have left some.
    """
    monkeypatch.setattr(user_threads, "outstanding", set())
    for _ in range(2):
        ran = threading.Event()
        threads.run_soon(ran.set)
        assert ran.wait(PATIENCE)
        wait_until(lambda: not threads._threads)


def test_a_stuck_thread_ends_when_its_call_does(threads: UserThreads) -> None:
    """Threads that were passed by do not pile up."""
    for _ in range(20):
        threads.run_soon(lambda: time.sleep(2 * STUCK))
    assert threads.finish(PATIENCE)
    wait_until(lambda: len(threads._threads) <= 2)
