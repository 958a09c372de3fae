"""Workers that are killed at random while a map runs: exact results, or exact blame."""

from __future__ import annotations

from typing import Any

import pytest

from procession.errors import WorkerDied
from tests.chaos.helpers import kills, within
from tests.chaos.jobs import large, nap, square


def _map(count: int, **options: Any) -> list[int]:
    function = square.with_options(retries=1000, workers=3, inline=False, **options)
    return within(lambda: function.map(range(count)), 150)


@pytest.mark.parametrize("chunk", ["auto", 50])
def test_a_large_map_under_fire(chunk: Any) -> None:
    """Every result, in order, though workers die all the time."""
    with kills(every=0.1) as killed:
        while len(killed) < 3:  # a fast machine may be done before the first strike
            assert _map(20_000, chunk=chunk) == [x * x for x in range(20_000)]


@pytest.mark.soak
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver", "loky"])
@pytest.mark.parametrize("chunk", ["auto", 1, 50])
def test_a_hundred_thousand_items_under_fire(context: str, chunk: Any) -> None:
    """Every result, in order, for each way to start workers."""
    with kills(every=0.1) as killed:
        results = _map(100_000, chunk=chunk, context=context)
    assert killed
    assert results == [x * x for x in range(100_000)]


@pytest.mark.parametrize("verb", ["imap", "imap_unordered", "map_async", "starmap"])
def test_every_verb_under_fire(verb: str) -> None:
    """The other verbs give each result once, too."""
    function: Any = square.with_options(retries=1000, workers=3, inline=False)
    items: Any = range(3000)
    if verb == "starmap":
        items = [(x,) for x in range(3000)]

    def run() -> list[int]:
        got = getattr(function, verb)(items)
        return list(got.result() if verb == "map_async" else got)

    with kills(every=0.1):
        results = within(run)
    if verb == "imap_unordered":
        results.sort()
    assert results == [x * x for x in range(3000)]


@pytest.mark.parametrize("backend", ["loky", "stdlib"])
def test_executors_under_fire(backend: str) -> None:
    """On executors that break with each death the results are the same, only later."""
    with kills(every=0.2, most=2) as killed:
        while not killed:
            assert _map(400, backend=backend) == [x * x for x in range(400)]


@pytest.mark.soak
@pytest.mark.parametrize("backend", ["loky", "stdlib"])
def test_executors_under_fire_for_long(backend: str) -> None:
    """Two thousand items while a worker dies every second or so."""
    with kills(every=0.5, most=30) as killed:
        while len(killed) < 10:
            assert _map(2000, backend=backend) == [x * x for x in range(2000)]


@pytest.mark.parametrize("chunk", ["auto", 1, 40])
def test_without_retries_every_outcome_is_exact(chunk: Any) -> None:
    """One outcome per item, in order: its own value, or the death of the worker that ran it."""
    count = 1500
    function = nap.with_options(workers=3, inline=False, chunk=chunk)
    with kills(every=0.1) as killed:
        outcomes = within(lambda: list(function.outcomes(range(count), 0.0005)))
    assert [outcome.index for outcome in outcomes] == list(range(count))
    failed = [outcome for outcome in outcomes if not outcome.ok]
    assert len(failed) <= len(killed)
    for outcome in failed:
        assert isinstance(outcome.error, WorkerDied)
        assert outcome.error.signal == "SIGKILL"
        assert outcome.error.index == outcome.index
    assert all(outcome.value == outcome.index for outcome in outcomes if outcome.ok)


def test_submitted_calls_under_fire() -> None:
    """Each future has its own value, or its own worker's death; none waits for ever."""
    function = nap.with_options(workers=3)
    with kills(every=0.1):
        futures = [function.submit(x, 0.0005) for x in range(1000)]
        errors = [within(future.exception) for future in futures]
    for x, (future, error) in enumerate(zip(futures, errors, strict=True)):
        assert isinstance(error, WorkerDied) if error is not None else future.result() == x


def test_large_results_under_fire() -> None:
    """Results that cross beside the pipe are whole, or come from another attempt."""
    function = large.with_options(retries=1000, workers=2, inline=False, chunk=1)
    with kills(every=0.1):
        results = within(lambda: function.map(range(60)))
    assert [(bytes(r[:1]), len(r)) for r in results] == [(bytes([x]), 1 << 20) for x in range(60)]
