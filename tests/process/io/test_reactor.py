"""The thread that serves all workers of this process."""

from __future__ import annotations

import os
import select
import weakref
from functools import partial

from procession.process.io.reactor import READ, reactor
from tests.support.waiting import wait_until


def test_it_ends_though_its_last_timer_was_cancelled() -> None:
    """It does not wait for a time at which nothing is to be done any more."""
    timer = reactor.call_later(600, lambda: None)
    wait_until(lambda: reactor._sleeps_until == timer.when)
    timer.cancel()
    wait_until(lambda: not reactor.runs)


class _Handler:
    """Reads its pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self) -> None:
        os.read(self._descriptor, 1)


def test_what_it_did_last_is_not_kept_while_it_sleeps() -> None:
    """Its thread may sleep when the interpreter ends, and what its frames hold lives for ever."""
    reads, writes = os.pipe()
    handler = _Handler(reads)
    alive = weakref.ref(handler)
    reactor.hold()
    try:
        reactor.watch(reads, handler)
        reactor.arm(reads, READ)
        del handler
        os.write(writes, b"1")
        wait_until(lambda: not select.select([reads], [], [], 0)[0])
        reactor.forget(reads)
        wait_until(lambda: alive() is None)
    finally:
        reactor.release()
        os.close(reads)
        os.close(writes)


class _Payload:
    """What a call was given, with which its worker is done."""


def test_what_it_lets_go_of_is_dropped_before_it_sleeps() -> None:
    """What a map was given is not kept until something else happens in the pool."""
    payload = _Payload()
    alive = weakref.ref(payload)
    sleeps = reactor.call_later(600, lambda: None)
    try:
        reactor.call_soon(partial(reactor.let_go, payload))
        del payload
        wait_until(lambda: alive() is None)
    finally:
        sleeps.cancel()
