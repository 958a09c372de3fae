"""Here or in the pool, decided by measured times alone."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from procession.engine.policy.placement import ROUND_TRIP_SECONDS, Pace, Placement, machine
from procession.start_costs import StartCosts


def placement(item: float, *, pack: float = 1e-6, workers: int = 2) -> Placement:
    """A placement that has seen one item."""
    made = Placement(workers)
    made.packed(1, pack)
    made.ran(1, item)
    return made


def test_nothing_is_known_before_an_item_has_run() -> None:
    """Without a measurement items go to the pool, and a cold pool is started."""
    made = Placement(4)
    assert not made.here(1000)
    assert made.worth_starting(1000)


@pytest.mark.parametrize(
    ("item", "here"), [(50e-9, True), (1e-6, True), (50e-6, False), (1, False)]
)
def test_items_stay_while_sending_costs_more(item: float, here: bool) -> None:
    """Items shorter than what it costs to send them are run here."""
    assert placement(item).here(None) is here


def test_expensive_arguments_stay() -> None:
    """An item that takes longer to pickle than to run is run here."""
    assert placement(100e-6, pack=200e-6).here(None)


def test_a_small_rest_is_not_worth_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one round trip outlasts is run here."""
    monkeypatch.setattr(machine, "round_trip", ROUND_TRIP_SECONDS)  # this process may know better
    assert placement(50e-6).here(2)
    assert not placement(50e-6).here(100)


def test_one_worker_is_no_help_with_short_items() -> None:
    """With one worker there is nothing to be gained, unless items are long."""
    assert placement(100e-6, workers=1).here(None)


@pytest.mark.parametrize(("remaining", "worth"), [(2, False), (1000, True), (None, True)])
def test_a_cold_pool_starts_for_enough_work(remaining: int | None, worth: bool) -> None:
    """Starting workers pays only if what is left takes longer than the start."""
    assert placement(1e-3).worth_starting(remaining) is worth


def test_short_maps_together_are_worth_a_start() -> None:
    """What ran here for want of a pool counts for the next maps, until one is started."""
    pace = Pace()

    def next_map() -> Placement:
        made = Placement(4, pace)
        made.ran(1, 1e-3)
        return made

    assert not next_map().worth_starting(60)
    next_map().ran_alone(60e-3)
    made = next_map()
    assert made.worth_starting(60)
    assert not made.worth_starting(1, 1e-6)
    made.starts()
    assert not next_map().worth_starting(60)


def test_what_workers_import_counts() -> None:
    """A pool is started, or the caller leaves its items to it, for more than imports take."""

    def made(seconds: float) -> Placement:
        costs = StartCosts()
        costs.imported(15e-3, seconds)
        one = Placement(2, costs=costs, modules=lambda: 1000 if seconds else 0)
        one.ran(1, 10e-3)
        return one

    assert made(0.0).worth_starting(100)
    assert not made(1.0).worth_starting(100)
    assert made(1.0).worth_starting(1000)
    assert made(0.0).worth_another_worker(1)
    assert not made(1.0).worth_another_worker(100)
    assert made(1.0).worth_another_worker(1000)
    assert made(1.0).worth_another_worker(None)


def test_a_first_start_takes_longer() -> None:
    """A pool whose modules are not loaded yet, or with few processors, is started for more work."""

    def worth(workers: int, *, loaded: bool) -> int:
        made = Placement(workers, loaded=loaded)
        made.ran(1, 1e-3)
        return next(n for n in range(1000) if made.worth_starting(n))

    assert worth(64, loaded=True) < worth(2, loaded=True) < worth(2, loaded=False)


def test_what_an_item_takes_now_counts() -> None:
    """An item that takes long makes a start worth it, whatever those before it took."""
    made = placement(1e-6)
    assert not made.worth_starting(200)
    assert made.worth_starting(200, 0.02)


def test_times_follow_a_change() -> None:
    """Items that become longer leave for the pool after a few measurements."""
    made = placement(1e-6)
    assert made.here(None)
    for _ in range(5):
        made.ran(1, 5e-3)
    assert not made.here(None)


def test_a_map_begins_where_the_last_one_was_best() -> None:
    """What one map has measured says where the next one begins, and no more than that."""
    pace = Pace()
    first = Placement(2, pace)
    assert not first.begins_here(1000)
    first.packed(1, 1e-6)
    first.ran(1, 1e-6)
    second = Placement(2, pace)
    assert second.begins_here(1000)
    assert not second.here(1000)
    second.ran(1, 5e-3)
    assert not Placement(2, pace).begins_here(1000)


def test_a_first_pickle_in_the_cold_keeps_nothing_here() -> None:
    """A first small argument that took long to pickle does not make sending look expensive."""
    made = Placement(2)
    made.packed(1, 60e-6, size=20)
    made.ran(1, 50e-6)
    assert not made.here(1000)
    for _ in range(4):
        made.packed(8, 8 * 60e-6, size=160)
    assert made.here(1000)


class Machine(NamedTuple):
    """What items cost on a machine, in seconds.

    Attributes:
        pack: The caller, to pickle one.
        ship: The caller, for all else of one.
        work: A worker, besides running one.
        workers: How many there are.
        processors: How many there are for the workers and the caller.
    """

    pack: float
    ship: float
    work: float
    workers: int
    processors: int

    def there(self, item: float) -> float:
        """Seconds for one more item in the pool: the slowest of what works at the same time."""
        spent = self.pack + self.ship + item + self.work
        return max(self.pack + self.ship, (item + self.work) / self.workers, spent / self.busy)

    @property
    def busy(self) -> int:
        """How many processors have something to do."""
        return min(self.workers + 1, self.processors)


MACHINES = [
    Machine(pack, ship, work, workers, processors)
    for pack, ship, work in [
        (0.05e-6, 0.2e-6, 0.6e-6),  # numbers, in columns
        (1e-6, 1e-6, 2e-6),  # small dicts
        (20e-6, 15e-6, 30e-6),  # slow pickling, or a slow machine
        (0.05e-6, 40e-6, 10e-6),  # slow wake-ups: messages cost much
    ]
    for workers, processors in [(2, 2), (4, 4), (16, 8), (63, 64)]
]


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_a_machine_is_learnt_from_its_messages(machine: Machine) -> None:
    """After a few chunks the choice is within a tenth of the better one, for any length."""
    for item in [0.3e-6 * 1.5**step for step in range(30)]:
        made = Placement(machine.workers, Pace(), processors=lambda: machine.processors)
        for count in (8, 64, 512, *[2000] * 40):
            made.packed(count, count * machine.pack)
            made.spent(count * machine.ship)
            made.shipped(count)
            made.worked(count, count * machine.work)
            made.ran(count, count * item)
        chosen = item if made.here(None) else machine.there(item)
        assert chosen <= 1.1 * min(item, machine.there(item))


def test_a_wrong_measurement_fades() -> None:
    """What one stopped thread has measured does not keep items here in all later maps."""
    pace = Pace()
    first = Placement(2, pace)
    first.spent(1.0)
    first.shipped(100)
    first.ran(1, 1.4e-6)
    first.packed(1, 0.0)
    assert first.here(None)
    for _ in range(60):
        last = Placement(2, pace)
    last.ran(100, 100 * 2e-6)
    assert not last.here(None)


def test_a_first_item_in_the_cold_is_like_those_of_the_last_map() -> None:
    """It takes some microseconds more, which say nothing of the others; a long one does."""
    pace = Pace()
    Placement(2, pace).ran(100, 100 * 0.1e-6)
    second = Placement(2, pace)
    second.ran(1, 9e-6)
    assert second.here(None)
    third = Placement(2, pace)
    third.ran(1, 5e-3)
    assert not third.here(None)


@pytest.mark.parametrize("known", [False, True])
def test_many_items_outweigh_the_first_one(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first item that took a hundred times as long is soon forgotten, wherever the others ran."""
    monkeypatch.setattr(machine, "round_trip", ROUND_TRIP_SECONDS)
    pace = Pace()
    if known:
        Placement(2, pace).ran(100, 100 * 0.1e-6)
    made = Placement(2, pace)
    made.ran(1, 400e-6)
    assert not made.here(None)
    made.ran(1000, 1000 * 0.1e-6)
    assert made.here(None)


def test_items_that_become_longer_are_believed() -> None:
    """After very many short ones, some long ones count as much as all of them."""
    made = Placement(2)
    made.ran(100_000, 100_000 * 0.1e-6)
    made.ran(8, 8 * 1e-3)
    assert not made.here(None)
