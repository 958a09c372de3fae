"""What has rows, in the libraries of data: how to cut it by rows, and to join rows again.

Nothing is imported to find out what something is: data of a library come from a program that has
loaded it. Pieces are joined only if they fit together: `Rows.traits` names what must be alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from procession.engine.pieces import frames
from procession.engine.pieces.frames import Traits, library
from procession.pickling.objects import class_of, is_a
from procession.system import NamedTuple

LIBRARIES = "numpy, pandas, polars, pyarrow, scipy.sparse, torch and xarray"
"""For messages."""


def _any(data: Any) -> bool:
    return True


def _none(data: Any) -> bool:
    return False


class Rows(NamedTuple):
    """How one kind of data is cut by rows and joined again.

    Attributes:
        length: How many rows it has.
        cut: Rows from start to stop, as data of the same kind.
        join: One after another.
        traits: What must be alike in all pieces, by name.
        may: Whether things of this very type can be cut or joined at all.
        neutral: Whether a piece says nothing of its kind, having no elements.
    """

    length: Callable[[Any], int]
    cut: Callable[[Any, int, int], Any]
    join: Callable[[Sequence[Any]], Any]
    traits: Callable[[Any], Traits]
    may: Callable[[Any], bool] = _any
    neutral: Callable[[Any], bool] = _none


def rows_of(data: Any) -> Rows | None:
    """How data are cut and joined by rows; `None` if they are of no kind that is known here."""
    for home, names, rows in _KINDS:
        module: Any = sys.modules.get(home)
        if module is None:
            continue
        for name in names:
            kind = getattr(module, name, None)
            if kind is not None and isinstance(data, kind):
                return rows if rows.may(data) else None
    return None


def misfit(traits: Sequence[Traits]) -> str:
    """What is not alike in the pieces, with the numbers of two of them; empty if they fit."""
    first = traits[0]
    for number, other in enumerate(traits):
        for (name, one), (_, two) in zip(first, other, strict=True):
            if one != two:
                return f"{name} {_short(one)} in piece 0, {_short(two)} in piece {number}"
    return ""


def _short(value: Any) -> str:
    text = str(value)
    if is_a(value, list, tuple):
        text = ", ".join(map(str, value))
        text = f"({text})" if is_a(value, tuple) else f"[{text}]"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _length(data: Any) -> int:
    return int(data.shape[0])


def _slice(data: Any, start: int, stop: int) -> Any:
    return data[start:stop]


def _has_dimensions(data: Any) -> bool:
    return bool(data.ndim > 0)


# -- numpy -----------------------------------------------------------------------------------


def _may_join_array(data: Any) -> bool:
    """Whether it is an array of numpy's own, or of a class that says how it is joined.

    Others may hold attributes (a unit, a grid) that `numpy.concatenate` drops without a word.
    """
    numpy = library("numpy")
    if data.ndim == 0:
        return False
    kind: Any = class_of(data)
    own = kind.__module__.partition(".")[0] == "numpy"
    return bool(own or kind.__array_function__ is not numpy.ndarray.__array_function__)


def _array_traits(data: Any) -> Traits:
    # Texts of several lengths are joined without loss.
    kind = data.dtype.kind if data.dtype.kind in "SU" else data.dtype
    return [("dtype", kind), ("shape beyond the first dimension", data.shape[1:])]


def _join_arrays(parts: Sequence[Any]) -> Any:
    numpy = library("numpy")
    if not isinstance(parts[0], numpy.ma.MaskedArray):
        whole: Any = numpy.concatenate(list(parts), axis=0)
        return _as(type(parts[0]), whole)
    joined = numpy.ma.concatenate(list(parts), axis=0)
    fills = {repr(part.fill_value) for part in parts}
    if len(fills) == 1:
        joined.fill_value = parts[0].fill_value
    return joined


def _as(kind: Any, whole: Any) -> Any:
    """As numpy's own class (a recarray); concatenation gives plain arrays of some."""
    if kind.__module__.partition(".")[0] != "numpy":
        return whole
    if kind.__name__ == "memmap":
        kind = library("numpy").ndarray  # it is on no file
    return whole if type(whole) is kind else whole.view(kind)


def _says_nothing(data: Any) -> bool:
    """Whether it is what numpy makes of an empty list, whose dtype was not chosen."""
    return bool(data.shape == (0,) and data.dtype == float)


# -- torch, scipy ------------------------------------------------------------------------------


def _cut_tensor(data: Any, start: int, stop: int) -> Any:
    piece = data[start:stop]
    # A view is pickled with all of the memory it lies on.
    return piece if data.is_shared() else piece.clone()


def _may_cut_tensor(data: Any) -> bool:
    torch = library("torch")
    return bool(data.ndim > 0 and data.layout == torch.strided)


def _join_tensors(parts: Sequence[Any]) -> Any:
    torch = library("torch")
    return torch.cat(list(parts))


def _tensor_traits(data: Any) -> Traits:
    return [
        ("dtype", data.dtype),
        ("device", data.device),
        ("shape beyond the first dimension", tuple(data.shape[1:])),
    ]


def _cut_sparse(data: Any, start: int, stop: int) -> Any:
    by_rows = data if data.format in ("csr", "lil") else data.tocsr()
    return by_rows[start:stop].asformat(data.format)


def _join_sparse(parts: Sequence[Any]) -> Any:
    sparse = library("scipy.sparse")
    return sparse.vstack(list(parts), format=parts[0].format)


def _is_matrix(data: Any) -> bool:
    return bool(data.ndim == 2)


def _sparse_traits(data: Any) -> Traits:
    return [("dtype", data.dtype), ("format", data.format), ("columns", data.shape[1])]


# -- pyarrow, xarray ---------------------------------------------------------------------------


def _cut_arrow(data: Any, start: int, stop: int) -> Any:
    return data.slice(start, stop - start)


def _schema(data: Any) -> Traits:
    return [("schema", data.schema)]


def _type(data: Any) -> Traits:
    return [("type", data.type)]


def _join_tables(parts: Sequence[Any]) -> Any:
    pyarrow = library("pyarrow")
    return pyarrow.concat_tables(list(parts))


def _join_batches(parts: Sequence[Any]) -> Any:
    pyarrow = library("pyarrow")
    table = pyarrow.Table.from_batches(list(parts)).combine_chunks()
    return (table.to_batches() or parts)[0]


def _join_chunked(parts: Sequence[Any]) -> Any:
    pyarrow = library("pyarrow")
    chunks = [chunk for part in parts for chunk in part.chunks]
    return pyarrow.chunked_array(chunks, type=parts[0].type)


def _join_arrow_arrays(parts: Sequence[Any]) -> Any:
    pyarrow = library("pyarrow")
    return pyarrow.concat_arrays(list(parts))


def _cut_labelled(data: Any, start: int, stop: int) -> Any:
    return data.isel({data.dims[0]: slice(start, stop)})


def _join_labelled(parts: Sequence[Any]) -> Any:
    xarray = library("xarray")
    how: Any = {"coords": "minimal", "compat": "equals", "join": "exact"}
    return xarray.concat(list(parts), parts[0].dims[0], combine_attrs="override", **how)


def _labelled_traits(data: Any) -> Traits:
    return [
        ("name", data.name),
        ("dtype", data.dtype),
        ("dimensions", data.dims),
        ("shape beyond the first dimension", data.shape[1:]),
        ("coordinates", sorted(map(str, data.coords))),
    ]


_KINDS: Sequence[tuple[str, Iterable[str], Rows]] = (
    (
        "numpy",
        ("ndarray",),
        Rows(len, _slice, _join_arrays, _array_traits, _may_join_array, _says_nothing),
    ),
    (
        "pandas",
        ("DataFrame",),
        Rows(len, frames.cut_pandas, frames.join_pandas, frames.frame_traits),
    ),
    (
        "pandas",
        ("Series",),
        Rows(len, frames.cut_pandas, frames.join_pandas, frames.series_traits),
    ),
    ("pandas", ("Index",), Rows(len, _slice, frames.join_indexes, frames.index_traits)),
    (
        "pandas.api.extensions",
        ("ExtensionArray",),
        Rows(len, _slice, frames.join_extension_arrays, frames.extension_traits),
    ),
    ("polars", ("DataFrame",), Rows(len, _slice, frames.join_polars, frames.polars_frame_traits)),
    ("polars", ("Series",), Rows(len, _slice, frames.join_polars, frames.polars_series_traits)),
    ("pyarrow", ("Table",), Rows(len, _cut_arrow, _join_tables, _schema)),
    ("pyarrow", ("RecordBatch",), Rows(len, _cut_arrow, _join_batches, _schema)),
    ("pyarrow", ("ChunkedArray",), Rows(len, _cut_arrow, _join_chunked, _type)),
    ("pyarrow", ("Array",), Rows(len, _cut_arrow, _join_arrow_arrays, _type)),
    (
        "scipy.sparse",
        ("spmatrix", "sparray"),
        Rows(_length, _cut_sparse, _join_sparse, _sparse_traits, _is_matrix),
    ),
    (
        "torch",
        ("Tensor",),
        Rows(len, _cut_tensor, _join_tensors, _tensor_traits, _may_cut_tensor),
    ),
    (
        "xarray",
        ("DataArray",),
        Rows(_length, _cut_labelled, _join_labelled, _labelled_traits, _has_dimensions),
    ),
)
