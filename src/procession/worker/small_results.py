"""Small results that are taken at once: rows, and what else no user code is part of.

They are copied or pickled as they are returned, so no later item can change them.
"""

from __future__ import annotations

from collections.abc import Callable

from procession.hints import Any
from procession.pickling.immutable import CONTAINERS, CheckedPickler, immutable_types
from procession.pickling.objects import SCALARS, class_of, is_one_of
from procession.system.interrupts import strikes

_ROW = 64
"""Members that a result is looked through for, one by one. pickle looks at more of them faster."""

_TEXT = 4096
"""Bytes of text in such a result: more is pickled, which tells how large it is."""


class SmallResults:
    """Takes what it can of a column's results.

    Args:
        payloads: Takes them, as in `items.Results`.
        held: Their bytes are added to its only element.
    """

    __slots__ = ("_builtin", "_held", "_payloads", "_pickled", "_rows")

    def __init__(self, payloads: list[Any], held: list[int]) -> None:
        self._payloads = payloads
        self._held = held
        self._pickled = BuiltinPickler()
        self._rows = self._builtin = True  # whether the next ones may be such: likely as the last

    def taker(self, kind: type[Any]) -> Callable[[Any], bool] | None:
        """What takes a result of this type, or gives `True`; `None` if none can be taken."""
        container = is_one_of(kind, CONTAINERS)
        if self._rows and (container or kind is bytes):
            return self._take_row
        if self._builtin and (container or is_one_of(kind, immutable_types())):
            return self._take_builtin
        return None

    def _take_row(self, result: Any) -> bool:
        payload, size = row(result)
        if payload is None:
            self._rows = False
            return not self._builtin or self._take_builtin(result)
        self._held[0] += size
        self._payloads.append((payload,))
        return False

    def _take_builtin(self, result: Any) -> bool:
        payload = self._pickled(result)
        if payload is None:
            self._builtin = False
            return True
        self._held[0] += len(payload)
        self._payloads.append(payload)
        return False


def row(value: Any) -> tuple[Any, int]:
    """A copy of small bytes, or of a small container of atoms, and its bytes; else `None`.

    Nothing can change the copy any more.
    """
    size = len(value)
    if class_of(value) is bytes:
        return (value, size) if size <= _TEXT else (None, 0)
    if size > _ROW:
        return None, 0
    members = value
    try:
        if class_of(value) is dict:
            members = value.values()
            for key in value:
                if class_of(key) is str:
                    size += len(key)
                elif class_of(key) not in SCALARS:
                    return None, 0
        for member in members:
            kind = class_of(member)
            if kind is str or kind is bytes:
                size += len(member)
            elif kind not in SCALARS:
                return None, 0
    except BaseException as error:  # of a metaclass: what pickles the value says so
        if strikes(error):
            raise
        return None, 0
    if size > _TEXT:
        return None, 0
    return (value if class_of(value) is tuple else value.copy()), size + 8 * len(value)


class BuiltinPickler:
    """Pickles one value after the other, each alone, if no code but pickle's own is part of it."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._pieces = list[bytes]()
        pickler = CheckedPickler(_OnePiece(self._pieces))
        self._dump, self._forget = pickler.dump, pickler.clear_memo

    def __call__(self, value: Any) -> bytes | None:
        """The pickle; `None` if there is anything else in the value, or if it is large."""
        try:
            self._dump(value)
            self._forget()
            return self._pieces.pop()
        except BaseException as error:
            self._renew()
            if strikes(error):
                raise
            return None


class _OnePiece:
    """Takes one frame of a pickle. A second one says that the value is large."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def write(self, piece: bytes) -> None:
        """Take it, as a file does."""
        if self._pieces:
            raise ValueError
        self._pieces.append(piece)
