"""The table of faults: two workers, item 2 of a map is the bad one.

Everywhere: the bad item fails alone and says why, all others arrive exactly once, nothing hangs,
the next call works, and (by the suite's own fixtures) nothing is left behind.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from procession import TimedOut, WorkerDied
from tests.conformance import functions as f
from tests.conformance.places import Place, at
from tests.conformance.test_errors import outcome_of

DEATHS = ["os._exit", "SIGKILL", "SIGSEGV"]


@pytest.mark.parametrize("how", DEATHS)
def test_a_worker_that_dies(processes: Place, how: str) -> None:
    """One item is lost with its worker: the one that killed it."""
    bad = outcome_of(processes, how)
    error = bad.error
    assert isinstance(error, WorkerDied)
    assert error.index == 2
    assert error.attempts == bad.attempts == 1
    assert "misbehave" in str(error)
    if how == "os._exit":
        assert (error.exitcode, error.signal) == (7, None)
    else:
        assert error.exitcode == -getattr(signal, how)
        assert how in (error.signal, str(error.signal), getattr(error.signal, "name", ""))
        assert how in str(error)


def test_a_worker_that_leaves_quietly(processes: Place) -> None:
    """Its exit code is told, although it says that nothing was wrong."""
    error = outcome_of(processes, "os._exit(0)", workers=1).error
    assert isinstance(error, WorkerDied)
    assert error.exitcode == 0
    assert "exited with code 0" in str(error)


@pytest.mark.parametrize("chunk", [2, 5])
def test_a_worker_that_dies_in_a_chunk(processes: Place, chunk: int) -> None:
    """Neighbours in the bad item's chunk arrive all the same."""
    outcome_of(processes, "SIGKILL", chunk=chunk)


def test_every_item_kills_its_worker(processes: Place) -> None:
    """Each item fails alone though no worker survives."""
    function = at(processes, f.misbehave_always, chunk=1)
    outcomes = list(function.outcomes(range(4), "SIGKILL"))
    assert [outcome.index for outcome in outcomes] == [0, 1, 2, 3]
    assert all(isinstance(outcome.error, WorkerDied) for outcome in outcomes)
    assert at(processes, f.square).map([1, 2]) == [1, 4]


def test_submitted_calls_that_die(processes: Place) -> None:
    """A call whose worker dies fails its own future only."""
    function = at(processes, f.misbehave)
    futures = [function.submit(number, "SIGKILL") for number in range(6)]
    errors = [type(future.exception()) for future in futures]
    assert errors == [type(None)] * 2 + [WorkerDied] + [type(None)] * 3
    assert [future.result() for future in futures if future.exception() is None] == [
        0,
        1,
        9,
        16,
        25,
    ]


def test_a_map_that_dies_raises(processes: Place) -> None:
    """`map` raises the death of its item."""
    with pytest.raises(WorkerDied):
        at(processes, f.misbehave).map(range(5), "os._exit")
    assert at(processes, f.square).map([1, 2]) == [1, 4]


def test_a_death_is_tried_again(processes: Place, tmp_path: Path) -> None:
    """With `retries` the item runs again in a fresh worker, and its result counts.

    An executor goes down as a whole and tells nobody who did it, so what was running is run again
    apart; that first run is held against no item.
    """
    function = at(processes, f.misbehave_once, retries=1)
    outcomes = list(function.outcomes(range(5), "SIGKILL", tmp_path / "mark"))
    assert [outcome.value for outcome in outcomes] == [0, 1, 4, 9, 16]
    assert outcomes[2].attempts == (2 if processes.knows_the_guilty else 1)


def test_a_poisonous_item_fails_after_its_retries(processes: Place) -> None:
    """An item that kills every worker that tries it fails alone, and says how often."""
    error = outcome_of_poison(processes)
    assert isinstance(error, WorkerDied)
    assert error.attempts == 3


def outcome_of_poison(place: Place) -> Any:
    """The error of an item that kills three workers in a row, beside four good ones."""
    outcomes = list(at(place, f.misbehave, retries=2).outcomes(range(5), "SIGKILL"))
    assert [outcome.ok for outcome in outcomes] == [True, True, False, True, True]
    return outcomes[2].error


def test_an_item_that_takes_too_long(processes: Place) -> None:
    """An item in a tight loop is ended at its timeout, and the others go on."""
    error = outcome_of(processes, "loop", timeout=1.0).error
    assert isinstance(error, TimedOut)
    assert isinstance(error, TimeoutError)
    assert (error.seconds, error.index) == (1.0, 2)


def test_a_call_that_takes_too_long(processes: Place) -> None:
    """A single call has a timeout, too."""
    future = at(processes, f.misbehave, timeout=0.5).submit(2, "sleep")
    assert isinstance(future.exception(), TimedOut)


def test_the_timeout_is_per_item_whatever_the_chunk(processes: Place) -> None:
    """Many short items in one chunk may take longer than the timeout together."""
    function = at(processes, f.nap, timeout=1.0, chunk=30)
    assert function.map([0.05] * 30) == [0.05] * 30


def test_output_does_not_disturb_the_protocol(processes: Place) -> None:
    """An item may write to standard output and error as it likes."""
    assert at(processes, f.noisy).map(range(20)) == list(range(20))
