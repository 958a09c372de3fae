"""Small arrays: written in fewer words than numpy's own, and the same once they have arrived."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from procession import parallel
from procession.pickling.pickler import dumps, loads

np = pytest.importorskip("numpy")


class Sub(np.ndarray):  # type: ignore[name-defined,misc]  # numpy may be missing
    """A subclass, which says itself how it is pickled."""


def _read_only() -> Any:
    array = np.arange(5)
    array.flags.writeable = False
    return array


ARRAYS = {
    **{f"type-{code}": np.zeros(3, code) for code in "?bBhHiIlLqQefdgFDG"},
    "plain": np.arange(125.0),
    "two-dimensional": np.arange(6).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(10)[::3],
    "backwards": np.arange(10)[::-1],
    "slice": np.arange(100_000)[7:11],
    "broadcast": np.broadcast_to(np.arange(3), (4, 3)),
    "no-dimensions": np.array(3.5),
    "no-dimensions-whole": np.array(1000),
    "empty": np.zeros((0, 4)),
    "read-only": _read_only(),
    "other-byte-order": np.arange(4, dtype=">i4"),
    "structured": np.zeros(3, [("x", "i4"), ("y", "f8")]),
    "dates": np.array(["2020-01-01", "NaT"], "M8[ns]"),
    "durations": np.arange(3).astype("m8[ms]"),
    "text": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "objects": np.array([1, "two", None], object),
    "raw": np.zeros(2, "V5"),
    "metadata": np.zeros(3, np.dtype("f8", metadata={"unit": "m"})),
    "masked": np.ma.masked_array([1, 2, 3], [False, True, False]),
    "masked-filled": np.ma.masked_array([1, 2, 3], [False, True, False], fill_value=-7),
    "masked-no-dimensions": np.ma.masked_array(5, False),
    "records": np.rec.fromarrays([[1, 2], [0.5, 1.5]], names="x,y"),
    "subclass": np.arange(4).view(Sub),
    "larger": np.arange(3000.0),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("pickling", ["strict", "by-value"])
@pytest.mark.filterwarnings("ignore:metadata on a dtype")
def test_as_plain_pickling(array: Any, pickling: Any) -> None:
    """Type, shape, order, flags and elements are what plain pickling would have brought."""
    there = loads(dumps([array], pickling))[0]
    plain = pickle.loads(pickle.dumps(array, 5))
    assert type(there) is type(plain)
    assert there.dtype == plain.dtype
    assert there.dtype.metadata == plain.dtype.metadata
    assert there.shape == plain.shape
    assert there.strides == plain.strides
    for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS", "WRITEABLE", "ALIGNED"):
        assert there.flags[flag] == plain.flags[flag], flag
    assert repr(there) == repr(plain)


TYPES = [
    *"?bBhHiIlLqQefdgFDG",
    *("S3", "U3", "V5", "O", "M8[ns]", "m8[ms]", ">i4", ">f8", "<i8"),
    [("x", "i4"), ("y", "f8", (2,))],
]


def _forms(kind: Any) -> list[Any]:
    """Arrays of one type: of 0 to 3 dimensions, in every order of memory, and empty."""
    dtype = np.dtype(kind)
    flat = np.arange(1, 25).astype(dtype) if dtype.fields is None else np.ones(24, dtype)
    cube = flat.reshape(2, 3, 4)
    frozen = cube.copy()
    frozen.flags.writeable = False
    found = [
        np.array(flat[20], dtype),  # above what a sequence of so many bytes would be
        flat[:1],
        flat,
        flat.reshape(4, 6),
        cube,
        *(np.asfortranarray(cube), cube.T, cube[:, ::2], cube[::-1], flat[::-5], cube[:0]),
        *(frozen, np.broadcast_to(flat[:1], (2, 2)), flat.reshape(1, 24)[:, :1]),
    ]
    return [*found, *(each.view(Sub) for each in found[:3])]


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("pickling", ["strict", "by-value"])
def test_every_type_in_every_form(kind: Any, pickling: Any) -> None:
    """Of any type, with any number of dimensions, in any order: as plain pickling brings it."""
    given = _forms(kind)
    for there, plain in zip(
        [*loads(dumps(given, pickling)), *(loads(dumps(each, pickling)) for each in given)],
        2 * pickle.loads(pickle.dumps(given, 5)),
        strict=True,
    ):
        assert (type(there), there.dtype, there.shape) == (type(plain), plain.dtype, plain.shape)
        assert there.strides == plain.strides
        assert there.flags.writeable == plain.flags.writeable
        assert there.tobytes() == plain.tobytes()


def arrived(item: Any, common: Any) -> tuple[Any, Any, str]:
    """What came, there and back, and how it looked there."""
    return item, common, repr((item, common))


@pytest.mark.parametrize("backend", ["process", "loky", "stdlib"])
def test_whole_numbers_without_dimensions_cross_in_every_place(backend: Any) -> None:
    """As an item, in a container, as an argument for all, and as a result."""
    number, masked = np.array(10**12), np.ma.masked_array([1, 2], [0, 1], fill_value=99)
    item = {"number": number, "masked": [masked], "short": (np.array(-3, "i1"),)}
    work = parallel(backend=backend, workers=1, inline=False)(arrived)
    for there, common, seen in (work.map([item], number)[0], work.submit(item, number).result()):
        assert (there["number"], there["short"][0], common) == (10**12, -3, 10**12)
        assert (there["number"].shape, there["number"].dtype) == ((), number.dtype)
        assert there["masked"][0].filled().tolist() == [1, 99]
        assert seen == repr((item, number))


def test_it_is_cheaper_than_plain_pickling() -> None:
    """What a pickle says of a small array beyond its elements is less than numpy says."""
    array = np.arange(125.0)
    assert len(dumps(array)) - array.nbytes < (len(pickle.dumps(array, 5)) - array.nbytes) / 1.5
    assert b"dtype" not in dumps(array)


def test_arrived_arrays_are_private() -> None:
    """Writing to one that arrived changes nothing else."""
    array = np.arange(5)
    one, other = loads(dumps([array, array.copy()]))
    one[:] = 9
    assert other.tolist() == array.tolist() == [0, 1, 2, 3, 4]


def test_aliases_inside_one_value_stay_aliases() -> None:
    """The same array twice in one value is one array there, as in plain pickling."""
    array = np.arange(5)
    one, other = loads(dumps((array, array)))
    assert one is other
