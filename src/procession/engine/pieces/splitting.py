"""`parallel_chunks`: data are split into pieces, and the pieces' results are joined again."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import chain, islice
from types import FunctionType, MethodType
from typing import Any

from procession.engine.call import Call
from procession.engine.map.whole_list import map_list
from procession.engine.pieces.rows import LIBRARIES, Rows, misfit, rows_of
from procession.pickling.objects import class_of

LAZY_PIECE = 1024
"""Elements in a piece of an input whose length is not known. A guess."""

_DATA = frozenset({*LIBRARIES.replace(" and", ",").split(", "), "scipy", "dask", "h5py"})
"""Libraries whose containers are no lists of elements: how they are iterated over says little."""

_PIECES_PER_WORKER = 4
"""Enough to even out pieces of different cost: at most a quarter of a worker's share waits at the
end. Few enough that the function still sees large pieces. A guess in the range that OpenMP's
dynamic schedules and joblib's batches use."""

_SEEDED_PIECES = 32
"""With ``seed=`` the pieces are the same on every machine. A guess: enough for eight workers."""


def run_on_pieces(call: Call, data: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run the function on pieces of its first argument, and join the results.

    ``chunk=`` is the number of elements in a piece; without it the data are cut into a few pieces
    for each worker.
    """
    options = call.options
    size = None if options.chunk == "auto" else options.chunk
    # With a seed, results must not depend on how many workers there are.
    count = _SEEDED_PIECES if options.seed is not None else options.workers * _PIECES_PER_WORKER
    pieces = split(data, pieces=count, size=size)
    # A piece is an item here, and each is large enough for a message of its own.
    whole = call._replace(options=replace(options, chunk=1))
    parts = map_list(whole.of_items("value", args, kwargs), pieces)
    if len(parts) == 1 and options.combine is None:
        return parts[0]  # nothing to join: empty data give what an empty piece gives
    return combine(parts, function=call.name, join=options.combine)


def split(data: Any, *, pieces: int, size: int | None = None) -> Iterable[Any]:
    """Cut data into pieces of its own kind, in order.

    Sequences are sliced; arrays, tensors, sparse matrices and data frames are cut by rows (see
    `procession.engine.pieces.rows`); sets are cut into sets, deques into deques; any other iterable
    is read lazily, into lists.

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
    rows = rows_of(data)
    if rows is not None:
        bounds = _bounds(rows.length(data), pieces, size)
        return [rows.cut(data, start, stop) for start, stop in bounds]
    cut = _cutter(data)
    if cut is not None:
        return [cut(start, stop) for start, stop in _bounds(len(data), pieces, size)]
    _refuse_unsplittable(data)
    return _lazily(iter(data), size or LAZY_PIECE)


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
    kind = class_of(data)
    if issubclass(kind, deque):
        return _cut_in_order(data, lambda part: deque(part, data.maxlen))
    if issubclass(kind, (set, frozenset)):
        return _cut_in_order(data, set if issubclass(kind, set) else frozenset)
    if _is_record(kind) or (issubclass(kind, memoryview) and data.ndim != 1):
        return None
    if issubclass(kind, (Sequence, array, memoryview)):
        return lambda start, stop: data[start:stop]
    return None


def _is_record(kind: type) -> bool:
    """Whether it is a tuple whose elements are the fields of one thing."""
    fields = hasattr(kind, "_fields") or hasattr(kind, "n_fields")
    return fields and issubclass(kind, tuple)


def _cut_in_order(data: Iterable[Any], make: Callable[[Any], Any]) -> Callable[[int, int], Any]:
    """Pieces of a container that cannot be sliced; they are asked for in order."""
    elements = iter(data)
    return lambda start, stop: make(islice(elements, stop - start))


def _lazily(elements: Iterator[Any], size: int) -> Iterator[list[Any]]:
    piece = list(islice(elements, size))
    yield piece
    while len(piece) == size:
        piece = list(islice(elements, size))
        if piece:
            yield piece


def _refuse_unsplittable(data: Any) -> None:
    """Refuse what is not simply an iterable of elements."""
    kind = class_of(data)
    name = kind.__name__
    if isinstance(data, Mapping):
        raise _unsplittable(
            kind,
            "its pieces could be keys, values or items. Pass list(data.items()), and take pairs in "
            "the function",
        )
    if name == "LazyFrame":
        raise _unsplittable(kind, "it has no rows yet. Pass data.collect()")
    if _is_record(kind):
        raise _unsplittable(kind, "its elements are the fields of one thing. Pass a list of such")
    if getattr(data, "shape", None) == ():
        raise TypeError(
            f"cannot split {_a(kind)} without dimensions: it is one value. "
            "Pass an array of at least one dimension."
        )
    if not isinstance(data, Iterable) and not hasattr(kind, "__getitem__"):
        raise TypeError(
            f"cannot split {_a(kind)}: the first argument of a parallel_chunks function must be a "
            f"sequence, an array, a data frame or another iterable.{_uncalled(data)}"
        )
    if isinstance(data, Iterator):
        return
    if hasattr(kind, "__getitem__") or kind.__module__.partition(".")[0] in _DATA:
        raise _unsplittable(
            kind, "what its pieces are is not known. Pass list(data) if they are lists of elements"
        )


def _unsplittable(kind: type, why: str) -> TypeError:
    return TypeError(
        f"cannot split {_a(kind)}: {why}; or cut it yourself, and write f.map(pieces) and what "
        f"combine= would do. Sequences, sets and iterators are cut by elements, what {LIBRARIES} "
        "hold in tables and arrays by rows."
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
        after another, arrays and frames by rows.

    Raises:
        TypeError: There is no one way to join results of this type, or these do not fit together:
            columns, dtypes, categories or shapes differ.
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
    known = _JOINS.get(kind)
    if known is not None:
        return known(parts)
    rows = rows_of(parts[0])
    if rows is None:
        raise TypeError(
            f"{function}() returned {_a(kind)} for each piece, and there is no one way to "
            f"join those. {_advice(parts[0])}"
        )
    return _join_rows(rows, parts, function)


def _join_rows(rows: Rows, parts: Sequence[Any], function: str) -> Any:
    """Join what fits together; refuse the rest."""
    parts = [part for part in parts if not rows.neutral(part)] or parts[:1]
    why = misfit([rows.traits(part) for part in parts])
    cause = None
    if not why:
        try:
            return rows.join(parts)
        except Exception as error:
            why, cause = f"{type(error).__name__}: {error}".rstrip("."), error
    raise TypeError(
        f"{function}() returned {class_of(parts[0]).__name__} pieces that do not fit together: "
        f"{why}. Return the same columns, dtypes and categories for every piece, or write "
        "combine=function of the list of results, which decides."
    ) from cause


def _join_deques(parts: Sequence[deque[Any]]) -> deque[Any]:
    return deque(chain.from_iterable(parts), parts[0].maxlen)


def _join_arrays(parts: Sequence[array[Any]]) -> array[Any]:
    joined = parts[0][:]
    for part in parts[1:]:
        joined.extend(part)
    return joined


_JOINS: dict[type, Callable[[Any], Any]] = {
    list: lambda parts: list(chain.from_iterable(parts)),
    tuple: lambda parts: tuple(chain.from_iterable(parts)),
    str: "".join,
    bytes: b"".join,
    bytearray: lambda parts: bytearray().join(parts),
    deque: _join_deques,
    array: _join_arrays,
}


def _uncalled(data: object) -> str:
    if isinstance(data, (FunctionType, MethodType, type)):
        return f" Call it: pass {data.__name__}(...)."
    return ""


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
