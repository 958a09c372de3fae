"""What the summary says, of runs that are made up so that the right answer is known."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

import procession
from procession import Profile
from procession.profiling.call_record import SLOWEST, CallRecord
from procession.profiling.figures import Figures
from procession.profiling.summary import bound, heading, losses, seconds, size
from procession.profiling.tracks import Track


def call(
    items: Iterable[tuple[int, float, float]],
    *,
    began: float = 0.0,
    ended: float = 10.0,
    workers: int = 2,
    function: str = "work",
) -> CallRecord:
    """A call whose items are given as worker, start and seconds."""
    record = CallRecord(function, began)
    record.ended = ended
    record.workers = workers
    for index, (pid, start, spent) in enumerate(items):
        record.items += 1
        record.computing += spent
        record.first = start if record.first is None else min(record.first, start)
        record.tracks.setdefault((pid, ""), Track()).add(start, start + spent, 1, index, False)
        record._consider(spent, index, f"argument {index}")
    return record


def profile(*calls: CallRecord) -> Profile:
    """A profile of these calls."""
    made = Profile()
    made.began, made.ended = 0.0, 10.0
    for each in calls:
        made.add_call(each)
    return made


EVEN = [(pid, start, 1.0) for pid in (1, 2) for start in range(10)]


def test_a_perfect_run() -> None:
    """Two workers that never rest are fully used, and nothing could be faster on two CPUs."""
    figures = Figures(profile(call(EVEN)), cpus=2)

    assert heading(figures) == (
        "1 call, 20 items in 10.00 s: 2 items/s, 2 workers, utilisation 100%"
    )
    assert (figures.speedup, figures.possible, figures.waiting) == (2.0, 2.0, 0.0)
    assert bound(figures) == "this process may use 2 CPUs"
    assert losses(figures) == []


def test_fewer_workers_than_cpus() -> None:
    """With more CPUs than workers, more workers are what is missing."""
    figures = Figures(profile(call(EVEN)), cpus=8)
    lost, why = losses(figures)[0]

    assert (figures.possible, lost) == (8.0, 7.5)
    assert "2 workers on 8 CPUs: raise workers=" in why


def test_more_workers_than_cpus() -> None:
    """Workers beyond the CPUs count: items that wait for something else run all at once."""
    figures = Figures(profile(call(EVEN)), cpus=1)

    assert figures.possible == 2.0
    assert "2 workers (on 1 CPU)" in bound(figures)


def test_one_long_item() -> None:
    """An item that takes as long as the whole run bounds it, and is named."""
    items = [(1, 0.0, 10.0), *((2, start, 1.0) for start in range(2))]
    figures = Figures(profile(call(items)), cpus=4)

    assert figures.possible == 1.2
    assert bound(figures).startswith("item 0 of work() alone takes 10 s")


def test_calls_one_after_the_other() -> None:
    """Single calls that are each waited for cannot be faster, and the mend is named."""
    calls = [call([(1, at, 2.0)], began=at, ended=at + 2.0) for at in (0.0, 3.0, 6.0)]
    figures = Figures(profile(*calls), cpus=4)

    assert (figures.seconds, figures.possible) == (6.0, 1.0)
    assert "one after the other: map over the items, or submit" in bound(figures)


def test_calls_that_overlap() -> None:
    """Time in which several calls are open is counted once."""
    calls = [call(EVEN[:10], ended=10.0), call(EVEN[10:], began=5.0, ended=12.0)]
    figures = Figures(profile(*calls), cpus=2)

    assert (figures.seconds, figures.capacity) == (12.0, 24.0)
    assert len(figures.stretches) == 1


def test_starting_workers() -> None:
    """What the first item waited for is told as the start of workers, if some started."""
    made = profile(call([(1, 4.0, 6.0), (2, 4.0, 6.0)]))
    made.add_start(1, "", 0.0, 4.0)
    made.add_start(2, "", 0.5, 4.0)
    figures = Figures(made, cpus=2)

    assert figures.starting == 7.5
    assert losses(figures)[0][0] == 4.0
    assert losses(figures)[0][1].startswith("starting workers")


def test_moving_bytes() -> None:
    """Pickling is a loss; a call that moved more than it computed is told in a sentence."""
    record = call([(1, 0.0, 1.0), (2, 0.0, 1.0)])
    record.packing, record.crossing = 3.0, 8.0
    record.traffic.moved(2, 10**10, 0, 2.0)
    made = profile(record)
    lost, why = losses(Figures(made, cpus=2))[0]

    assert (lost, why.split(":")[0]) == (7.0, "pickling, here and in workers")
    assert "work() moved 10000 MB to workers" in made.summary()
    assert "shared.put()" in made.summary()


def test_items_that_ran_here() -> None:
    """Items in the caller's thread, one by one, are told as such."""
    record = call([(1, 0.0, 10.0)])
    record.items, record.longest = 1000, 0.1
    record.here, record.here_computing = 1000, 10.0
    found = losses(Figures(profile(record), cpus=2))

    assert "ran one by one in this process" in found[0][1]


def test_workers_that_end_early() -> None:
    """A worker without work while the other goes on is told."""
    items = [(1, 0.0, 10.0), (2, 0.0, 2.0)]
    figures = Figures(profile(call(items)), cpus=2)

    assert figures.stretches[0].tail == 4.0


def test_the_slowest_items() -> None:
    """The slowest are kept, the slowest first, with function, index and argument."""
    first = call([(1, float(at), 0.01 * at) for at in range(30)])
    second = call([(2, 0.0, 0.5)], function="other")
    figures = Figures(profile(first, second))

    assert len(figures.slowest) == SLOWEST
    assert figures.slowest[0][:3] == (0.5, "other", 0)
    assert [slow.index for slow in figures.slowest[1:4]] == [29, 28, 27]
    text = profile(first, second).summary()
    assert "290.0 ms  work()[29]" in text
    assert "argument 29" in text


def test_items_that_took_equally_long() -> None:
    """Of many items of one slice with the same time, the first are kept."""
    record = CallRecord("work", 0.0)
    record.ran_here(0, range(3), 3.0, False, [1.0] * 3)
    record.ran_here(3, range(3, 90), 90.0, False, [1.0] * 43 + [2.0] * 44)

    assert [slow.seconds for slow in record.slowest] == [2.0] * SLOWEST


def test_a_call_that_still_runs() -> None:
    """The summary can be asked for in the block, before anything has ended."""
    with procession.profile() as p:
        p.add_call(CallRecord("work", p.began))
        text = p.summary()

    assert text.startswith("1 call, 0 items")
    assert "Nothing was computed" in text


def test_the_whole_table() -> None:
    """Each function has a line, and each kind of time."""
    record = call(EVEN)
    record.errors, record.retries, record.lost, record.backend = 3, 4, 1.0, "thread"
    text = profile(record, call(EVEN, function="other")).summary()

    for words in ("work()", "other()", "computing", "pickling, in workers", "starting workers"):
        assert words in text
    for words in ("waiting", "pickling, in this process", "attempts that were ended"):
        assert words in text
    assert "interpreter's lock" in text
    assert max(map(len, text.split("Largest")[0].splitlines())) <= 100


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00 s"), (12.345, "12.35 s"), (0.0123, "12.3 ms"), (0.0000123, "12 µs")],
)
def test_seconds(value: float, text: str) -> None:
    """Times have a unit that suits them."""
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12 B"), (1234, "1.2 kB"), (10**7, "10.0 MB"), (10**12, "1000.0 GB")]
)
def test_size(value: int, text: str) -> None:
    """So have numbers of bytes."""
    assert size(value) == text
