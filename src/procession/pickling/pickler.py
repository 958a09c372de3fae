"""Pickles values for another process, refusing what must not cross.

First the C pickler, with the dispatch table of `procession.pickling.dispatch_tables`: it costs what
plain pickling costs. It cannot name for a worker what is in ``__main__``, in notebooks, and in
modules that workers cannot import. Such functions and classes go by value, in a second attempt,
with cloudpickle's reducers and the same refusals (see `procession.pickling.by_value`).
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace

from procession.hints import Any
from procession.pickling.dispatch_tables import LARGE, PLAIN, ByValue, Pickling, keep_small
from procession.pickling.importable import unimportable_marks
from procession.pickling.objects import ATOMS
from procession.system.cpython import pickle
from procession.system.interrupts import strikes

__all__ = [
    "LARGE",
    "EachPickler",
    "PackedInitializer",
    "Pickling",
    "dumps",
    "loads",
    "open_initializer",
    "pack_initializer",
]

PackedInitializer = bytes | tuple[bytes, tuple[Any, ...]]

_FRAME = 2 * 64 * 1024 + 4096
"""The C pickler closes a frame at 64 KiB. What it writes beyond this size is one large payload."""

_plain = pickle.dumps


class _Pickler:
    """A C pickler that is used again and again: making one costs more than a small pickle."""

    __slots__ = ("buffers", "dump", "forget", "pieces")

    def __init__(self, with_buffers: bool) -> None:
        self.pieces: list[Any] = []
        self.buffers: list[pickle.PickleBuffer] = []
        # Appending to a list takes large payloads as they are, without a copy.
        sink: Any = SimpleNamespace(write=self.pieces.append)
        keep = keep_small(self.buffers) if with_buffers else None
        pickler = pickle.Pickler(sink, 5, buffer_callback=keep)
        pickler.dispatch_table = PLAIN
        self.dump: Callable[[Any], None] = pickler.dump
        self.forget: Callable[[], None] = pickler.clear_memo


_idle: list[_Pickler] = []
_idle_with_buffers: list[_Pickler] = []


def dumps(obj: Any, pickling: Pickling = "strict", buffers: list[Any] | None = None) -> bytes:
    """Pickle `obj` for a worker.

    Args:
        obj: Anything.
        pickling: ``"strict"`` refuses lambdas and functions and classes that are defined inside
            functions; ``"by-value"`` takes them. Both refuse what is bound to this process.
        buffers: Takes the large buffers (protocol 5) out of the pickle; `loads` needs them again.

    Raises:
        Exception: What stops it. `procession.explaining.explain` finds out where it sits.
    """
    if type(obj) in ATOMS:
        return _plain(obj, 5)
    try:
        if len(copyreg.dispatch_table) != PLAIN.registered:
            PLAIN.keep_in_step()
        idle = _idle if buffers is None else _idle_with_buffers
        try:
            pickler = idle.pop()
        except IndexError:
            pickler = _Pickler(buffers is not None)
        pickler.dump(obj)
        pieces = pickler.pieces
        for mark in unimportable_marks():
            for piece in pieces:
                # Only frames hold names, and larger pieces are payloads. `find` beats `in`.
                if type(piece) is bytes and len(piece) < _FRAME and piece.find(mark) >= 0:
                    raise ByValue
    except (ByValue, pickle.PicklingError, TypeError, AttributeError):
        from procession.pickling.lasting_classes import dumps_lasting

        return dumps_lasting(obj, pickling, buffers)
    if buffers is not None:
        buffers += pickler.buffers
        pickler.buffers.clear()
    if len(pieces) > 1:
        return b"".join(pieces)  # and drop the pickler, whose memo has grown
    blob: bytes = pieces.pop()
    pickler.forget()
    idle.append(pickler)
    return blob


class EachPickler:
    """Pickles values for a worker one after the other, each alone.

    That takes half of what `dumps` takes.

    Args:
        pickling: As for `dumps`.
        arrays: A type, and what takes such values apart, or gives `None`.
        guests: As for `SharedClasses`.
    """

    __slots__ = (
        *("_arrays", "_buffers", "_dump", "_forget", "_guests", "_pickling", "_pieces", "_shared"),
    )

    def __init__(
        self,
        pickling: Pickling,
        arrays: tuple[type, Callable[[Any], Any]] | None,
        *,
        guests: bool = False,
    ) -> None:
        self._pickling: Pickling = pickling
        self._arrays = arrays
        self._guests = guests
        self._shared: Any = None
        self._renew()

    def by_value(self, value: Any) -> Any:
        """What stands for a value that cannot go by names alone; as for `single`.

        Raises:
            Exception: As `dumps`.
        """
        if self._shared is None:
            from procession.pickling.lasting_classes import of_columns

            self._shared = of_columns.take(self._pickling, guests=self._guests)
        return self._shared.dumps(value)

    def close(self) -> None:
        """The column is over, and what was found out of its classes is kept for the next one."""
        if self._shared is not None:
            from procession.pickling.lasting_classes import of_columns

            of_columns.put(self._shared)
            self._shared = None

    def takes_whole(self, kinds: Iterable[type]) -> bool:
        """Whether it takes values of none of these types apart."""
        return self._arrays is None or self._arrays[0] not in kinds

    def _renew(self) -> None:
        if len(copyreg.dispatch_table) != PLAIN.registered:
            PLAIN.keep_in_step()
        pickler = _Pickler(with_buffers=True)
        self._dump, self._forget = pickler.dump, pickler.forget
        self._pieces, self._buffers = pickler.pieces, pickler.buffers

    def single(self) -> Callable[[Any], Any]:
        """What gives, for value after value, what stands for it.

        That is `None` for one that is large, or has large buffers. It raises what stops a value.
        """
        dump, forget, pieces, buffers = self._dump, self._forget, self._pieces, self._buffers
        kind, parts = self._arrays or (None, None)
        modules, known = sys.modules, 0
        marks: tuple[bytes, ...] = ()

        def blob(value: Any) -> Any:
            nonlocal known, marks
            if parts is not None and type(value) is kind:
                packed = parts(value)
                if packed is not None:
                    return packed
            if self._shared is not None and self._shared.has(type(value)):
                return self.by_value(value)
            try:
                dump(value)
                if len(pieces) != 1 or buffers:
                    renew()
                    return None
                forget()
                found = pieces.pop()
            except (ByValue, pickle.PicklingError, TypeError, AttributeError):
                renew()
                return self.by_value(value)
            except BaseException:
                renew()
                raise
            if len(modules) != known:
                known, marks = len(modules), unimportable_marks()
            for mark in marks:
                if found.find(mark) >= 0:
                    return self.by_value(value)
            return found

        def renew() -> None:
            nonlocal dump, forget, pieces, buffers
            self._renew()
            dump, forget, pieces = self._dump, self._forget, self._pieces
            buffers = self._buffers

        return blob

    def blobs(self, values: Sequence[Any]) -> list[bytes] | None:
        """What stands for some values, none of them a number, a text or an array.

        `None` if any of them needs to be looked at alone.
        """
        dump, forget, pieces = self._dump, self._forget, self._pieces
        try:
            for value in values:
                dump(value)
                forget()
            found: list[bytes] = pieces[:]
            if len(found) == len(values) and not self._buffers:
                pieces.clear()
                return found
        except BaseException as error:
            if strikes(error):
                raise
        self._renew()
        return None


def loads(blob: Any, buffers: Iterable[Any] | tuple[Any, ...] = ()) -> Any:
    """Rebuild what `dumps` pickled.

    Args:
        blob: The pickle.
        buffers: The buffers that were taken out of it, or a segment's ticket.

    Raises:
        Gone: The ticket's segment cannot be opened.
        Exception: What the objects' own code raises.
    """
    if not buffers:
        return pickle.loads(blob)
    if isinstance(buffers, tuple):
        from procession.buffers.receiver import open_ticket

        return pickle.loads(blob, buffers=open_ticket(buffers))
    return pickle.loads(blob, buffers=buffers)


def pack_initializer(
    initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> PackedInitializer:
    """Pickle a worker's initializer with its arguments, for a process that starts.

    Arguments that only a starting process can take (multiprocessing's locks and queues) are left
    as they are: the start itself then hands them over, as it does for the standard library.
    """
    if initializer is None:
        return b""
    try:
        return dumps((initializer, initargs), "by-value")
    except Exception:
        return dumps(initializer, "by-value"), initargs


def open_initializer(packed: PackedInitializer) -> tuple[Callable[..., object], tuple[Any, ...]]:
    """The initializer and its arguments, in the worker."""
    if isinstance(packed, bytes):
        initializer, initargs = loads(packed)
        return initializer, initargs
    return loads(packed[0]), packed[1]
