"""What a profile records: which calls, from where, and that nothing else is touched by it."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

import procession
from procession import Profile
from procession.engine.call import Call
from procession.engine.job import make_job, single_job
from procession.observer import observers
from tests.profiling import functions as f


def recorded(profile: Profile) -> list[tuple[str, int]]:
    """Functions and items of the calls, in order."""
    return [(call.function, call.items) for call in profile.calls]


def test_items_that_run_here() -> None:
    """Items that the caller's own thread runs are recorded, each with its own time."""
    with procession.profile() as p:
        assert f.square.map(range(3000)) == [x * x for x in range(3000)]
    (call,) = p.calls

    assert call.items == 3000
    assert call.here > 0
    assert 0 <= call.here_computing <= call.computing
    assert sum(b.items for track in call.tracks.values() for b in track.blocks) == 3000
    assert (os.getpid(), threading.current_thread().name) in call.tracks


def test_an_item_that_fails_here() -> None:
    """Of a map that ends with an error, what has run is recorded, the failed item as an error."""
    with procession.profile() as p:
        with pytest.raises(ValueError, match="2"):
            f.fails.with_options(backend="serial").map(range(9))
    (call,) = p.calls

    assert (call.items, call.errors, call.here) == (3, 1, 3)
    assert call.ended is not None


def test_a_slow_item_among_fast_ones_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items that run here in one slice are timed one by one, so that the slow one is named."""
    clock = iter(range(10**6))
    monkeypatch.setattr("procession.profiling.call_record.perf_counter", lambda: float(next(clock)))
    from procession.profiling.call_record import CallRecord

    record = CallRecord("work", 0.0)

    def tick(times: int) -> None:
        for _ in range(times):
            next(clock)

    work, seconds = record.timed(tick)
    for x in (0, 0, 7, 0):
        work(x)
    record.ran_here(10, [0, 0, 7, 0], 20.0, each=seconds)

    assert record.slowest[0][:3] == (8.0, "work", 12)
    assert seconds == []


def test_calls_in_an_item_belong_to_it() -> None:
    """A decorated call that an item makes is not a call of its own, here or in a worker."""
    with procession.profile() as p:
        f.outer.with_options(backend="serial").map(range(3))
        f.outer.with_options(inline=False, workers=2).map(range(3))

    assert recorded(p) == [("outer", 3)] * 2


def test_isolated_calls() -> None:
    """Isolated calls, generators and coroutines are recorded, in the process they ran in."""
    with procession.profile() as p:
        pid = f.alone(7, name="seven")
        assert list(f.counted(3)) == [0, 1, 2]
        assert asyncio.run(f.awaited(1)) == 2

    assert recorded(p) == [("alone", 1), ("counted", 3), ("awaited", 1)]
    assert [slow.argument for slow in p.calls[0].slowest] == ["7, name='seven'"]
    assert set(p.calls[0].tracks) == {(pid, "")}
    assert all(call.tracks and call.ended is not None for call in p.calls)


def test_isolated_calls_that_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment has run here is recorded all the same."""
    monkeypatch.setenv("PROCESSION_BACKEND", "serial")
    with procession.profile() as p:
        f.alone(7)
        assert list(f.counted(3)) == [0, 1, 2]
        assert asyncio.run(f.awaited(1)) == 2

    assert recorded(p) == [("alone", 1), ("counted", 3), ("awaited", 1)]
    assert [call.here for call in p.calls] == [1, 3, 1]
    assert all(call.ended is not None for call in p.calls)


def test_a_stream_that_is_left() -> None:
    """A generator that nobody reads to its end is over when it is closed, or forgotten."""
    with procession.profile() as p:
        for _ in f.counted(3):
            break
        values = f.counted(3)
        next(values)
        del values

    assert [call.ended is not None for call in p.calls] == [True, True]


def test_pools() -> None:
    """A `Pool`'s calls are recorded too."""
    with procession.profile() as p, procession.Pool(2) as pool:
        assert list(pool.map(abs, [-1, 2])) == [1, 2]

    assert recorded(p) == [("abs", 1)] * 2


def test_calls_of_every_thread() -> None:
    """Calls are recorded whichever thread makes them."""
    with procession.profile() as p:
        threads = [threading.Thread(target=f.sent.map, args=(range(5),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert recorded(p) == [("sent", 5)] * 3


def test_several_profiles() -> None:
    """Profiles that are open at the same time record each for itself."""
    with procession.profile() as outer:
        f.sent.map(range(2))
        with procession.profile() as inner:
            f.sent.map(range(3))
        f.sent.map(range(4))

    assert recorded(inner) == [("sent", 3)]
    assert recorded(outer) == [("sent", 2), ("sent", 3), ("sent", 4)]


def test_a_call_that_outlasts_the_block() -> None:
    """A call that was made inside the block is recorded to its end."""
    with procession.profile() as p:
        results = f.sent.imap(range(5))
    assert list(results) == [0, 1, 4, 9, 16]

    assert recorded(p) == [("sent", 5)]


def test_nothing_before_and_nothing_after() -> None:
    """Only calls made inside the block are recorded; an error inside it closes it."""
    results = f.sent.imap(range(3))
    with pytest.raises(ZeroDivisionError), procession.profile() as p:
        raise ZeroDivisionError
    list(results)
    f.sent.map(range(3))

    assert recorded(p) == []
    assert observers.active == ()


def test_workers_time_items_only_when_asked() -> None:
    """A job tells the worker to time its items if a profile is open when it is made, else not."""

    def timed() -> list[bool]:
        call: Call = f.sent._call()  # type: ignore[attr-defined]
        jobs = single_job(call), make_job(call)
        return [pickle.loads(job.header)[2].timed for job in jobs]

    assert timed() == [False, False]
    with procession.profile():
        assert timed() == [True, True]
    assert timed() == [False, False]


def test_local_calls_are_not_recorded() -> None:
    """A plain call of a parallel function stays what it was without the decorator."""
    with procession.profile() as p:
        f.square(3)
        f.square.local(3)

    assert recorded(p) == []


def test_a_profile_is_opened_once() -> None:
    """A second block wants a second profile, and the message says so."""
    p = procession.profile()
    with p:
        pass
    with pytest.raises(RuntimeError, match=r"with procession.profile\(\) as p:"), p:
        pass


def test_a_forked_child_records_nothing() -> None:
    """The profile that was open is its parent's."""
    program = (
        "import os, procession\n"
        "from procession.observer import observers\n"
        "with procession.profile():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os._exit(len(observers.active))\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(observers.active))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ran.stdout, ran.stderr) == ("0 1\n", "")


@pytest.mark.parametrize("wrong", ["run.txt", "run", "html"])
def test_other_files_are_refused(wrong: str) -> None:
    """The error names both endings."""
    with procession.profile() as p:
        pass
    with pytest.raises(ValueError, match=rf"'{wrong}'.*'\.html'.*'\.json'"):
        p.save(wrong)


def test_what_a_profile_looks_like() -> None:
    """Its repr is short, and tells its state."""
    p = procession.profile()
    looks = [repr(p)]
    with p:
        looks.append(repr(p))
    looks.append(repr(p))

    states = ("not opened", "open", "closed")
    assert looks == [f"<procession.Profile: 0 calls, {state}>" for state in states]


@pytest.mark.parametrize("show", [str, Profile.summary])
def test_nothing_was_recorded(show: Callable[[Profile], str]) -> None:
    """A profile without calls says so rather than show a table of nothing."""
    with procession.profile() as p:
        pass

    assert show(p).startswith("Nothing was recorded in ")
