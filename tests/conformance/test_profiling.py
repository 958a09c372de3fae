"""What a profile records, on every backend and start context."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

import procession
from procession import Profile
from procession.profiling.call_record import CallRecord
from procession.profiling.figures import Figures
from tests.conformance import functions as f
from tests.conformance.places import Place, at


def only(profile: Profile) -> CallRecord:
    """The one call that was recorded; it is over, and no figure of it makes no sense."""
    (call,) = profile.calls
    assert call.ended is not None
    assert call.ended >= call.began
    times = (call.computing, call.crossing, call.packing, call.unpacking, call.lost)
    assert min(times) >= 0
    blocks = [block for track in call.tracks.values() for block in track.blocks]
    assert all(profile.began <= block.start <= block.stop for block in blocks)
    return call


def ran(call: CallRecord) -> int:
    """How many items are on the tracks."""
    return sum(block.items for track in call.tracks.values() for block in track.blocks)


def test_a_map(place: Place) -> None:
    """Each item is counted once, in the worker that says itself that it ran it."""
    with procession.profile() as p:
        pids = at(place, f.process_id).map(range(20))
    call = only(p)

    assert (call.function, call.items, call.errors, call.retries) == ("process_id", 20, 0, 0)
    assert ran(call) == 20
    assert {pid for pid, _ in call.tracks} == set(pids)
    assert call.here == (20 if place.backend == "serial" else 0)
    assert (call.traffic.bytes_out > 0) == (call.traffic.bytes_back > 0) == place.has_processes


def test_single_calls(place: Place) -> None:
    """A call is recorded with its arguments, and is over when its future is."""
    with procession.profile() as p:
        assert at(place, f.power).submit(3, offset=1).result() == 10
    call = only(p)

    assert (call.function, call.items, call.errors, ran(call)) == ("power", 1, 0, 1)
    assert [(slow.index, slow.argument) for slow in call.slowest] == [(None, "3, offset=1")]


def test_every_verb(place: Place) -> None:
    """No verb that maps is forgotten."""
    square = at(place, f.square)

    async def awaited() -> list[int]:
        return [value async for value in square.aimap(range(4))]

    with procession.profile() as p:
        square.map(range(4))
        square.starmap(zip(range(4)))
        list(square.imap(range(4)))
        list(square.imap_unordered(range(4)))
        list(square.outcomes(range(4)))
        square.map_async(range(4)).result()
        asyncio.run(awaited())
        at(place, f.cube)(range(4))
    assert [(call.items, ran(call), call.errors) for call in p.calls] == [(4, 4, 0)] * 8
    assert all(call.ended is not None for call in p.calls)


def test_errors(place: Place) -> None:
    """Items that raise are counted, and marked where they ran."""
    with procession.profile() as p:
        list(at(place, f.fails_for).outcomes(range(6), 2))
    call = only(p)

    assert (call.items, call.errors, ran(call)) == (6, 1, 6)
    blocks = [block for track in call.tracks.values() for block in track.blocks]
    assert sum(block.failed for block in blocks) == 1


def test_retries(place: Place, tmp_path: Path) -> None:
    """An item that is tried again is one item, one retry and no error."""
    mark = tmp_path / "mark"
    with procession.profile() as p:
        once = at(place, f.misbehave_once, retries=2, retry_on=ValueError)
        assert once.map(range(5), "raise", mark) == [0, 1, 4, 9, 16]
    call = only(p)

    assert (call.items, call.errors, call.retries) == (5, 0, 1)


def test_deaths(processes: Place) -> None:
    """An item whose worker dies is an error, and each item is counted once."""
    with procession.profile() as p:
        outcomes = list(at(processes, f.misbehave).outcomes(range(6), "SIGKILL"))
    call = only(p)

    assert [outcome.ok for outcome in outcomes].count(False) == 1
    assert (call.items, call.errors) == (6, 1)


def test_time_that_was_lost(processes: Place) -> None:
    """An item that is ended at its timeout is an error, and its time is counted as lost."""
    with procession.profile() as p:
        outcomes = list(at(processes, f.misbehave, timeout=1.5).outcomes(range(4), "sleep"))
    call = only(p)

    assert [outcome.ok for outcome in outcomes] == [True, True, False, True]
    assert (call.items, call.errors) == (4, 1)
    assert call.lost >= 1.5


@pytest.mark.parametrize("how", ["unpicklable result", "result that cannot be rebuilt"])
def test_results_that_cannot_come_home(processes: Place, how: str) -> None:
    """A result that cannot cross is an error, wherever that is noticed."""
    with procession.profile() as p:
        list(at(processes, f.misbehave).outcomes(range(4), how))

    assert (only(p).items, only(p).errors) == (4, 1)


def test_arguments_that_cannot_leave(processes: Place) -> None:
    """An argument that is refused here is an item, and an error."""
    with procession.profile() as p:
        list(at(processes, f.echo).outcomes([1, threading.Lock(), 3]))

    assert (only(p).items, only(p).errors) == (3, 1)


def test_starts_of_workers(processes: Place) -> None:
    """A pool that starts in the profile tells how long that took; a warm one starts nothing."""
    procession.shutdown()
    # A cluster's workers outlive the connection; those of another kind are new.
    more = {"max_tasks_per_worker": 1000} if processes.cluster else {}
    square = at(processes, f.square, **more)
    with procession.profile() as cold:
        square.submit(1).result()
    with procession.profile() as warm:
        square.submit(1).result()
    (place,) = {place for call in cold.calls for place in call.tracks}
    pid, _ = place

    assert place in cold.starts
    assert Figures(cold).starting > 0
    assert place not in warm.starts
    assert pid != os.getpid()


def test_nothing_is_timed_when_nobody_looks(place: Place) -> None:
    """A job that was made while a profile was open is not used when none is, nor the reverse."""
    square = at(place, f.square)
    for _ in range(2):
        assert square.submit(3).result() == 9
        with procession.profile() as p:
            assert square.submit(3).result() == 9
        assert ran(only(p)) == 1
