"""Objects that are sent once per worker, however many items use them.

`put` pickles an object into a segment of shared memory and remembers the object itself. Wherever
the pickler meets it then, it writes down where the segment is; a worker that reads this loads the
object the first time and keeps it. Large buffers inside are mapped, not copied.
"""

from __future__ import annotations

import mmap
import os
import sys
import types
import weakref
from collections.abc import Callable
from itertools import count
from pickle import PickleBuffer
from typing import Any, TypeVar

from procession import forked
from procession.shared import handles
from procession.system.pristine import time
from procession.wire.beside import raw_beside, stand_ins
from procession.wire.housekeeping import IDLE_SECONDS, housekeeper
from procession.wire.parcel import Parcel, unpack
from procession.wire.pickling import dumps, loads
from procession.wire.segments import AVAILABLE, Placed, segments
from procession.wire.tables import wrap_reducer
from procession.wire.ticket import DROPPED

__all__ = ["put"]

T = TypeVar("T")
Reduce = Callable[[Any], Any]
_Key = tuple[int, int]

_PAGE = 4096
"""The pickle fills the first page, so that no write to a buffer parts a worker from the sender's
marks there."""

_AS_THEY_ARE = (bool, int, float, complex, type(None), type, types.ModuleType, types.FunctionType)
_BUILTIN = frozenset({list, dict, tuple, str, bytes, bytearray, set, frozenset})
"""Types that the C pickler asks nobody about."""


class _Put:
    """An object that was put: where it lies, and the object itself."""

    __slots__ = ("__weakref__", "key", "lies", "object", "reference")

    def __init__(self, obj: Any) -> None:
        self.key = (os.getpid(), next(_serials))
        self.lies: Placed | Parcel | None = _lay_down(obj)
        self.object: Any = None
        self.reference: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        handles.note_sent(self)
        lies = self.lies
        return _fetch, (self.key, lies.ticket if isinstance(lies, Parcel) else tuple(lies or ()))

    def target(self) -> Any:
        """The object, or `None` if it is gone."""
        return self.object if self.reference is None else self.reference()

    def drop(self) -> None:
        """The object is gone: tell the workers, and let the memory go."""
        if isinstance(self.lies, Placed):
            self.lies.drop()
        self.lies = self.reference = self.object = None


class _Held:
    """What this process was sent."""

    __slots__ = ("marks", "object", "since")

    def __init__(self, obj: Any, marks: mmap.mmap | None) -> None:
        self.object = obj
        self.marks = marks
        self.since = time.monotonic()


_lock = forked.rlock()
_serials = count()
_puts: dict[int, _Put] = {}
_by_key: weakref.WeakValueDictionary[_Key, _Put] = weakref.WeakValueDictionary()
_held: dict[_Key, _Held] = {}
_wrapped: set[type] = set()


def put(obj: T) -> T:
    """Have an object sent once per worker instead of once per item or call.

        model = shared.put(load_model())
        results = [predict.submit(model, row) for row in rows]

    Returns the object itself, to be used as ever, and passed as an argument or inside one. Each
    worker gets a copy of the object as it was when it was put: later changes are not seen, and what
    one worker does to its copy stays in that worker, for all items that run there. Large buffers
    inside (arrays, data frames) are mapped from memory that all workers share, and copied only
    where a worker writes to them.

    The shared copy goes when the object is dropped here: at once, or within seconds for objects
    that cannot be referenced weakly (lists, dicts, tuples, strings). Workers let go of theirs when
    they are next given work, or end. Lists, dicts, sets, tuples, strings and bytes are recognised
    where they are the item or an argument themselves; deeper inside others they are sent as usual.

    On the backends ``"thread"`` and ``"serial"`` nothing is sent: the function sees the object.

    Raises:
        NotPicklable: The object cannot cross to another process.
    """
    _sweep()
    if isinstance(obj, _AS_THEY_ARE):
        return obj  # travels by name, or in a few bytes
    with _lock:
        known = _puts.get(id(obj))
        if known is None or known.target() is not obj:
            _register(obj)
    return obj


def _register(obj: Any) -> None:
    entry = _Put(obj)
    key = id(obj)
    try:
        entry.reference = weakref.ref(obj, lambda _: _dropped(key, entry))
    except TypeError:
        entry.object = obj  # until `_sweep` finds that nobody else has it
    _puts[key] = entry
    _by_key[entry.key] = entry
    if type(obj) in _BUILTIN:
        stand_ins[key] = entry
    elif type(obj) not in _wrapped:
        cls = _class_of(obj)
        _wrapped.add(cls)
        wrap_reducer(cls, _wrapper)
    housekeeper.arm()


def _class_of(obj: object) -> type:
    return type(obj)


def _lay_down(obj: Any) -> Placed | Parcel:
    buffers: list[Any] = []
    try:
        blob = dumps(raw_beside(obj), "strict", buffers)
        if AVAILABLE:
            first = PickleBuffer(blob.ljust(_PAGE, b"\0"))
            placed = segments.place([first, *buffers], private=True)
            if placed is not None:
                return placed
        return Parcel(dumps(obj))
    except Exception as error:
        from procession.wire.explain import explain

        raise explain(
            error, obj, where="argument", function="shared.put", root="obj", pickling="strict"
        ) from error


def _wrapper(usual: Reduce) -> Reduce:
    def reduce(obj: Any) -> Any:
        entry = _puts.get(id(obj))
        if entry is None or entry.target() is not obj:
            return usual(obj)
        return entry.__reduce__()

    return reduce


# -- the end of an object ----------------------------------------------------------------------


def _dropped(key: int, entry: _Put) -> None:
    """The object is gone. Runs amid anything: takes no lock."""
    if _puts.get(key) is entry:
        _puts.pop(key, None)
        stand_ins.pop(key, None)
    if entry.key[0] == os.getpid():
        entry.drop()


def _references(entry: _Put) -> int:
    return sys.getrefcount(entry.object)


def _alone() -> int:
    entry = _Put.__new__(_Put)
    entry.object = object()
    return _references(entry)


_ALONE = _alone()
"""How many references are counted to an object that only its entry has."""


def _sweep() -> bool:
    """Drop what only we have any more. Whether objects are left that must be looked at."""
    left = False
    for key, entry in list(_puts.items()):
        if entry.reference is not None:
            continue
        if _references(entry) <= _ALONE:
            _dropped(key, entry)
        else:
            left = True
    return left


# -- the worker's side -------------------------------------------------------------------------


def _fetch(key: _Key, lies: Any) -> Any:
    """The object of a reference: the original where it was put, else a copy per process."""
    if key[0] == os.getpid():
        entry = _by_key.get(key)
        target = None if entry is None else entry.target()
        if target is not None:
            return target
    with _lock:
        held = _held.get(key)
        if held is None:
            held = _held[key] = _load(lies)
            housekeeper.arm()
        held.since = time.monotonic()
        return held.object


def _load(lies: Any) -> _Held:
    if isinstance(lies, (str, bytes)):
        return _Held(loads(unpack(lies)), None)
    from procession.wire.arrivals import open_ticket

    blob, *buffers = open_ticket(lies)
    on: Any = blob.obj
    return _Held(loads(blob, buffers), on if isinstance(on, mmap.mmap) else None)


def _trim() -> bool:
    """Let go of what was dropped where it came from. Whether anything is kept."""
    old = time.monotonic() - IDLE_SECONDS
    for key, held in list(_held.items()):
        if held.marks[DROPPED] if held.marks is not None else held.since < old:
            _held.pop(key, None)
    return bool(_held)


def _renew() -> None:
    """In a forked child: what was put is the parent's."""
    _puts.clear()
    stand_ins.clear()
    _held.clear()


housekeeper.register(_sweep, _sweep)
housekeeper.register(_trim, lambda: None)
forked.renew_in_child(_renew)
