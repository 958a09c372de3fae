"""Small results that are taken at once: copied, or pickled by pickle's own code alone."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

import numpy
import pytest

from procession.pickling.columns import open_value
from procession.worker.small_results import BuiltinPickler, SmallResults, row


class Mark(str):
    """A text with a type of its own."""


class Zone(tzinfo):
    """A time zone that could change."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        """Give the difference to universal time."""
        return timedelta(hours=1)

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        """Give its name."""
        return "zone"


def test_a_row_that_was_returned_does_not_change() -> None:
    """A copy of a small container is kept, and none of a large one."""
    value = {"a": 1}
    kept, size = row(value)
    value["a"] = 2
    assert kept == {"a": 1}
    assert size > 0
    assert row(["x" * 10_000])[0] is None
    assert row({"x" * 10_000: 1})[0] is None
    assert row(list(range(100)))[0] is None
    assert row(b"x" * 10_000)[0] is None
    assert row(b"x") == (b"x", 1)


@pytest.mark.parametrize(
    "value", [[numpy.float64(1.5)], [Mark("x")], {Mark("x"): 1}, [bytearray(b"x")], [[1]], [1, {2}]]
)
def test_rows_hold_nothing_but_atoms(value: Any) -> None:
    """A copy would share the rest with the next items."""
    assert row(value)[0] is None


@pytest.mark.parametrize("large", [b"x" * 100_000, [1] * 100_000, {"a": ["x" * 100_000]}])
def test_a_large_result_is_not_pickled_twice(large: Any) -> None:
    """What takes small ones stops at it, and takes the next one."""
    pickler = BuiltinPickler()
    assert pickler(large) is None
    assert open_value(pickler({"a": [Decimal(1)]})) == {"a": [Decimal(1)]}


@pytest.mark.parametrize(
    "value", [Mark("x"), [Mark("x")], object(), datetime(2026, 1, 1, tzinfo=Zone()), {"f": print}]
)
def test_what_has_code_of_its_own_is_not_taken(value: Any) -> None:
    """It can raise, or be large, or name what a worker has alone."""
    assert BuiltinPickler()(value) is None


def test_what_is_not_taken_is_not_tried_again() -> None:
    """The next results are taken as the last one was, most likely."""
    payloads: list[Any] = []
    small = SmallResults(payloads, [0])
    take = small.taker(dict)
    assert take is not None
    assert not take({"a": 1})
    assert not take({"a": [1]})
    assert take({"a": [Mark("x")]})
    assert small.taker(dict) is None
    assert [open_value(each) for each in payloads] == [{"a": 1}, {"a": [1]}]
    assert small.taker(Mark) is None
