"""Data of other libraries, cut and joined by rows, or refused in one line."""

from __future__ import annotations

import pickle
import time
from collections import UserDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from procession import parallel_chunks
from procession.engine.pieces.splitting import combine, split
from tests.support.lazily import library

np: Any = pytest.importorskip("numpy")
pd, pl, pa, sparse = map(library, ("pandas", "polars", "pyarrow", "scipy.sparse"))
torch, xr = map(library, ("torch", "xarray"))
pytestmark = pytest.mark.skipif(pd is None, reason="pandas is not installed")


class Point(NamedTuple):
    """Two fields of one thing."""

    x: int
    y: int


def frame() -> Any:
    """Columns of several kinds, and an index of two levels."""
    index = pd.MultiIndex.from_product([["a", "b"], [1, 2, 3]], names=["key", "number"])
    return pd.DataFrame(
        {
            "whole": range(6),
            "text": list("uvwxyz"),
            "kind": pd.Categorical(list("ababab"), categories=["b", "a", "c"], ordered=True),
            "when": pd.date_range("2020-01-01", periods=6, tz="UTC"),
            "missing": pd.array([1, None, 3, 4, None, 6], dtype="Int64"),
        },
        index=index,
    )


def make(library: Any, *values: Any) -> Any:
    """One case, skipped where the library is not installed."""
    return pytest.param(*values, marks=pytest.mark.skipif(library is None, reason="not installed"))


def labelled() -> Any:
    """With coordinates along each dimension, and one of no dimension."""
    coordinates = {"time": range(6), "place": ["n", "s"], "run": 7}
    values = np.arange(12.0).reshape(6, 2)
    return xr.DataArray(values, coordinates, ["time", "place"], name="heat", attrs={"unit": "K"})


def matrix(kind: str) -> Any:
    """A sparse matrix, or array, of this kind."""
    return getattr(sparse, kind)(np.eye(6, 3))


CASES: list[Any] = [
    make(np, lambda: np.arange(12).reshape(6, 2)),
    make(np, lambda: np.ma.masked_array(range(6), [0, 1, 0, 1, 0, 0], fill_value=-1)),
    make(np, lambda: np.rec.fromarrays([range(6), list("abcdef")], names="number,letter")),
    make(np, lambda: np.asmatrix(np.eye(6))),
    make(np, lambda: np.array(["a", "bcd", "", "e", "f", "g"])),
    make(pd, frame),
    make(pd, lambda: frame()["kind"]),
    make(pd, lambda: frame()["missing"].reset_index(drop=True)),
    make(pd, lambda: frame().index),
    make(pd, lambda: pd.CategoricalIndex(list("aabbcc"))),
    make(pd, lambda: pd.date_range("2020-01-01", periods=6, name="when")),
    make(pd, lambda: frame()["kind"].array),
    make(pd, lambda: pd.array([1, None, 3, 4, 5, 6])),
    make(pl, lambda: pl.DataFrame({"a": range(6), "b": list("uvwxyz")})),
    make(pl, lambda: pl.Series("kind", list("ababab"), pl.Enum(["b", "a"]))),
    make(pa, lambda: pa.table({"a": range(6), "b": pa.array([*"ababab"]).dictionary_encode()})),
    make(pa, lambda: pa.record_batch({"a": range(6)})),
    make(pa, lambda: pa.array(["a", None, "c", "d", "e", "f"])),
    make(pa, lambda: pa.chunked_array([[1, 2, 3, 4], [5, 6]])),
    *(
        make(sparse, partial(matrix, f"{form}_{kind}"))
        for kind in ("array", "matrix")
        for form in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
    ),
    make(torch, lambda: torch.arange(12.0).reshape(6, 2)),
    make(xr, labelled),
]


def plain(data: Any) -> Any:
    """What can be compared with ``==``: kind, dtype and elements."""
    if hasattr(data, "toarray"):
        return type(data), data.dtype, data.format, data.toarray().tolist()
    if hasattr(data, "filled"):
        return type(data), data.dtype, data.filled().tolist(), data.fill_value
    if hasattr(data, "isel"):
        return type(data), data.dtype, data.to_dict()
    if hasattr(data, "to_pylist"):
        return type(data), getattr(data, "schema", getattr(data, "type", None)), data.to_pylist()
    kinds = [str(getattr(data, name, "")) for name in ("dtype", "dtypes", "index", "categories")]
    return type(data), kinds, repr(data).replace(", freq='D'", "").replace("freq=None", "")


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("build", CASES)
def test_cut_by_rows_and_joined_again(build: Callable[[], Any]) -> None:
    """Each piece is of the data's own kind, and all together are the data again."""
    data = build()
    pieces = list(split(data, pieces=4))
    rows = [piece.shape[0] if hasattr(piece, "shape") else len(piece) for piece in pieces]
    assert rows == [2, 2, 1, 1]
    assert {type(piece) for piece in pieces} == {type(data)}
    assert plain(combine(pieces, function="same")) == plain(data)


def same(data: Any) -> Any:
    """Sent back as it came."""
    return data


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("build", CASES)
def test_through_workers_and_back(build: Callable[[], Any]) -> None:
    """The same with the pieces sent to workers."""
    data = build()
    assert plain(parallel_chunks(workers=1, inline=False)(same)(data)) == plain(data)


class Rows:
    """A container that nothing is known of."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        return index


class Length(np.ndarray):  # type: ignore[misc]
    """An array with a unit, which nothing but its own code keeps."""

    unit = "m"


class Sums(list[int]):
    """A list with a method."""


class Reader:
    """An iterable of rows that is no container."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


REFUSED: list[Any] = [
    make(pd, lambda: pd.DataFrame({"a": [1, 1], "b": [2, 3]}).groupby("a")),
    make(pd, lambda: pd.DataFrame({"a": [1, 1]}).rolling(2)),
    make(pl, lambda: pl.DataFrame({"a": [1]}).group_by("a")),
    make(xr, lambda: labelled().to_dataset()),
    make(xr, lambda: labelled().variable),
    make(xr, lambda: labelled().sum()),
    make(sparse, lambda: sparse.coo_array(np.eye(3)[0])),
    make(torch, lambda: torch.tensor(3.0)),
    make(torch, lambda: torch.eye(3).to_sparse()),
    make(torch, lambda: torch.utils.data.TensorDataset(torch.arange(3))),
    make(np, lambda: np.array(3)),
    make(np, lambda: np.arange(3).view(Length)),
    make(np, lambda: memoryview(np.eye(3))),
    make(np, lambda: Point(1, 2)),
    make(np, lambda: time.gmtime(0)),
    make(np, Rows),
    make(np, lambda: UserDict({"a": 1})),
]


@pytest.mark.parametrize("build", REFUSED)
def test_what_is_not_known_is_not_cut(build: Callable[[], Any]) -> None:
    """One line says what to write instead."""
    with pytest.raises(TypeError, match=r"^cannot split") as caught:
        split(build(), pieces=2)
    assert "\n" not in str(caught.value)


def test_a_refusal_names_the_kinds_and_what_to_write() -> None:
    """The kinds that are cut, ``f.map`` over pieces of one's own, and ``combine=``."""
    with pytest.raises(TypeError, match=r"Rows.*list\(data\).*f\.map\(pieces\).*combine=.*pandas"):
        split(Rows(), pieces=2)


def test_subclasses_of_builtin_containers_and_plain_iterables_are_cut_as_ever() -> None:
    """Slices of a list are lists; what is only iterable is read into lists."""
    assert list(split(Sums([1, 2, 3]), pieces=2)) == [[1, 2], [3]]
    assert list(split(Reader(), pieces=2)) == [[0, 1, 2]]
    assert list(split({"a": 1}.items(), pieces=2)) == [[("a", 1)]]


TEXTS = ("ab", "ac")
MISFITS: list[Any] = [
    make(
        pd,
        lambda: [pd.get_dummies(pd.Series(list(each))) for each in TEXTS],
        "columns [a, b]",
    ),
    make(pd, lambda: [pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.5]})], "'a' int64"),
    make(pd, lambda: [pd.Series(list(each), dtype="category") for each in TEXTS], "['a', 'b']"),
    make(pd, lambda: [pd.Categorical(list(each)) for each in TEXTS], "category ['a', 'b']"),
    make(pd, lambda: [pd.Series([1], name=name) for name in "ab"], "name a in piece 0, b"),
    make(pd, lambda: [pd.Series([1], [key]) for key in (1, "a")], "dtype of the index"),
    make(pd, lambda: [pd.Index([1], name="a"), pd.Index([1], name="b")], "names of the index"),
    make(np, lambda: [np.zeros(2), np.zeros(2, int)], "dtype float64 in piece 0, int64 in piece 1"),
    make(np, lambda: [np.zeros((2, 3)), np.zeros((2, 4))], "(3) in piece 0, (4) in piece 1"),
    make(pl, lambda: [pl.DataFrame({"a": [1]}), pl.DataFrame({"b": [1]})], "columns [a]"),
    make(pl, lambda: [pl.Series([1]), pl.Series([1.5])], "dtype Int64"),
    make(pa, lambda: [pa.table({"a": [1]}), pa.table({"a": ["x"]})], "schema"),
    make(sparse, lambda: [sparse.eye_array(2, 3), sparse.eye_array(2, 4)], "columns 3"),
    make(torch, lambda: [torch.zeros(2), torch.zeros(2, dtype=torch.int32)], "dtype torch.float32"),
    make(
        xr, lambda: [labelled()[:2], labelled().assign_coords(place=["n", "e"])[2:]], "do not fit"
    ),
]


@pytest.mark.parametrize(("build", "says"), MISFITS)
def test_pieces_that_do_not_fit_are_refused(build: Callable[[], Any], says: str) -> None:
    """What differs is named, with both values, and ``combine=``."""
    with pytest.raises(TypeError) as caught:
        combine(build(), function="split_up")
    message = str(caught.value)
    assert message.startswith("split_up() returned ")
    assert says in message
    assert "combine=function" in message


def test_whoever_wants_them_joined_says_so() -> None:
    """``combine=pandas.concat`` is what was done without a word."""
    parts = [pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})]
    assert combine(parts, function="f", join=pd.concat).shape == (2, 2)


def test_pieces_numbered_anew_are_numbered_through() -> None:
    """A result that each piece numbers from 0 is numbered as one made of all; others are kept."""
    whole = combine([pd.Series([1, 2]), pd.Series([3, 4])], function="f")
    assert whole.index.equals(pd.RangeIndex(4))
    kept = combine([pd.Series([1], [5]), pd.Series([3], [5])], function="f")
    assert kept.index.tolist() == [5, 5]


def test_pieces_without_elements_decide_no_dtype() -> None:
    """What numpy makes of an empty list is no reason to change, or refuse, what others found."""
    joined = combine([np.array([]), np.array([3, 4]), np.array([])], function="f")
    assert (joined.dtype, joined.tolist()) == (np.array([3]).dtype, [3, 4])
    assert combine([np.array([]), np.array([])], function="f").shape == (0,)
    rows = combine([np.ones((2, 3), "f4"), np.array([])], function="f")
    assert (rows.shape, rows.dtype) == ((2, 3), "f4")


def test_arrays_on_a_file_are_joined_in_memory(tmp_path: Path) -> None:
    """A join of memory maps is an array like others."""
    data = np.memmap(tmp_path / "data", "f8", "w+", shape=(4,))
    assert type(combine(list(split(data, pieces=2)), function="f")) is np.ndarray


@pytest.mark.skipif(torch is None, reason="not installed")
def test_a_piece_of_a_tensor_is_sent_without_the_rest() -> None:
    """A view of a tensor is pickled with all that it is a view of; a piece is not."""
    pieces = list(split(torch.zeros(100_000), pieces=10))
    assert all(len(pickle.dumps(piece)) < 100_000 for piece in pieces)
