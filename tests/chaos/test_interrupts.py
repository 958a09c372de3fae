"""Ctrl-C in the main thread, at any instant: prompt, quiet, and the next call works."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import procession
from tests.chaos.helpers import alive, family, program, within
from tests.chaos.jobs import alone, meet, square
from tests.support.waiting import wait_until

ROUGHLY_AT_ONCE = 20.0
"""Seconds; far above what it takes (a tenth of one), far below what the tasks would take."""

FORMS = {
    "map": "f.map([1, 2], folder)",
    "imap": "list(f.imap([1, 2], folder))",
    "outcomes": "list(f.outcomes([1, 2], folder))",
    "as_completed": "list(procession.as_completed([f.submit(n, folder) for n in (1, 2)]))",
    "result": "[f.submit(n, folder) for n in (1, 2)][0].result()",
    "aimap": "asyncio.run(aimap())",
    "await": "asyncio.run(awaited())",
}

PROGRAM = """
import asyncio, os, pathlib, sys, time
import procession
from tests.chaos.jobs import square, start_and_nap
folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path({folder!r})
f = start_and_nap.with_options(workers=2, inline=False, **{options!r})
async def aimap():
    async for _ in f.aimap([1, 2], folder):
        pass
async def awaited():
    await asyncio.gather(*[f.submit(n, folder) for n in (1, 2)])
try:
    {form}
except KeyboardInterrupt:
    print("interrupted", flush=True)
assert square.with_options(inline=False, workers=2, **{options!r}).map(range(9)) == [
    x * x for x in range(9)
]
print("works", flush=True)
if {form!r}.startswith("[f.submit") or "as_completed" in {form!r}:
    procession.shutdown()
"""


def _interrupted(form: str, options: dict[str, Any], folder: Path) -> None:
    code = PROGRAM.format(form=FORMS[form], options=options, folder=str(folder))
    child = program(code)
    try:
        wait_until(lambda: (folder / "1").exists() and (folder / "2").exists())
        relatives = family(child.pid)
        begin = time.monotonic()
        os.killpg(child.pid, signal.SIGINT)
        assert child.stdout is not None
        assert child.stdout.readline() == "interrupted\n"
        print(f"{form} {options}: {time.monotonic() - begin:.3f} s")
        out, err = child.communicate(timeout=ROUGHLY_AT_ONCE)
        assert (out, err) == ("works\n", "")
        wait_until(lambda: not alive(relatives), ROUGHLY_AT_ONCE)
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("form", FORMS)
def test_long_tasks(form: str, tmp_path: Path) -> None:
    """The caller gets the interrupt, the workers say nothing and go, the next call works."""
    if form in ("result", "as_completed"):
        pytest.skip("their calls go on, and occupy the workers: see the next test")
    _interrupted(form, {}, tmp_path)


@pytest.mark.parametrize("form", ["result", "as_completed"])
def test_waiting_for_futures(form: str, tmp_path: Path) -> None:
    """Whoever waits for a future is interrupted; the calls go on until they are cancelled."""
    code = PROGRAM.format(form=FORMS[form], options={}, folder=str(tmp_path))
    code = code.replace("assert square", "procession.shutdown()\nassert square")
    child = program(code)
    try:
        wait_until(lambda: (tmp_path / "1").exists() and (tmp_path / "2").exists())
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=ROUGHLY_AT_ONCE)
        assert (out, err) == ("interrupted\nworks\n", "")
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("backend", ["loky", "stdlib"])
def test_long_tasks_on_executors(backend: str, tmp_path: Path) -> None:
    """A map on an executor is as prompt and as quiet."""
    _interrupted("map", {"backend": backend}, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("context", ["fork", "spawn", "loky"])
@pytest.mark.parametrize("form", ["map", "imap", "outcomes", "aimap", "await"])
def test_long_tasks_on_every_context(form: str, context: str, tmp_path: Path) -> None:
    """The same for each way to start workers."""
    _interrupted(form, {"context": context}, tmp_path)


# ----------------------------------------------------------------- at every instant of a short call

Calls = dict[str, Callable[[list[Any]], None]]


def _submit(kept: list[Any]) -> None:
    kept.append(square.with_options(workers=2).submit(3))
    assert kept[0].result() == 9


def _cancel(kept: list[Any]) -> None:
    kept.append(square.with_options(workers=2).submit(3))
    kept[0].cancel()


def _pool(kept: list[Any]) -> None:
    kept.append(alone.submit(3))
    assert kept[0].result() == 9


def _map(_: list[Any]) -> None:
    assert square.with_options(workers=2, inline=False).map(range(4)) == [0, 1, 4, 9]


def _inline(_: list[Any]) -> None:
    assert square.with_options(workers=2).map(range(4)) == [0, 1, 4, 9]


def _imap(_: list[Any]) -> None:
    function = square.with_options(workers=2, inline=False)
    assert list(function.imap(iter(range(4)))) == [0, 1, 4, 9]


def _as_completed(kept: list[Any]) -> None:
    kept.extend(square.with_options(workers=2).submit(n) for n in range(3))
    assert len(list(procession.as_completed(kept))) == 3


CALLS: Calls = {
    "submit": _submit,
    "cancel": _cancel,
    "isolated": _pool,
    "map": _map,
    "inline": _inline,
    "imap": _imap,
    "as_completed": _as_completed,
}


def _strike_at(number: int, call: Callable[[list[Any]], None], kept: list[Any]) -> str:
    """Raise KeyboardInterrupt where the interpreter would let a signal handler run.

    That is at the start of a Python function and after a call of a C function: the profiler's
    events. Gives where it was; nothing if the call was over before.
    """
    count, where = 0, ""

    def profile(frame: Any, event: str, _: object) -> None:
        nonlocal count, where
        if event in ("call", "c_return"):
            count += 1
            if count == number:
                where = f"{frame.f_code.co_filename}:{frame.f_lineno} {event}"
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        try:
            call(kept)
        except KeyboardInterrupt:
            return where
        finally:
            sys.setprofile(None)
    except KeyboardInterrupt:
        pass  # it struck when the call was over
    return ""


def _every_instant(name: str, step: int) -> None:
    call = CALLS[name]
    for _ in range(2):
        call([])
    number = 1
    while True:
        kept: list[Any] = []
        where = _strike_at(number, call, kept)
        if not where:
            break
        assert procession.current_task() is None, (
            f"an item still runs here: event {number}, {where}"
        )
        try:
            for future in kept:
                with suppress(procession.WorkerDied, CancelledError):
                    within(future.result, ROUGHLY_AT_ONCE)  # died: it struck amid the reply
            within(lambda: call([]), ROUGHLY_AT_ONCE)
        except AssertionError as error:
            raise AssertionError(f"after an interrupt at event {number}, {where}") from error
        number += step
    _all_workers_run()


def _all_workers_run() -> None:
    """No worker, and no permit, was lost: as many items as there are workers run at once."""
    with tempfile.TemporaryDirectory() as folder:
        function = meet.with_options(workers=2, inline=False, chunk=1)
        assert len(set(within(lambda: function.map(range(2), Path(folder), 2)))) == 2


# Of a strike in a finalizer Python says that it ignores it, whoever's finalizer that is.
_finalizers = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@_finalizers
@pytest.mark.parametrize("name", CALLS)
def test_interrupts_at_many_instants(name: str) -> None:
    """No future and no call waits for ever after an interrupt at every so-manieth instant."""
    _every_instant(name, {"submit": 5, "cancel": 7}.get(name, 29))


@_finalizers
@pytest.mark.soak
@pytest.mark.parametrize("name", CALLS)
def test_interrupts_at_every_instant(name: str) -> None:
    """The same at each instant there is."""
    _every_instant(name, 1)


# --------------------------------------------------------------------------------- by real signals


def _random_instants(count: int) -> None:
    dice = random.Random(5)
    function = square.with_options(workers=2, inline=False)
    over = threading.Event()

    def strike() -> None:
        for _ in range(count):
            time.sleep(dice.random() * 0.01)
            os.kill(os.getpid(), signal.SIGINT)
        over.set()

    kept: list[Any] = []
    thread = threading.Thread(target=strike, daemon=True)
    begun = False
    while not over.is_set():
        try:
            if not begun:
                begun = True
                thread.start()
            future = function.submit(2)
            kept.append(future)
            assert future.result() == 4
            assert function.map(range(20)) == [x * x for x in range(20)]
        except (KeyboardInterrupt, procession.WorkerDied):
            continue
    thread.join()
    for future in kept:
        within(future.exception, ROUGHLY_AT_ONCE)
    _all_workers_run()


SIGNALS = """
import threading
from tests.chaos.test_interrupts import _random_instants
done = False
while not done:
    try:
        _random_instants({count})
        done = True
        print("fine", flush=True)
    except KeyboardInterrupt:
        pass
"""


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_signals_at_random_instants(count: int) -> None:
    """Real signals, at any instant of submit().result() and of a small map."""
    child = program(SIGNALS.format(count=count))
    out, err = child.communicate(timeout=60 + count)
    assert re.sub(r"\s", "", out).startswith("fine"), err
