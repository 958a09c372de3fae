"""Splitting data and joining results."""

from __future__ import annotations

import subprocess
import sys
from array import array
from collections import Counter, UserList, deque
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession import OptionError, parallel, parallel_chunks
from procession.engine.pieces.splitting import LAZY_PIECE, combine, split
from tests.support.lazily import library

pandas, polars = map(library, ("pandas", "polars"))
pytestmark = pytest.mark.skipif(None in (pandas, polars), reason="pandas or polars is missing")


def cut(data: Any, pieces: int = 3) -> list[Any]:
    """The pieces as a list."""
    return list(split(data, pieces=pieces))


def joined(*parts: Any) -> Any:
    """The parts joined by type."""
    return combine(parts, function="double")


def refusal(*parts: Any) -> str:
    """The message with which these parts are not joined."""
    with pytest.raises(TypeError) as caught:
        joined(*parts)
    return str(caught.value)


# -- splitting -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "pieces"),
    [
        ([1, 2, 3, 4, 5, 6, 7], [[1, 2, 3], [4, 5], [6, 7]]),
        ((1, 2, 3), [(1,), (2,), (3,)]),
        ("abcdefg", ["abc", "de", "fg"]),
        (b"abcd", [b"ab", b"c", b"d"]),
        (bytearray(b"abcd"), [bytearray(b"ab"), bytearray(b"c"), bytearray(b"d")]),
        (range(0, 12, 2), [range(0, 4, 2), range(4, 8, 2), range(8, 12, 2)]),
        (array("i", [1, 2, 3]), [array("i", [1]), array("i", [2]), array("i", [3])]),
        (deque([1, 2, 3], 5), [deque([1], 5), deque([2], 5), deque([3], 5)]),
        (UserList([1, 2, 3]), [UserList([1]), UserList([2]), UserList([3])]),
        ([1, 2], [[1], [2]]),
    ],
)
def test_sequences_are_cut_into_their_own_kind(data: Any, pieces: list[Any]) -> None:
    """Pieces have the data's type and nearly equal sizes; there are no empty ones."""
    found = cut(data)
    assert found == pieces
    assert all(type(piece) is type(data) for piece in found)


@pytest.mark.parametrize(
    "data", [[], (), "", b"", range(0), deque(), set(), iter([]), array("d"), numpy.zeros((0, 3))]
)
def test_empty_data_give_one_empty_piece(data: Any) -> None:
    """The function sees an empty piece, and what it makes of that is the result."""
    (piece,) = cut(data)
    assert len(piece) == 0


def test_size_decides_instead_of_pieces() -> None:
    """A size cuts the same pieces whatever number is wanted."""
    assert list(split([1, 2, 3, 4, 5], pieces=9, size=2)) == [[1, 2], [3, 4], [5]]


def test_sets_are_cut_into_sets() -> None:
    """A set has no order, but its pieces are sets that cover it."""
    pieces = cut({1, 2, 3, 4})
    assert all(type(piece) is set for piece in pieces)
    assert set().union(*pieces) == {1, 2, 3, 4}
    assert sum(map(len, pieces)) == 4


def test_arrays_are_cut_along_the_first_axis() -> None:
    """Pieces of an array are views of its rows."""
    data = numpy.arange(20).reshape(5, 4)
    pieces = cut(data)
    assert [piece.shape for piece in pieces] == [(2, 4), (2, 4), (1, 4)]
    assert all(piece.base is data.base for piece in pieces)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pandas.DataFrame({"a": range(5)}, index=list("vwxyz")),
        lambda: pandas.Series(range(5), index=[10, 20, 30, 40, 50]),
        lambda: pandas.Index(list("abcde")),
        lambda: polars.DataFrame({"a": range(5)}),
        lambda: polars.Series("a", range(5)),
    ],
    ids=["pandas.DataFrame", "pandas.Series", "pandas.Index", "polars.DataFrame", "polars.Series"],
)
def test_tables_are_cut_by_rows_and_joined_again(make: Callable[[], Any]) -> None:
    """Frames, series and indexes keep their type, rows and index through both ways."""
    data = make()
    pieces = cut(data)
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    assert all(type(piece) is type(data) for piece in pieces)
    whole = joined(*pieces)
    assert type(whole) is type(data)
    assert whole.equals(data)
    (empty,) = cut(data[:0])
    assert len(empty) == 0


def test_iterables_are_read_lazily_into_lists() -> None:
    """A generator is read one piece at a time, however long it is."""
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    pieces = list(islice(split(endless(), pieces=4, size=3), 2))
    assert pieces == [[0, 1, 2], [3, 4, 5]]
    assert len(taken) == 6
    assert len(next(iter(split(count(), pieces=4)))) == LAZY_PIECE


@pytest.mark.parametrize("length", [1, 2, 3, 4, 6])
def test_iterables_end_without_an_empty_piece(length: int) -> None:
    """A length that divides evenly leaves no empty piece behind."""
    pieces = list(split(iter(range(length)), pieces=1, size=2))
    assert all(pieces)
    assert [element for piece in pieces for element in piece] == list(range(length))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: {"a": 1}, "Pass list(data.items())"),
        (lambda: Counter("aab"), "cannot split a Counter"),
        (lambda: 5, "cannot split an int: the first argument of a parallel_chunks function"),
        (lambda: None, "cannot split None: "),
        (lambda: count, "Call it: pass count(...)."),
        (lambda: numpy.array(3.0), "without dimensions"),
        (lambda: polars.LazyFrame({"a": [1]}), "Pass data.collect()"),
    ],
)
def test_what_cannot_be_split_says_what_to_pass(make: Callable[[], Any], says: str) -> None:
    """Mappings, single values and unread frames are refused with what to write."""
    with pytest.raises(TypeError) as caught:
        cut(make())
    assert says in str(caught.value)


# -- joining ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (([1], [], [2, 3]), [1, 2, 3]),
        (((1,), (2,)), (1, 2)),
        (("ab", "c"), "abc"),
        ((b"ab", b"c"), b"abc"),
        ((bytearray(b"ab"), bytearray(b"c")), bytearray(b"abc")),
        ((deque([1], 9), deque([2], 9)), deque([1, 2], 9)),
        ((array("i", [1]), array("i", [2])), array("i", [1, 2])),
        (([],), []),
    ],
)
def test_sequences_are_joined_in_order(parts: tuple[Any, ...], whole: Any) -> None:
    """Results of one type come one after another, in a new object."""
    found = joined(*parts)
    assert found == whole
    assert type(found) is type(whole)
    assert all(found is not part for part in parts if isinstance(part, (list, bytearray, array)))


def test_arrays_are_concatenated() -> None:
    """Arrays are joined along their first axis; masks survive."""
    whole = joined(numpy.ones((2, 3)), numpy.zeros((1, 3)))
    assert whole.shape == (3, 3)
    masked = numpy.ma.masked_array([1, 2], mask=[True, False])
    assert joined(masked, masked).mask.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (3, "an int for each piece, and there is no one way to join those. Write combine=sum"),
        (1.5, "Write combine=sum"),
        (True, "a bool for each piece"),
        (numpy.float64(2), "Write combine=sum"),
        (numpy.array(2), "a ndarray for each piece"),
        (None, "returned None for each piece"),
        ({"a": 1}, "Keys that two pieces share"),
        (Counter("a"), "sum(parts, Counter())"),
        ({1, 2}, "set().union(*parts)"),
        (iter([1]), "Return list(...) of it"),
        (range(3), "Write combine=function of the list of results"),
        (object(), "an object for each piece"),
    ],
)
def test_what_cannot_be_joined_names_combine(part: Any, says: str) -> None:
    """A result whose joining would be a guess is refused with what to write."""
    message = refusal(part, part)
    assert message.startswith("double() returned ")
    assert says in message
    assert "combine=" in message


def test_named_tuples_are_not_run_together() -> None:
    """A subclass of a sequence is no sequence of results."""
    from typing import NamedTuple

    class Point(NamedTuple):
        x: int

    assert "a Point for each piece" in refusal(Point(1), Point(2))


def test_different_types_are_not_joined() -> None:
    """A function that returns now this, now that, is told so."""
    assert "returned list for one piece and tuple for another" in refusal([1], (2,))


def test_combine_takes_the_list_of_parts() -> None:
    """The user's function decides, whatever the type."""
    assert combine((3, 4), function="total", join=sum) == 7
    assert combine([{1}, {2}], function="ids", join=lambda parts: set().union(*parts)) == {1, 2}


def test_combine_can_be_given_by_with_options() -> None:
    """To a function that joins pieces; to others it is refused."""

    @parallel_chunks(backend="serial")
    def count(data: list[int]) -> int:
        return len(data)

    @parallel(backend="serial")
    def plain(data: list[int]) -> int:
        return len(data)

    assert count.with_options(combine=sum)([1] * 100) == 100
    with pytest.raises(OptionError, match="only @parallel_chunks joins pieces"):
        plain.with_options(combine=sum)


@given(
    data=st.lists(st.integers()),
    pieces=st.integers(1, 50),
    size=st.one_of(st.none(), st.integers(1, 50)),
)
def test_split_and_combine_give_the_data_back(
    data: list[int], pieces: int, size: int | None
) -> None:
    """Every element once, in order, in pieces of nearly equal size."""
    found = list(split(data, pieces=pieces, size=size))
    assert combine(found, function="same") == data
    sizes = [len(piece) for piece in found]
    if size is None:
        assert len(found) == max(1, min(pieces, len(data)))
        assert max(sizes) - min(sizes) <= 1
    else:
        assert max(sizes) <= size


def test_nothing_is_imported_to_find_out_the_type() -> None:
    """Lists are split and joined without numpy, pandas or polars."""
    code = (
        "import sys; from procession.engine.pieces.splitting import combine, split; "
        "combine(list(split([1, 2], pieces=2)), function='f'); "
        "sys.exit(bool({'numpy', 'pandas', 'polars'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
