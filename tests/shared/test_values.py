"""Value and Array."""

from __future__ import annotations

import ctypes
import pickle
from typing import Any

import pytest

from procession import shared
from procession.shared.values import SynchronizedStruct
from tests.shared import jobs
from tests.shared.jobs import Start


class Point(ctypes.Structure):
    """A structure of two fields."""

    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


def raise_both(value: Any, array: Any, times: int) -> None:
    """The guide's worker."""
    for _ in range(times):
        with value.get_lock():
            value.value += 1
        with array.get_lock():
            for at in range(len(array)):
                array[at] += at


def test_raised_by_four_workers(start: Start) -> None:
    """The guide's Value and Array: no increment is lost."""
    value, array = shared.Value("i", 0), shared.Array("d", 4)
    for process in [start(raise_both, value, array, 250) for _ in range(4)]:
        process.join(60)
    assert value.value == 1000
    assert array[:] == [0, 1000, 2000, 3000]


@pytest.mark.parametrize(
    ("kind", "initial", "then"),
    [("i", 5, -7), ("d", 0.5, 2.5), ("c", b"a", b"b"), ("B", 1, 255), (ctypes.c_uint64, 1, 2**63)],
)
def test_a_value_of_each_kind(kind: Any, initial: Any, then: Any) -> None:
    """By typecode or by ctypes type."""
    value = shared.Value(kind, initial)
    assert value.value == initial
    value.value = then
    assert value.get_obj().value == then
    assert shared.Value(kind).value == type(value.get_obj())().value


def test_an_array() -> None:
    """Length, indices, slices, iteration."""
    array = shared.Array("i", [1, 2, 3])
    array[0] = 10
    array[1:] = [20, 30]
    assert (len(array), array[-1], array[:2], list(array)) == (3, 30, [10, 20], [10, 20, 30])
    assert shared.Array(ctypes.c_double, 3)[:] == [0.0] * 3
    with pytest.raises(IndexError):
        array[3]


def test_characters() -> None:
    """An array of them has a value and all its bytes."""
    text = shared.Array("c", 8)
    text.value = b"abc"
    assert (text.value, text.raw, text[:3], text[0]) == (b"abc", b"abc" + bytes(5), b"abc", b"a")
    text.raw = b"12345678"
    assert text.value == b"12345678"


def move(point: Any) -> None:
    """Change the fields."""
    with point.get_lock():
        point.x += 1
        point.y *= 2


def test_a_structure(start: Start) -> None:
    """Its fields are attributes."""
    point = shared.Value(Point, 3, 1.5)
    assert isinstance(point, SynchronizedStruct)
    process = start(move, point)
    process.join(60)
    assert (point.x, point.y, point.get_obj().x) == (4, 3.0, 4)
    with pytest.raises(AttributeError, match="no field 'z'"):
        point.z = 1
    with pytest.raises(AttributeError, match="z"):
        point.z  # noqa: B018


def test_an_array_of_structures() -> None:
    """And of arrays."""
    points = shared.Array(Point, [(1, 2.0), (3, 4.0)])
    assert points[1].y == 4.0
    rows = shared.Array(ctypes.c_int * 2, 3, lock=False)
    rows[2][1] = 7
    assert pickle.loads(pickle.dumps(rows))[2][1] == 7


def raise_raw(value: Any, array: Any) -> None:
    """Without a lock."""
    value.value += 1
    array[1] = 5


def test_without_a_lock(start: Start) -> None:
    """The ctypes object itself, that travels as the same memory."""
    value, array = shared.Value("i", 1, lock=False), shared.Array("i", 2, lock=False)
    assert isinstance(value, ctypes.c_int)
    process = start(raise_raw, value, array)
    process.join(60)
    assert (value.value, array[:]) == (2, [0, 5])


def test_with_a_lock_of_ones_own() -> None:
    """It is the one that is used, and several may use it."""
    lock = shared.RLock()
    one, other = shared.Value("i", lock=lock), shared.Array("i", 2, lock=lock)
    assert one.get_lock() is other.get_lock() is lock
    assert pickle.loads(pickle.dumps(one)).get_lock() is lock
    with one, other:
        one.acquire()
        one.release()
    with pytest.raises(AttributeError, match=r"use shared\.Lock or shared\.RLock"):
        shared.Value("i", lock=object())  # type: ignore[call-overload]


def test_what_is_no_type() -> None:
    """Names the typecodes."""
    with pytest.raises(TypeError, match="neither a ctypes type nor a typecode; typecodes are 'c'"):
        shared.Value("x")


def test_a_holder_of_the_lock_dies(start: Start) -> None:
    """The next one gets it, with a warning."""
    value = shared.Value("i", 1)
    process = start(jobs.die_within, value.get_lock())
    process.join(60)
    with pytest.warns(match="half written"):
        assert value.value == 1
