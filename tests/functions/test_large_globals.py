"""A function that goes by value takes large arrays along, outside of its pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

from procession import parallel
from procession.functions.loading import load_function
from procession.functions.packed_function import dump_function

SIZE = 50_000


def closure(array: Any, seen: list[int]) -> Callable[[int], tuple[float, int, bool]]:
    """A function without a name of its own, over a large array and a list that lives on."""

    def at(index: int) -> tuple[float, int, bool]:
        seen.append(index)
        return float(array[index]), len(seen), bool(array.flags.writeable)

    return at


def test_the_pickle_holds_no_large_array() -> None:
    """The array's memory is handed out as a buffer, and the function is rebuilt with it."""
    array = numpy.arange(float(SIZE))
    buffers: list[Any] = []
    payload = dump_function(closure(array, []), None, "by-value", buffers)
    assert len(payload) < 10_000
    assert [len(buffer.raw()) for buffer in buffers] == [array.nbytes]
    copies = [bytearray(buffer.raw()) for buffer in buffers]
    assert load_function(payload, copies)(7) == (7.0, 1, True)


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib"])
def test_a_large_array_of_a_closure(backend: Any) -> None:
    """A map sees the array as it is; the function's state lives on while that is the same."""
    array = numpy.arange(float(SIZE))
    options: Any = {"workers": 1, "backend": backend, "inline": False, "pickling": "by-value"}
    f = parallel(**options)(closure(array, []))
    assert f.map([1, 2]) == [(1.0, 1, True), (2.0, 2, True)]
    assert f.map([3]) == [(3.0, 3, True)]
    array[4] = -1.0
    assert f.map([4]) == [(-1.0, 1, True)]


def test_with_large_arguments_too() -> None:
    """The function's arrays and those that go to every item are not taken for each other."""
    array = numpy.arange(float(SIZE))
    factors = numpy.full(SIZE, 2.0)

    def product(index: int, by: Any, *more: Any) -> float:
        return float(array[index] * by[index])

    f = parallel(workers=2, inline=False, pickling="by-value")(product)
    assert f.map(range(10), factors) == [2.0 * index for index in range(10)]
    assert f.map(range(10), factors, [1], by_item(factors)) == [2.0 * i for i in range(10)]
    assert f.submit(3, factors).result() == 6.0


def by_item(array: Any) -> Any:
    """A second large argument, which an item could change."""
    return array * 3
