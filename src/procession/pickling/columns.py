"""Values that cross together: one pickle, of their tuple, or of a list of what stands for each.

They are a tuple of the values themselves, if none can change, or as rows do (see
`procession.pickling.immutable`). Else the elements of the list describe themselves. A number, a
text or `None` is itself. A tuple of three is a small array of numbers. `bytes` are the pickle of
anything else, one for each value. A tuple of two is such a pickle, after a description of its
classes, which is written once. Of results, a tuple of one holds a row. So no two values share what
can be changed on the far side, and what cannot cross is known by its place. Large values, and those
with large buffers, go one by one (`procession.pickling.out_of_band`).
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable, Sequence
from itertools import chain

from procession.hints import Any
from procession.pickling.descriptions import open_description
from procession.pickling.importable import unimportable_marks
from procession.pickling.objects import SCALARS, THEMSELVES, class_of, types_of
from procession.pickling.out_of_band import replacements
from procession.pickling.pickler import EachPickler, Pickling, loads
from procession.system import NamedTuple
from procession.system.cpython import pickle
from procession.system.interrupts import strikes

MOST_BYTES = 1 << 20
"""Bytes after which no more values are taken into a column. Four times what chunks aim at."""

_STEP = 64
"""Values that are packed before their bytes are counted."""

_ROW = 64
"""Members that a result is looked through for, one by one. pickle looks at more of them faster."""

_TEXT = 4096
"""Bytes of text in such a result: more is pickled, which tells how large it is."""


class PackedColumn(NamedTuple):
    """What `pack_values` made of the first of some values.

    Attributes:
        body: The pickle.
        taken: How many values it has looked at, those that were refused included.
        refused: The places of values that cannot cross, and why.
        plain: Whether none of the values ever changes.
    """

    body: bytes
    taken: int
    refused: Sequence[tuple[int, BaseException]] = ()
    plain: bool = False


def pack_values(values: Sequence[Any], pickling: Pickling) -> PackedColumn | None:
    """Pack values for a worker, as many as a column takes.

    What their own code raises refuses one of them, but for what a signal handler has raised.

    Returns:
        The column; `None` if one of them is large, and they are to go one by one.
    """
    if replacements:
        return None
    from procession.pickling.immutable import pack_whole  # no worker needs it

    whole = pack_whole(values, MOST_BYTES)
    if whole is not None:
        body, taken, plain = whole
        return PackedColumn(body, taken, plain=plain)
    pickler = EachPickler(pickling, _small_arrays())
    packed = _pickled(values, pickler)
    pickler.close()
    return packed


def _pickled(values: Sequence[Any], pickler: EachPickler) -> PackedColumn | None:
    """Values of which some are not themselves, nor rows."""
    blobs: list[Any] = []
    refused: list[tuple[int, BaseException]] = []
    size = at = 0
    while at < len(values) and size <= MOST_BYTES:
        some = values[at : at + _STEP]
        at += len(some)
        kinds = types_of(some)
        alike = kinds.isdisjoint(THEMSELVES) and pickler.takes_whole(kinds)
        packed: list[Any] | None = pickler.blobs(some) if alike else None
        if packed is None or _name_what_is_not_there(packed):
            packed = _pack_each(some, pickler.single(), at - len(some), refused)
            if packed is None:
                return None
        blobs += packed
        size += sum(map(bytes_of, packed))
    return PackedColumn(pickle.dumps(blobs, 5), at, refused)


class Rows:
    """Takes results that are rows, as they come: small bytes, or a small container of atoms.

    Each is copied at once, so that nothing can change it any more.

    Args:
        payloads: Takes the copies, each in a tuple.

    Attributes:
        apt: Whether all results that it was shown were rows.
        size: Bytes of those that it has taken since `forget`.
    """

    def __init__(self, payloads: list[Any]) -> None:
        self._append = payloads.append
        self.apt = True
        self.size = 0

    def refuse(self, value: Any) -> bool:
        """Take a value of these types, unless it is no row. Whether it is none."""
        # A dict is gone through once, which takes a fifth less than its keys and then its values.
        # So what is asked of a member stands here twice.
        kind = class_of(value)
        try:
            size = len(value)
            if kind is bytes:
                copy = value
            elif size > _ROW:
                return self._refused()
            elif kind is dict:
                copy = value.copy()
                for key, member in copy.items():
                    if class_of(key) is str:
                        size += len(key)
                    elif class_of(key) not in SCALARS:
                        return self._refused()
                    kind = class_of(member)
                    if kind is str or kind is bytes:
                        size += len(member)
                    elif kind not in SCALARS:
                        return self._refused()
            else:
                copy = value if kind is tuple else value.copy()
                for member in copy:
                    kind = class_of(member)
                    if kind is str or kind is bytes:
                        size += len(member)
                    elif kind not in SCALARS:
                        return self._refused()
        except BaseException as error:  # of a metaclass: what pickles the value says so
            if strikes(error):
                raise
            return self._refused()
        if size > _TEXT:
            return self._refused()
        self._append((copy,))
        self.size += size + 64
        return False

    def forget(self) -> None:
        """What was taken is sent."""
        self.size = 0

    def _refused(self) -> bool:
        self.apt = False
        return True


def _pack_each(
    values: Sequence[Any],
    pack: Callable[[Any], Any],
    first: int,
    refused: list[tuple[int, BaseException]],
) -> list[Any] | None:
    """What stands for each value that can cross; `None` if one of them is large."""
    blobs: list[Any] = []
    for place, value in enumerate(values, first):
        try:
            blob = value if type(value) in THEMSELVES else pack(value)
        except BaseException as error:
            if strikes(error):
                raise
            refused.append((place, error))
            continue
        if blob is None and value is not None:
            return None
        blobs.append(blob)
    return blobs


def bytes_of(blob: Any) -> int:
    """How many bytes an element takes, but for a description of its classes."""
    kind = class_of(blob)
    if kind is tuple:
        return len(blob[1] if len(blob) == 2 else blob[0])
    return len(blob) if kind is bytes or kind is str else 8


def _name_what_is_not_there(blobs: list[bytes]) -> bool:
    """Whether some of these pickles may name what a worker cannot import."""
    together = b"".join(blobs)
    return any(together.find(mark) >= 0 for mark in unimportable_marks())


def value_pickler(pickling: Pickling) -> EachPickler:
    """What pickles one value after the other that is not itself."""
    return EachPickler(pickling, _small_arrays(), guests=True)


def _small_arrays() -> tuple[type, Callable[[Any], Any]] | None:
    """The type of arrays, and what takes small ones apart; `None` where no such are known."""
    numpy = sys.modules.get("numpy")
    if numpy is None or getattr(numpy, "ndarray", None) is None:
        return None
    if numpy.ndarray in copyreg.dispatch_table:
        return None  # the program wants them pickled its own way
    from procession.pickling.array_reducers import small_parts

    return numpy.ndarray, small_parts


def open_value(blob: Any, buffers: Sequence[Any] = ()) -> Any:
    """The value that an element of such a list stands for.

    Raises:
        Exception: As `loads`.
    """
    kind = class_of(blob)
    if kind in THEMSELVES:
        return blob
    if kind is tuple and len(blob) != 2:
        if len(blob) == 1:
            return blob[0]
        data, code, shape = blob
        return _array()(shape, code, bytearray(data))
    return loads(pickle_of(blob), buffers)


def pickle_of(blob: Any) -> bytes:
    """The pickle of a value that has one; this process knows its classes from now on.

    Raises:
        Exception: As `loads`: one of them cannot be made here.
    """
    if class_of(blob) is tuple:
        description, blob = blob
        open_description(description)
    pickled: bytes = blob
    return pickled


def is_pickled(blob: Any) -> bool:
    """Whether an element is a pickle: to open one may fail."""
    kind = class_of(blob)
    return kind is bytes or (kind is tuple and len(blob) == 2)


_ndarray: Any = None


def _array() -> Any:
    global _ndarray
    if _ndarray is None:
        import numpy

        _ndarray = numpy.ndarray
    return _ndarray


def open_column(payloads: list[Any]) -> list[Any]:
    """The values that such a list stands for: the list itself, where they are all themselves.

    Raises:
        Exception: As `loads`.
    """
    kinds = set(map(type, payloads))
    if THEMSELVES.issuperset(kinds):
        return payloads
    if kinds == {bytes}:
        return [pickle.loads(each) for each in payloads]  # `map` would end at a StopIteration
    lengths = set(map(len, payloads)) if kinds == {tuple} else set[int]()
    if lengths == {1}:
        return list(chain.from_iterable(payloads))
    if lengths == {2}:
        return [pickle.loads(pickle_of(each)) for each in payloads]
    if lengths == {3}:
        array = _array()
        return [array(shape, code, bytearray(data)) for data, code, shape in payloads]
    return [each if type(each) in THEMSELVES else open_value(each) for each in payloads]
