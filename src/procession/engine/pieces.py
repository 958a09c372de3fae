"""Splitting data into pieces, and joining the pieces' results again, for `parallel_chunks`."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, islice
from typing import Any, Final

__all__ = ["combine", "split"]

LAZY_PIECE: Final = 1024
"""Elements in a piece of an input whose length is not known. A guess."""


def split(data: Any, *, pieces: int, size: int | None = None) -> Iterable[Any]:
    """Cut data into pieces of its own kind, in order.

    Sequences, arrays (along their first axis) and data frames (by rows) are sliced; sets are
    cut into sets, deques into deques; any other iterable is read lazily, into lists.

    Args:
        data: What to cut.
        pieces: How many pieces, of nearly equal size; fewer if there are fewer elements.
        size: Elements per piece; decides instead of `pieces` if it is given.

    Returns:
        The pieces: a list, or an iterator if the data are read lazily. Empty data give one empty
        piece.

    Raises:
        TypeError: The data have no elements, or no pieces of their own kind.
    """
    _refuse_unsplittable(data)
    cut = _cutter(data)
    if cut is None:
        return _lazily(iter(data), size or LAZY_PIECE)
    return [cut(start, stop) for start, stop in _bounds(len(data), pieces, size)]


def _bounds(count: int, pieces: int, size: int | None) -> Iterator[tuple[int, int]]:
    if count == 0:
        yield 0, 0
    elif size is not None:
        for start in range(0, count, size):
            yield start, min(start + size, count)
    else:
        pieces = max(1, min(pieces, count))
        small, larger = divmod(count, pieces)
        start = 0
        for number in range(pieces):
            stop = start + small + (number < larger)
            yield start, stop
            start = stop


def _cutter(data: Any) -> Callable[[int, int], Any] | None:
    """A function that gives the piece from start to stop; `None` if there is only iteration."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, (pandas.DataFrame, pandas.Series)):
        return lambda start, stop: data.iloc[start:stop]
    kind: Any = data.__class__
    if issubclass(kind, deque):
        return _cut_in_order(data, lambda part: deque(part, data.maxlen))
    if issubclass(kind, (set, frozenset)):
        return _cut_in_order(data, data.__class__)
    if issubclass(kind, (Sequence, array, memoryview)) or _is_table(data):
        return lambda start, stop: data[start:stop]
    return None


def _cut_in_order(data: Iterable[Any], make: Callable[[Any], Any]) -> Callable[[int, int], Any]:
    """Pieces of a container that cannot be sliced; they are asked for in order."""
    elements = iter(data)
    return lambda start, stop: make(islice(elements, stop - start))


def _is_table(data: Any) -> bool:
    """Whether it is an array, an index, or polars' data, which all take slices."""
    numpy, pandas, polars = map(sys.modules.get, ("numpy", "pandas", "polars"))
    return (
        (numpy is not None and isinstance(data, numpy.ndarray))
        or (pandas is not None and isinstance(data, pandas.Index))
        or (polars is not None and isinstance(data, (polars.DataFrame, polars.Series)))
    )


def _lazily(elements: Iterator[Any], size: int) -> Iterator[list[Any]]:
    piece = list(islice(elements, size))
    yield piece
    while len(piece) == size:
        piece = list(islice(elements, size))
        if piece:
            yield piece


def _refuse_unsplittable(data: Any) -> None:
    kind = type(data).__name__
    if isinstance(data, Mapping):
        raise TypeError(
            f"cannot split a {kind}: its pieces could be keys, values or items. "
            "Pass list(data.items()), and take pairs in the function."
        )
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(data, polars.LazyFrame):
        raise TypeError("cannot split a LazyFrame: it has no rows yet. Pass data.collect().")
    if getattr(data, "shape", None) == ():
        raise TypeError(
            f"cannot split a {kind} without dimensions: it is one value. "
            "Pass an array of at least one dimension."
        )
    if not isinstance(data, (Iterable, Sequence)) and not hasattr(data, "__getitem__"):
        raise TypeError(
            f"cannot split a {kind}: the first argument of a parallel_chunks function must be a "
            "sequence, an array, a data frame or another iterable."
        )


# -- joining ---------------------------------------------------------------------------------


def combine(
    parts: Sequence[Any], *, function: str, join: Callable[[list[Any]], Any] | None = None
) -> Any:
    """Join the results of the pieces.

    Args:
        parts: The results, in the pieces' order; at least one.
        function: The function's name, for messages.
        join: The ``combine`` option; without it the results' type decides.

    Returns:
        What `join` makes of the list of results; else lists, tuples, strings and the like one
        after another, arrays and frames along their first axis.

    Raises:
        TypeError: There is no one way to join results of this type.
    """
    if join is not None:
        return join(list(parts))
    first: object = parts[0]
    kind = type(first)
    for part in parts:
        if type(part) is not kind:
            raise TypeError(
                f"{function}() returned {kind.__name__} for one piece and {type(part).__name__} "
                f"for another, so the pieces cannot be joined by type. Return the same type, or "
                "write combine=function of the list of results."
            )
    known = _JOINS.get(kind) or _table_join(parts[0])
    if known is None:
        raise TypeError(
            f"{function}() returned {_a(kind)} for each piece, and there is no one way to "
            f"join those. {_advice(parts[0])}"
        )
    return known(parts)


def _join_deques(parts: Sequence[deque[Any]]) -> deque[Any]:
    return deque(chain.from_iterable(parts), parts[0].maxlen)


def _join_arrays(parts: Sequence[array[Any]]) -> array[Any]:
    joined = parts[0][:]
    for part in parts[1:]:
        joined.extend(part)
    return joined


_JOINS: Final[dict[type, Callable[[Any], Any]]] = {
    list: lambda parts: list(chain.from_iterable(parts)),
    tuple: lambda parts: tuple(chain.from_iterable(parts)),
    str: "".join,
    bytes: b"".join,
    bytearray: lambda parts: bytearray().join(parts),
    deque: _join_deques,
    array: _join_arrays,
}


def _table_join(part: Any) -> Callable[[Sequence[Any]], Any] | None:
    """How numpy, pandas or polars join things of this type; none is imported to find out."""
    numpy, pandas, polars = map(sys.modules.get, ("numpy", "pandas", "polars"))
    if numpy is not None and isinstance(part, numpy.ndarray):
        if part.ndim == 0:
            return None
        masked = isinstance(part, numpy.ma.MaskedArray)
        concatenate: Any = numpy.ma.concatenate if masked else numpy.concatenate
        return lambda parts: concatenate(list(parts), axis=0)
    if pandas is not None:
        if isinstance(part, (pandas.DataFrame, pandas.Series)):
            return lambda parts: pandas.concat(list(parts))
        if isinstance(part, pandas.Index):
            return lambda parts: parts[0].append(list(parts[1:]))
    if polars is not None and isinstance(part, (polars.DataFrame, polars.Series)):
        return lambda parts: polars.concat(list(parts))
    return None


def _a(kind: type) -> str:
    name = kind.__name__
    if name == "NoneType":
        return "None"
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def _advice(part: Any) -> str:
    """What to write for results of this type."""
    if part is None:
        return (
            "If it changes its argument in place, return it instead: a worker changes its own "
            "copy. If it is called for its effects, write combine=lambda parts: None."
        )
    if isinstance(part, (int, float, complex)) or hasattr(part, "__float__"):
        return "Write combine=sum, combine=max, or another function of the list of results."
    if isinstance(part, Mapping):
        return (
            "Keys that two pieces share could be added, replaced or listed: write combine=, for "
            "example combine=lambda parts: sum(parts, Counter()) or "
            "combine=lambda parts: {k: v for part in parts for k, v in part.items()}."
        )
    if isinstance(part, Set):
        return "Write combine=lambda parts: set().union(*parts), or another function of the list."
    if hasattr(part, "__next__"):
        return "Return list(...) of it, or write combine=function of the list of results."
    return "Write combine=function of the list of results, or return a list, array or frame."
