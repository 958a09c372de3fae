"""What must be alike in frames, series and indexes to join them by rows, and joining them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

Traits = list[tuple[str, Any]]


def library(name: str) -> Any:
    """A library whose data are at hand, so that it is loaded."""
    return sys.modules[name]


class shown:
    """A dtype that is compared as it is, and reads in a message with its categories."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def __eq__(self, other: object) -> bool:
        return isinstance(other, shown) and bool(self.dtype == other.dtype)

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __str__(self) -> str:
        categories = getattr(self.dtype, "categories", None)
        return str(self.dtype) if categories is None else f"category {list(categories)}"


def frame_traits(data: Any) -> Traits:
    """Of a pandas data frame."""
    columns = [("columns", [*data.columns]), ("names of columns", [*data.columns.names])]
    kinds = [(f"dtype of {name!r}", shown(kind)) for name, kind in data.dtypes.items()]
    # Compared in order: kinds of columns that are not the same are never reached.
    return [*columns, ("number of columns", len(kinds)), *kinds, *index_traits(data.index)]


def series_traits(data: Any) -> Traits:
    """Of a pandas series."""
    return [("name", data.name), ("dtype", shown(data.dtype)), *index_traits(data.index)]


def index_traits(index: Any) -> Traits:
    """Of a pandas index, which may have several levels."""
    levels = [*index.dtypes] if index.nlevels > 1 else [index.dtype]
    return [
        ("names of the index", [*index.names]),
        ("dtype of the index", [shown(kind) for kind in levels]),
    ]


def extension_traits(data: Any) -> Traits:
    """Of a Categorical, or another array of pandas' own."""
    return [("dtype", shown(data.dtype))]


def cut_pandas(data: Any, start: int, stop: int) -> Any:
    """Rows of a frame or series."""
    return data.iloc[start:stop]


def join_pandas(parts: Sequence[Any]) -> Any:
    """Frames or series, one after another.

    Where each piece has been numbered from 0 by itself, so is the whole.
    """
    pandas = library("pandas")
    several = sum(len(part) > 0 for part in parts) > 1
    renumber = several and all(_numbered(part.index, pandas) for part in parts)
    return pandas.concat(list(parts), ignore_index=renumber)


def _numbered(index: Any, pandas: Any) -> bool:
    fresh = pandas.RangeIndex(len(index))
    return isinstance(index, pandas.RangeIndex) and index.name is None and bool(index.equals(fresh))


def join_indexes(parts: Sequence[Any]) -> Any:
    """Indexes, one after another."""
    return parts[0].append(list(parts[1:]))


def join_extension_arrays(parts: Sequence[Any]) -> Any:
    """Categoricals and other arrays of pandas' own, one after another."""
    pandas = library("pandas")
    return pandas.concat([pandas.Series(part) for part in parts], ignore_index=True).array


def polars_frame_traits(data: Any) -> Traits:
    """Of a polars data frame."""
    return [("columns", data.columns), ("dtypes", data.dtypes)]


def polars_series_traits(data: Any) -> Traits:
    """Of a polars series."""
    return [("name", data.name), ("dtype", data.dtype)]


def join_polars(parts: Sequence[Any]) -> Any:
    """Frames or series, one after another."""
    polars = library("polars")
    return polars.concat(list(parts))
