"""Objects that are sent once per worker, however many items use them.

`put` pickles an object into a segment of shared memory and remembers the object itself. Wherever
the pickler meets it then, it writes down where the segment is; a process that reads this loads the
object the first time and keeps it. Large buffers inside are mapped, not copied.

An object that is put again has a second snapshot. What was sent before holds on to the first one
(see `procession.pickling.out_of_band`) until it has arrived.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
import types
import weakref
from itertools import count
from pickle import PickleBuffer
from typing import Any, TypeVar

from procession.buffers.housekeeping import IDLE_SECONDS, housekeeper
from procession.buffers.nameless_memory import DROPPED, BroadcastBytes, read_broadcast
from procession.buffers.sender import Placed, segments
from procession.pickling.dispatch_tables import wrap_reducer
from procession.pickling.objects import class_of
from procession.pickling.out_of_band import (
    bytes_out_of_band,
    goes_home_far,
    is_far,
    note_sent,
    put_keys,
    replacements,
    ticket_of,
)
from procession.pickling.pickler import dumps, loads
from procession.pickling.reducers import Reduce
from procession.system import after_fork
from procession.system.descriptors import NAMELESS
from procession.system.interrupts import strikes
from procession.system.pristine import threading, time

T = TypeVar("T")
_Key = tuple[int, bytes, int]
"""Process, its mark (numbers of processes are used again), and a serial number."""

_PAGE = 4096
"""The pickle fills the first page, so that no write to a buffer parts a worker from the sender's
marks there."""

_AS_THEY_ARE = (bool, int, float, complex, type(None), type, types.ModuleType, types.FunctionType)
_BUILTIN = frozenset({list, dict, tuple, str, bytes, bytearray, set, frozenset})
"""Types that the C pickler writes without asking."""


class Snapshot:
    """A snapshot: where it lies, and the object that it was taken of."""

    __slots__ = ("__weakref__", "key", "lies", "object", "reference")

    def __init__(self, obj: Any) -> None:
        self.key = (os.getpid(), _mark(), next(_serials))
        self.object: Any = None
        self.reference: Any = None
        self.lies: Placed | BroadcastBytes = _lay_down(obj)
        put_keys.add(self.key)

    crosses_machines = True
    """Read by `note_sent`: its content can go to another machine."""

    def __reduce__(self) -> tuple[Any, ...]:
        note_sent(self)
        if is_far():
            return _fetch_far, (self.key,)
        if goes_home_far():
            blob, *buffers = self.parts
            return loads, (blob, [bytearray(buffer) for buffer in buffers])
        lies = self.lies
        return _fetch, (self.key, lies.ticket if isinstance(lies, BroadcastBytes) else tuple(lies))

    @property
    def parts(self) -> list[bytes]:
        """Its pickle and its large buffers."""
        lies = self.lies
        return [read_broadcast(lies.ticket)] if isinstance(lies, BroadcastBytes) else lies.parts()

    @property
    def content(self) -> bytes:
        """The same as one pickle, for another machine."""
        return pickle.dumps(self.parts, 5)

    def target(self) -> Any:
        """The object, or `None` if it is gone."""
        return self.object if self.reference is None else self.reference()

    def __del__(self, put_keys: set[Any] = put_keys) -> None:
        # Neither the object nor anything that was sent needs it. Runs amid anything: takes no lock,
        # and no global, which may be gone at the end of the program.
        put_keys.discard(self.key)
        drop = getattr(getattr(self, "lies", None), "drop", None)
        if drop is not None:
            drop()  # tells those that keep it; the memory goes with `lies`


class _Held:
    """What this process was sent."""

    __slots__ = ("marks", "object", "since")

    def __init__(self, obj: Any, marks: mmap.mmap | None) -> None:
        self.object = obj
        self.marks = marks
        self.since = time.monotonic()


_lock = after_fork.rlock()
_serials = count()
_puts: dict[int, Snapshot] = {}
_held: dict[_Key, _Held] = {}
_wrapped: set[type] = set()
_marks: list[bytes] = []


class _Laying(threading.local):
    """Whether this thread takes a snapshot, which holds all as it is now, not as it was put."""

    now = False


_laying = _Laying()


def _mark() -> bytes:
    if not _marks:
        _marks.append(os.urandom(8))
    return _marks[0]


def put(obj: T) -> T:
    """Have an object sent once per worker instead of once per item or call.

        model = shared.put(load_model())
        results = [predict.submit(model, row) for row in rows]

    Returns the object itself, to be used as ever, and passed as an argument or inside one. Each
    worker gets a copy of the object as it was when it was put: later changes are not seen, and what
    one worker does to its copy stays in that worker, for all items that run there. After a change,
    put it again: calls made from then on are sent a new snapshot, while those made before still get
    the old one. Large buffers inside (arrays, data frames) are mapped from memory that all workers
    share, and copied only where a worker writes to them.

    The shared copy goes when the object is dropped here: at once, or within seconds for objects
    that cannot be referenced weakly (lists, dicts, tuples, strings). Workers let go of theirs when
    they are next given work, or end. Lists, dicts, sets, tuples, strings and bytes are recognised
    where they are the item or an argument themselves; deeper inside others they are sent as usual.

    On the backends ``"thread"`` and ``"serial"`` nothing is sent: the function sees the object.

    Args:
        obj: Any object that can cross. Numbers, functions and classes are returned as they are.

    Returns:
        The same object.

    Raises:
        NotPicklable: The object cannot cross to another process.
    """
    _sweep()
    if isinstance(obj, _AS_THEY_ARE):
        return obj  # travels by name, or in a few bytes
    entry = Snapshot(obj)
    with _lock:
        _register(obj, entry)
    return obj


def _register(obj: Any, entry: Snapshot) -> None:
    key = id(obj)
    superseded = _puts.get(key)
    if superseded is not None:
        superseded.object = None
    try:
        entry.reference = weakref.ref(obj, lambda reference: _dropped(key, reference))
    except TypeError:
        entry.object = obj  # until `_sweep` finds that no one else has it
    _puts[key] = entry
    if type(obj) in _BUILTIN:
        replacements[key] = entry
    elif type(obj) not in _wrapped:
        cls = class_of(obj)
        _wrapped.add(cls)
        wrap_reducer(cls, _wrapper)
    housekeeper.arm()


def _lay_down(obj: Any) -> Placed | BroadcastBytes:
    buffers: list[Any] = []
    before, _laying.now = _laying.now, True
    try:
        blob = dumps(bytes_out_of_band(obj, {}), "strict", buffers)
        if NAMELESS:
            first = PickleBuffer(blob.ljust(_PAGE, b"\0"))
            placed = segments.place([first, *buffers], private=True)
            if placed is not None:
                return placed
        return BroadcastBytes(dumps(obj))
    except BaseException as error:
        if strikes(error):
            raise
        from procession.explaining.explain import explain

        raise explain(
            error, obj, where="argument", function="shared.put", root="obj", pickling="strict"
        ) from error
    finally:
        _laying.now = before


def _wrapper(usual: Reduce) -> Reduce:
    def reduce(obj: Any) -> Any:
        entry = _puts.get(id(obj))
        if entry is None or _laying.now or entry.target() is not obj:
            return usual(obj)
        return entry.__reduce__()

    return reduce


# -- the end of an object ----------------------------------------------------------------------


def _dropped(key: int, reference: Any) -> None:
    """The object is gone. Runs amid anything: takes no lock."""
    entry = _puts.get(key)
    if entry is not None and entry.reference is reference:
        _forget(key)


def _forget(key: int) -> None:
    replacements.pop(key, None)
    _puts.pop(key, None)


def _references(entry: Snapshot) -> int:
    return sys.getrefcount(entry.object)


def _alone() -> int:
    entry = Snapshot.__new__(Snapshot)
    entry.key = (0, b"", 0)
    entry.object = object()
    return _references(entry)


_ALONE = _alone()
"""How many references are counted to an object that only its entry has."""


def _sweep() -> bool:
    """Drop what only we have any more. Whether objects are left that must be looked at."""
    left = False
    for key, entry in _puts.copy().items():
        if entry.reference is not None:
            continue
        if _references(entry) <= _ALONE:
            _forget(key)
        else:
            left = True
    return left


# -- the receiver's side -----------------------------------------------------------------------


def _fetch(key: _Key, lies: Any) -> Any:
    """The copy that this process has of a snapshot, for all that refers to it here."""
    held = _held.get(key)
    if held is None:
        loaded = _load(lies)  # under no lock: it runs the object's own code
        with _lock:
            held = _held.setdefault(key, loaded)
        housekeeper.arm()
    held.since = time.monotonic()
    return held.object


def _fetch_far(key: _Key) -> Any:
    """The same, where the caller is on another machine."""
    return _fetch(key, ticket_of(key))


def _load(lies: Any) -> _Held:
    if isinstance(lies, (str, bytes)) or len(lies) == 3:  # broadcast bytes; a segment's has more
        return _Held(loads(read_broadcast(lies)), None)
    from procession.buffers.receiver import open_ticket

    blob, *buffers = open_ticket(lies)
    on: Any = blob.obj
    return _Held(loads(blob, buffers), on if isinstance(on, mmap.mmap) else None)


def _trim() -> bool:
    """Let go of what was dropped where it came from. Whether anything is kept."""
    old = time.monotonic() - IDLE_SECONDS
    for key, held in _held.copy().items():
        if held.marks[DROPPED] if held.marks is not None else held.since < old:
            _held.pop(key, None)
    return bool(_held)


def _renew() -> None:
    """In a forked child: what was put is the parent's."""
    _marks.clear()
    _puts.clear()
    replacements.clear()
    put_keys.clear()
    _held.clear()


housekeeper.register(_trim, _trim)
housekeeper.register(_sweep, _sweep)  # looks first when all is given back
after_fork.renew_in_child(_renew)
