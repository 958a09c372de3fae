"""Values that cross together: a list whose elements describe themselves."""

from __future__ import annotations

import copyreg
import marshal
import pickle
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession.items import Column
from procession.pickling.columns import (
    MOST_BYTES,
    PackedColumn,
    Rows,
    open_column,
    open_value,
    pack_values,
    value_pickler,
)
from procession.pickling.objects import types_of

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def packed(values: Any) -> PackedColumn:
    """What is sent for values of which none is large."""
    found = pack_values(values, "strict")
    assert found is not None
    return found


def opened(column: PackedColumn) -> list[Any]:
    """The values that a worker makes of it."""
    body = pickle.loads(column.body)
    return list(body) if type(body) is tuple else open_column(body)


@given(st.lists(VALUES, min_size=1, max_size=200))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_values_come_back(values: list[Any]) -> None:
    """Builtin values of any kinds, mixed, arrive as they are and in order."""
    column = packed(values)
    assert column.taken == len(values)
    assert not column.refused
    found = opened(column)
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


def test_atoms_are_in_the_list_themselves() -> None:
    """Numbers, texts and bytes never change; what is of a subclass of theirs may."""

    class Number(int):
        pass

    atoms = [1, 2.5, None, True, "text", 1 << 400, 2j]
    assert packed(atoms).plain
    assert pickle.loads(packed(atoms).body) == tuple(atoms)
    assert packed([1, b"bytes"]).plain
    assert not packed([1, Number(1)]).plain


def test_each_value_is_alone() -> None:
    """What two values share is two objects on the far side, and what one holds twice is one."""
    shared = [1]
    first, second = opened(packed([{"a": shared, "b": shared}, shared]))
    assert first["a"] is first["b"]
    assert first["a"] is not second


def test_what_cannot_cross_is_known_by_its_place() -> None:
    """The others are packed, before and after it."""
    values = [{"x": 0}, threading.Lock(), 2, {"x": 3}, {"x": threading.Lock()}]
    column = packed(values)
    assert [place for place, _ in column.refused] == [1, 4]
    assert column.taken == 5
    assert opened(column) == [{"x": 0}, 2, {"x": 3}]


def test_what_only_this_process_can_import_goes_by_value() -> None:
    """An object of a class of `__main__` among others is rebuilt without its module."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("class Point:\n    def __init__(self, x): self.x = x", space)
    found = opened(packed([{"a": 1}, {"p": space["Point"](5)}]))
    assert found[1]["p"].x == 5
    assert type(found[1]["p"]).__name__ == "Point"


@pytest.mark.parametrize(
    "large", [numpy.zeros(100_000), {"a": numpy.zeros(100_000)}, b"x" * 200_000]
)
def test_large_values_go_alone(large: Any) -> None:
    """A column is refused that has one of them."""
    assert pack_values([{"a": 1}, large], "strict") is None
    assert value_pickler("strict").single()(large) is None


@pytest.mark.parametrize(
    "make",
    [lambda text: text, lambda text: {"k": text}, lambda text: {"k": bytearray(text.encode())}],
    ids=["atoms", "rows", "pickles"],
)
def test_a_column_ends_where_it_is_large_enough(make: Callable[[str], Any]) -> None:
    """Values beyond a size are left for the next one, whatever they are packed as."""
    values = [make(f"{i:01000d}") for i in range(5_000)]
    column = packed(values)
    assert 0 < column.taken < len(values)
    assert 0.9 * MOST_BYTES < len(column.body) < 1.2 * MOST_BYTES


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1, "b": "x"}, {"a": 2.5, 3: None}],
        [("a", 1), (), ("b", b"2")],
        [[1, 2], [], ["x"]],
        [{"a": [1, 2], "b": (3, "x")}, {"a": []}],
    ],
)
def test_rows_are_in_the_list_themselves(rows: list[Any]) -> None:
    """Containers of atoms are pickled together, and arrive as what they were."""
    assert pickle.loads(packed(rows).body) == tuple(rows)
    assert [open_value((each,)) for each in rows] == open_column([(each,) for each in rows]) == rows


ZONE = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    "values",
    [
        [datetime(2026, 1, i + 1, tzinfo=ZONE) for i in range(5)],
        [timedelta(i) for i in range(5)],
        [Decimal(i) / 7 for i in range(5)],
        [Fraction(i, 7) for i in range(5)],
        [Path(f"/usr/{i}") for i in range(5)],
        [UUID(int=i) for i in range(5)],
        [numpy.float64(i) / 3 for i in range(5)],
        [numpy.datetime64(f"2026-01-0{i + 1}") for i in range(5)],
        [{"x": numpy.float64(i), "when": numpy.datetime64(i, "s")} for i in range(5)],
        [{"at": datetime(2026, 1, i + 1), "price": Decimal(i), "tags": ["a"]} for i in range(5)],
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_what_never_changes_crosses_in_one_pickle(values: list[Any]) -> None:
    """Times, exact numbers, paths and rows of them arrive as they are."""
    body = pickle.loads(packed(values).body)
    assert body == tuple(values)
    assert repr(body) == repr(tuple(values))
    assert packed(values).plain == (type(values[0]) is not dict)


class Zone(tzinfo):
    """A time zone that notes something."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def utcoffset(self, _: datetime | None) -> timedelta:
        """Give the difference to universal time."""
        return timedelta(hours=1)

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        """Give its name."""
        return "zone"


def test_times_of_a_zone_that_can_change_are_alone() -> None:
    """No two share it on the far side, and a row that holds one is pickled, too."""
    zone = Zone()
    for make in (lambda at: at, lambda at: {"at": at}):
        found = opened(packed([make(datetime(2026, 1, day + 1, tzinfo=zone)) for day in range(2)]))
        first, second = [each["at"] if isinstance(each, dict) else each for each in found]
        assert first.tzinfo is not second.tzinfo


def test_a_row_that_changes_meanwhile_is_not_packed_as_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What another thread has put into it once it was looked at is pickled as it must be."""

    values: list[Any] = [[1], [2]]
    looks = 0

    def types_of_once(of: Any) -> set[type]:
        nonlocal looks
        kinds = types_of(of)
        looks += kinds == {int}  # the first row is looked at alone, before
        if looks == 2 and len(values[1]) == 1:
            values[1].append(Mark("x"))
        return kinds

    monkeypatch.setattr("procession.pickling.immutable.types_of", types_of_once)
    column = packed(values)
    assert type(pickle.loads(column.body)) is list
    assert opened(column) == [[1], [2, Mark("x")]]


def test_a_type_that_a_program_pickles_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its way is taken, for each value alone."""
    monkeypatch.setitem(copyreg.dispatch_table, Decimal, lambda value: (str, (f"{value} units",)))
    column = packed([Decimal(1), Decimal(2)])
    assert type(pickle.loads(column.body)) is list
    assert opened(column) == ["1 units", "2 units"]


@pytest.mark.parametrize(
    "values", [[{"a": i} for i in range(6)], [Decimal(i) for i in range(6)], [b"x", 2, "y", *"zzz"]]
)
def test_a_column_of_values_themselves_is_divided(values: list[Any]) -> None:
    """Both halves hold what they held, and an item that is sent alone, too."""
    whole = packed(values)
    column = Column(range(6), values, whole.body, plain=whole.plain)
    rest = column.divide(4)
    assert pickle.loads(column.body) == tuple(values[:4])
    assert pickle.loads(rest.body) == tuple(values[4:])
    assert [open_value(item.blob) for item in column.items([1, 3])] == [values[1], values[3]]
    assert [open_value(item.blob) for item in rest.items([0])] == [values[4]]


class Mark(str):
    """A text with a type of its own."""


@pytest.mark.parametrize(
    "value",
    [[Mark("x")], {Mark("x"): 1}, [bytearray(b"x")], [[[[1]]]], [1, {2}]],
)
def test_rows_hold_nothing_but_atoms(value: Any) -> None:
    """What is no atom, nor like one, is pickled, and each value alone."""
    found = opened(packed([[1], value]))
    assert found == [[1], value]
    assert repr(found) == repr([[1], value])


def test_rows_that_share_are_pickled() -> None:
    """What two rows share, or what is a row and lies in one, is two objects on the far side."""
    inner: list[Any] = []
    for rows in ([inner, inner], [{"a": inner}, {"a": inner}], [inner, [inner]], [[inner, inner]]):
        found = opened(packed(rows))
        assert found == rows
        if len(found) == 2:
            found[0].clear() if rows[0] is inner else found[0]["a"].append(1)
            first = found[0] if rows[0] is inner else found[0]["a"]
            first.append(1)
            assert found[1] == rows[1]
        else:
            assert found[0][0] is found[0][1]


def taken(value: Any) -> list[Any]:
    """What is taken of a result that may be a row: nothing, or its copy."""
    payloads: list[Any] = []
    rows = Rows(payloads)
    assert rows.refuse(value) is not rows.apt
    assert (rows.size > 0) is rows.apt is bool(payloads)
    return [kept for (kept,) in payloads]


def test_a_row_that_was_returned_does_not_change() -> None:
    """A copy of a small container is kept, and none of a large one."""
    value = {"a": 1}
    (kept,) = taken(value)
    value["a"] = 2
    assert kept == {"a": 1}
    assert taken(["x" * 10_000]) == []
    assert taken({"x" * 10_000: 1}) == []
    assert taken(list(range(100))) == []
    assert taken(b"x" * 10_000) == []
    assert taken(b"x") == [b"x"]


@pytest.mark.parametrize(
    "value", [[numpy.float64(1.5)], [Mark("x")], {Mark("x"): 1}, [bytearray(b"x")], [[1]], [1, {2}]]
)
def test_a_row_that_was_returned_holds_nothing_but_atoms(value: Any) -> None:
    """A copy would share the rest with the next items."""
    assert taken(value) == []


@pytest.mark.parametrize(
    "array",
    [
        numpy.arange(6.0).reshape(2, 3),
        numpy.array(7, dtype="int8"),
        numpy.zeros((0, 3)),
        numpy.array([True, False]),
    ],
    ids=str,
)
def test_small_arrays_are_taken_apart(array: Any) -> None:
    """They are rebuilt with type and shape, on memory of their own that can be written to."""
    blob = value_pickler("strict").single()(array)
    assert type(blob) is tuple
    found = open_value(marshal.loads(marshal.dumps(blob)))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.flags.writeable
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize(
    "array",
    [
        numpy.ones((3, 2), order="F"),
        numpy.arange(6)[::2],
        numpy.array(["a", "bc"]),
        numpy.ones(3, dtype=">f8"),
        numpy.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
    ],
    ids=repr,
)
def test_odd_arrays_are_pickled(array: Any) -> None:
    """What says more than type and shape goes as numpy wants it."""
    blob = value_pickler("strict").single()(array)
    assert type(blob) is bytes
    found = open_value(blob)
    assert type(found) is type(array)
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


def test_what_fails_leaves_nothing_behind() -> None:
    """After a value that cannot be pickled, half of it or more, the next ones are whole."""
    pack = value_pickler("strict").single()
    good = {"a": ["text", "text"], "b": ("more", ["text"])}
    for bad in (threading.Lock(), [good, threading.Lock()], Raises(ValueError), Raises(SystemExit)):
        with pytest.raises((Exception, SystemExit)):
            pack([good, bad])
        assert open_value(pack(good)) == good
    column = packed([good, [good, threading.Lock()], good, Raises(ValueError), good])
    assert opened(column) == [good] * 3


class Raises:
    """Raises while it is pickled."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error("as it was pickled")
