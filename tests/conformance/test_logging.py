"""Log records and warnings that are odd: what is wrong with one costs only that one."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance import logging_items as items
from tests.conformance.places import Place, at


class Kept(logging.Handler):
    """Keeps records, and formats each as an ordinary handler does."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)
        try:
            self.texts.append(self.format(record))
        except Exception:
            self.handleError(record)


@contextmanager
def keeping() -> Iterator[Kept]:
    """What the tests' logger is given; pytest's own handlers, which raise, get nothing."""
    handler, logger, root = Kept(), items.logger, logging.root
    before = logger.handlers, logger.propagate, root.handlers
    logger.handlers, logger.propagate, root.handlers = [handler], False, []
    try:
        yield handler
    finally:
        logger.handlers, logger.propagate, root.handlers = before


def test_a_malformed_call_fails_no_item(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A log call whose arguments do not fit is told on stderr, as in a loop; the item goes on."""
    with keeping() as kept:
        assert at(place, items.malformed).map([1, 2]) == [1, 2]
    assert kept.texts == ["after it"] * 2
    said = capsys.readouterr().err
    assert said.count("--- Logging error ---") == 2
    assert "three" in said


def test_an_odd_record_costs_nothing_else(processes: Place) -> None:
    """Extras that cannot cross come as text, the others and the other records as they are."""
    with keeping() as kept, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert at(processes, items.odd_extra).map([1]) == [1]
    before, odd, after = kept.records
    assert before.__dict__["tags"] == ["a", "b"]
    assert after.__dict__["tags"] == ("d",)
    assert odd.__dict__["tags"] == {"c": 1}
    assert odd.__dict__["n"] == 5
    assert "lock" in odd.__dict__["lock"]
    assert odd.__dict__["hidden"] == "<Reprless>"
    # From 3.12 on Python itself warns of a fork beside threads.
    ours = [each for each in warned if "fork()" not in str(each.message)]
    assert [each.category for each in ours] == [FutureWarning, UserWarning]
    assert "Bound: held" in str(ours[1].message)


def test_a_traceback_that_cannot_be_formatted(processes: Place) -> None:
    """An error whose own text fails costs the item nothing."""
    with keeping() as kept:
        assert at(processes, items.bad_traceback).map([1]) == [1]
    assert kept.records[0].msg == "failed"


def test_a_library_s_own_logger_class(processes: Place) -> None:
    """A logger with a level of its own is not made in a worker before its library makes it."""
    from tests.conformance.own_loggers import logger as theirs

    theirs.setLevel(25)
    handler = Kept()
    theirs.addHandler(handler)
    theirs.propagate = False
    try:
        assert at(processes, items.nothing).map([1, 2]) == [1, 2]
        assert at(processes, items.own).map([1, 2]) == ["OwnLogger"] * 2
        assert handler.texts == ["noticed"] * 2
        theirs.setLevel(26)
        assert at(processes, items.own).map([1, 2]) == ["OwnLogger"] * 2
        assert handler.texts == ["noticed"] * 2
    finally:
        theirs.setLevel(logging.NOTSET)
        theirs.removeHandler(handler)
        theirs.propagate = True
        del sys.modules["tests.conformance.own_loggers"]


def test_names_of_levels_are_the_caller_s(processes: Place) -> None:
    """`logging.addLevelName` in the caller names the level of records from workers."""
    logging.addLevelName(33, "SPECIAL")
    with keeping() as kept:
        assert at(processes, items.named_level).map([1]) == [1]
    assert kept.records[0].levelname == "SPECIAL"


def test_disabled_here_is_disabled_there(place: Place) -> None:
    """`logging.disable` holds in workers, until it is taken back."""
    logging.disable(logging.ERROR)
    try:
        assert at(place, items.enabled).map([1, 2]) == [False, False]
    finally:
        logging.disable(logging.NOTSET)
    assert at(place, items.enabled).map([1, 2]) == [True, True]
