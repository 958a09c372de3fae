"""What crosses beside arguments and results: context, logs, warnings, seeds, per-worker values."""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from itertools import cycle
from typing import Any

import pytest

from procession.configuration import OptionValues
from tests.conformance import crossing as c
from tests.conformance import functions as f
from tests.conformance.places import PLACES, Place, at


def test_context_variables(place: Place) -> None:
    """A context variable has its caller's value in the worker."""
    token = c.variable.set("of the caller")
    try:
        assert at(place, c.read_variable).map([1, 2]) == ["of the caller"] * 2
        assert at(place, c.read_variable).submit(0).result() == "of the caller"
    finally:
        c.variable.reset(token)
    assert at(place, c.read_variable).map([1]) == ["default"]


def test_context_variables_do_not_leak_between_items(place: Place) -> None:
    """What one item sets another does not see (a serial map is a plain loop: there it does)."""
    if place.backend == "serial":
        pytest.skip("a plain loop in the caller's own context")
    assert at(place, c.set_variable).map(["a", "b", "c"]) == ["default"] * 3


def test_log_records_come_home(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A record logged in a worker is handled here, once, with its arguments and level."""
    with caplog.at_level(logging.INFO, logger="tests.conformance"):
        assert at(place, c.log).map([1, 2, 3]) == [1, 2, 3]
    messages = [record.getMessage() for record in caplog.records if record.name == c.logger.name]
    assert Counter(messages) == Counter(["item 1", "item 2", "item 3"])


def test_log_levels_are_the_caller_s(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """What the caller would not log, the worker does not send."""
    with caplog.at_level(logging.ERROR, logger="tests.conformance"):
        at(place, c.log).map([1, 2, 3])
    assert not [record for record in caplog.records if record.name == c.logger.name]


def test_log_records_before_an_error_come_home(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """An item that logs and then fails: both arrive."""
    with caplog.at_level(logging.INFO, logger="tests.conformance"):
        future = at(place, c.log_and_fail).submit(1)
        assert isinstance(future.exception(), ValueError)
    assert "about to fail" in caplog.text


def test_warnings_come_home(place: Place) -> None:
    """A warning raised in a worker is raised here, with its category, file and line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert at(place, c.warn).map([1]) == [1]
    ours = [warning for warning in caught if issubclass(warning.category, c.OurWarning)]
    assert [str(warning.message) for warning in ours] == ["about 1"]
    assert ours[0].filename == c.__file__


def _fresh(context: str) -> OptionValues:
    """Options for workers that have loaded nothing but what their item asks for."""
    return {"backend": "process", "context": context, "max_tasks_per_worker": 1}


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_a_filter_loads_nothing(context: str) -> None:
    """A worker does not import a module only because a filter of the caller's names its class."""
    from tests.conformance.rare import RareWarning

    fresh = _fresh(context)
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.filterwarnings("ignore", category=RareWarning)
        assert c.has_rare.with_options(**fresh).submit(1).result() is False
        assert c.warn_rarely.with_options(**fresh).submit(1).result() == 1


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
@pytest.mark.parametrize("strict", ["by itself", "but for others"])
def test_filters_hold_from_the_first_item_if_one_raises(context: str, strict: str) -> None:
    """Where warnings are to be errors, or all but some, the first item is judged right already."""
    from tests.conformance.rare import RareWarning

    fresh = _fresh(context)
    with warnings.catch_warnings():
        warnings.resetwarnings()
        if strict == "by itself":
            warnings.filterwarnings("error", category=RareWarning)
            with pytest.raises(RareWarning, match="rarely 1"):
                c.warn_rarely.with_options(**fresh).submit(1).result()
        else:
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", category=RareWarning)
            assert c.warn_rarely.with_options(**fresh).submit(1).result() == 1


def test_a_filter_holds_once_its_module_is_loaded(processes: Place) -> None:
    """What a filter of a late module ignores is not seen, whichever item loaded the module."""
    from tests.conformance.rare import RareWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", message="rarely 2", category=RareWarning)
        assert at(processes, c.warn_rarely, chunk=1).map([1, 2, 3]) == [1, 2, 3]
    rare = [str(each.message) for each in caught if each.category is RareWarning]
    assert sorted(rare) == ["rarely 1", "rarely 3"]


def test_forwarding_can_be_switched_off(processes: Place, caplog: pytest.LogCaptureFixture) -> None:
    """`forward_logs=False` keeps logs, warnings and context where they are."""
    token = c.variable.set("of the caller")
    try:
        with caplog.at_level(logging.INFO, logger="tests.conformance"):
            at(processes, c.log, forward_logs=False).map([1])
        assert at(processes, c.read_variable, forward_logs=False).map([1]) == ["default"]
    finally:
        c.variable.reset(token)
    assert not [record for record in caplog.records if record.name == c.logger.name]


def test_the_switch_holds_for_workers_that_have_forwarded(
    processes: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker keeps the records of one job to itself, and sends those of the others before and
    after."""

    def logged(*items: int, **options: Any) -> list[str]:
        caplog.clear()
        assert at(processes, c.log, workers=1, **options).map(items) == list(items)
        return [record.getMessage() for record in caplog.records if record.name == c.logger.name]

    with caplog.at_level(logging.INFO, logger="tests.conformance"):
        first = logged(1)
        assert first
        assert not logged(2, 3, forward_logs=False)
        assert logged(1) == first


def test_current_task(place: Place) -> None:
    """In a worker an item knows its index, its function and its attempt; outside there is none."""
    import procession

    assert procession.current_task() is None
    tasks = at(place, c.describe_task).map(["a", "b", "c"])
    assert [task["index"] for task in tasks] == [0, 1, 2]
    assert {task["attempt"] for task in tasks} == {1}
    assert all("describe_task" in task["function"] for task in tasks)
    assert procession.current_task() is None


def test_current_task_knows_the_attempt(place: Place) -> None:
    """On a retry the attempt counts up."""
    function = at(place, c.attempt_until, retries=2, retry_on=ValueError)
    assert function.map([1, 2, 3]) == [1, 2, 3]


def test_per_worker_values(place: Place) -> None:
    """A per-worker value is built once in each worker, and is the same for later items there."""
    pairs = at(place, c.use_connection, chunk=1).map(range(20))
    by_worker: dict[int, set[int]] = {}
    for pid, connection in pairs:
        by_worker.setdefault(pid, set()).add(connection)
    if place.has_processes:
        assert all(len(connections) == 1 for connections in by_worker.values())
    assert at(place, c.use_connection).map([]) == []


def test_per_worker_handle_as_an_argument(processes: Place) -> None:
    """The handle is sent by reference, and means the same value."""
    assert at(processes, c.use_handle).map([c.connection] * 4) == [True] * 4


def test_the_seed_gives_the_same_numbers_everywhere() -> None:
    """Same seed, same numbers: whatever the place, the chunk and the number of workers."""
    results = [
        at(place, c.random_numbers, seed=7, chunk=chunk).map(range(6))
        for place, chunk in zip(PLACES, cycle([1, 2, 3, 4, 6]), strict=False)
    ]
    assert all(result == results[0] for result in results)
    assert len({number for number, _ in results[0]}) == 6
    other = at(PLACES[0], c.random_numbers, seed=8).map(range(6))
    assert other != results[0]


def test_without_a_seed_no_two_items_draw_the_same(processes: Place) -> None:
    """Forked workers do not share a stream, of neither `random` nor numpy."""
    pairs = at(processes, c.random_numbers, chunk=1).map(range(12))
    assert len({number for number, _ in pairs}) == 12
    assert len({number for _, number in pairs}) == 12


def test_the_caller_s_random_state_is_left_alone(place: Place) -> None:
    """A seeded map does not reseed the caller."""
    import random

    random.seed(1)
    expected = random.random()
    random.seed(1)
    at(place, c.random_numbers, seed=7).map(range(3))
    assert random.random() == expected


def test_an_initializer_runs_once_per_worker(processes: Place) -> None:
    """Before a worker's first item, and not again."""
    function = at(processes, c.count_initializations, initializer=c.initialize, initargs=(5,))
    counts = function.map(range(20))
    assert set(counts) == {(1, 5)}


def test_an_initializer_that_fails(processes: Place) -> None:
    """The error names the initializer; nothing hangs."""
    function = at(processes, c.count_initializations, initializer=c.fail_to_initialize)
    outcomes = list(function.outcomes(range(3)))
    assert len(outcomes) == 3
    assert not any(outcome.ok for outcome in outcomes)
    assert "cannot initialize" in repr(outcomes[0].error) + repr(outcomes[0].error.__cause__)  # type: ignore[union-attr]


def test_workers_are_replaced_after_so_many_tasks(processes: Place) -> None:
    """`max_tasks_per_worker` bounds how many items one process sees."""
    options: dict[str, Any] = {"max_tasks_per_worker": 3, "chunk": 1}
    if processes.backend == "loky" or processes[:2] == ("stdlib", "fork"):
        pytest.skip("refused: see test_places")
    pids = Counter(at(processes, f.process_id, **options).map(range(12)))
    assert max(pids.values()) <= 3
    assert len(pids) >= 4


def test_threads_of_numeric_libraries_are_capped(processes: Place) -> None:
    """`threads_per_worker` is in force before numpy is imported there."""
    if processes.context == "fork":
        pytest.skip("under fork numpy may be there already; threadpoolctl does it then")
    settings = at(processes, c.thread_settings, threads_per_worker=1).map([1])
    assert settings == [("1", "1")]


def test_the_caller_s_environment_is_left_alone(processes: Place) -> None:
    """Capping threads in workers changes nothing here."""
    before = dict(os.environ)
    at(processes, c.thread_settings, threads_per_worker=1).map([1])
    assert dict(os.environ) == before
